"""Fitting the critic, outside the trust region and without touching what lies inside.

``fit`` makes the passes over ``minibatches``. ``regression`` has the gradients of any critic, ``mlp_regression`` those of a
plain MLP, written out, and ``sequence_regression`` those of a critic with memory; ``choice`` takes the fastest that fits.
"""

from sb3_trpo.critic.fit import CriticFit, fit_critic

__all__ = ["CriticFit", "fit_critic"]
