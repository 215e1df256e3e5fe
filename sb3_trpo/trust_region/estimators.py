"""The vine's two estimators of the surrogate in one state, from K actions and their values Q̂ (paper, section 5.2)."""

import torch as th


def sum_over_actions(log_prob: th.Tensor, q_values: th.Tensor) -> th.Tensor:
    """L_n = Σ_k π_θ(a_k|s_n) Q̂_nk, every action of a small discrete space tried once (Eq 15).

    :param log_prob: log π_θ(a_k|s_n) ``[N, K]``, nats
    :param q_values: Q̂ ``[N, K]``
    :return: ``[N]``
    """
    return (log_prob.exp() * q_values).sum(dim=1)


def self_normalized(log_ratio: th.Tensor, q_values: th.Tensor) -> th.Tensor:
    """L_n = Σ_k w_k Q̂_nk / Σ_k w_k with w_k = π_θ(a_k|s_n)/q(a_k|s_n), the actions drawn from q (Eq 16).

    No baseline is needed: a constant added to Q̂ adds it to L_n. At θ₀ with q = π_θ₀ the expected gradient is (K − 1)/K of
    the true one, so K must be at least 2.

    :param log_ratio: log w_k ``[N, K]``, nats
    :param q_values: Q̂ ``[N, K]``
    :return: ``[N]``
    """
    return (log_ratio.softmax(dim=1) * q_values).sum(dim=1)
