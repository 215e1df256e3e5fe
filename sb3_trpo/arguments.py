"""Names of arguments: those that TRPO does not have, and what they are called here."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

_STEPS = "it is n_steps here, of each environment."
_CRITIC_PASSES = "it is n_critic_updates here."
_CRITIC_RATE = "it is learning_rate here, which is the critic's alone."
_BACKTRACKS = "it is line_search_max_iter here."
_SHRINKS = "it is line_search_shrinking_factor here."
_DAMPING = "it is cg_damping here."
_TENSORFLOW = "it was TensorFlow's: leave it out."

OF_PPO = {
    "clip_range": "TRPO bounds the KL divergence instead of clipping the ratio: use target_kl.",
    "clip_range_vf": "TRPO does not clip the value function: use n_critic_updates and learning_rate to tame the critic.",
    "n_epochs": "TRPO's policy takes one step a rollout; the critic's passes are n_critic_updates.",
    "vf_coef": "TRPO's critic has an optimizer step of its own, so nothing weighs it against the policy: use learning_rate.",
    "max_grad_norm": "the length of TRPO's policy step is set by target_kl: use target_kl.",
}
# Of OpenAI's baselines and Stable-Baselines 2, Spinning Up, garage and tianshou
OF_OTHERS = {
    "max_kl": "it is target_kl here.",
    "delta": "it is target_kl here.",
    "max_constraint_value": "it is target_kl here.",
    "lam": "it is gae_lambda here.",
    "discount": "it is gamma here.",
    "entcoeff": "it is ent_coef here.",
    "timesteps_per_batch": _STEPS,
    "steps_per_epoch": _STEPS,
    "vf_iters": _CRITIC_PASSES,
    "train_v_iters": _CRITIC_PASSES,
    "optim_critic_iters": _CRITIC_PASSES,
    "vf_stepsize": _CRITIC_RATE,
    "vf_lr": _CRITIC_RATE,
    "vf_batch_size": "it is batch_size here.",
    "cg_iters": "it is cg_max_steps here.",
    "damping_coeff": _DAMPING,
    "backtrack_iters": _BACKTRACKS,
    "max_backtracks": _BACKTRACKS,
    "backtrack_coeff": _SHRINKS,
    "ac_kwargs": "it is policy_kwargs here.",
    "n_envs": "make the environments with make_vec_env(env_id, n_envs=...) and give them as env.",
    "n_timesteps": "the number of steps is learn's: model.learn(total_timesteps).",
    "total_timesteps": "the number of steps is learn's: model.learn(total_timesteps).",
    "full_tensorboard_log": _TENSORFLOW,
    "n_cpu_tf_sess": _TENSORFLOW,
}
COMING_FROM_PPO = (
    "Two arguments that PPO has, too, differ: learning_rate is the critic's alone, and target_kl bounds every step, where "
    "PPO's ends its epochs."
)


def reject_unknown_arguments(unknown: Mapping[str, Any], known: Collection[str]) -> None:
    """Say of each argument that TRPO does not have what to use instead.

    :param unknown: what was given
    :param known: names of the arguments that it has
    :raises TypeError: if there is any, naming all
    """
    if not unknown:
        return
    lines = [f"TRPO has no argument {name}={value!r}: {_advice(name, known)}" for name, value in unknown.items()]
    if OF_PPO.keys() & unknown.keys():
        lines.append(COMING_FROM_PPO)
    raise TypeError("\n".join(lines))


def _advice(name: str, known: Collection[str]) -> str:
    if name in OF_PPO or name in OF_OTHERS:
        return {**OF_PPO, **OF_OTHERS}[name]
    closest = get_close_matches(name, known, n=1)
    return f"did you mean {closest[0]}?" if closest else "see help(TRPO) for the arguments there are."
