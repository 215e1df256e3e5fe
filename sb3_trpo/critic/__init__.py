"""Fitting the critic, outside the trust region and without touching what lies inside."""

from sb3_trpo.critic.fit import CriticFit, fit_critic

__all__ = ["CriticFit", "fit_critic"]
