"""Fitting the critic, outside the trust region and without touching what lies inside."""

from sb3_trpo.critic.fit import fit_critic
from sb3_trpo.critic.regression import CriticFit

__all__ = ["CriticFit", "fit_critic"]
