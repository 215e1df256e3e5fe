"""A callback that changes how many episodes begin in saved states, and logs where they do."""

from collections.abc import Callable

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from sb3_trpo.checks import check_real


class RestartSchedule(BaseCallback):
    """Sets the share of all training environments' :class:`~sb3_trpo.restarts.RestartEnv` at the start of each rollout.

    Another distribution of starts is another objective: what is learned there need not be what is best from the true start, so
    the share should be zero for the last part of a run. Environments that no callback sets have the share that they were made
    with: make evaluation environments with 0, or without the wrapper.

    It logs ``restarts/share`` and, of the restarts in the last rollout, ``restarts/count`` and ``restarts/steps_mean``: how
    far into an episode they were.

    :param share: a function of the remaining progress (1 at the beginning of ``learn``, 0 at its end), as SB3's schedules; or
        a number, which falls linearly to zero at ``until``
    :param until: share of the run after which a number has come to zero, in (0, 1]
    :raises ValueError: for a number or a function's value out of range; when training starts, for environments without
        :class:`~sb3_trpo.restarts.RestartEnv`
    """

    def __init__(self, share: float | Callable[[float], float] = 0.5, until: float = 0.8):
        super().__init__()
        if not callable(share):
            check_real("share", share, 0.0, True, 1.0, True)
        check_real("until", until, 0.0, False, 1.0, True)
        self.share, self.until = share, until
        self.begun: list[int] = []

    def _share(self) -> float:
        # SB3 updates its own only after a rollout: when a second learn begins, it is still the first call's
        remaining = max(0.0, 1.0 - self.model.num_timesteps / self.model._total_timesteps)
        if callable(self.share):
            return self.share(remaining)
        return self.share * max(0.0, 1.0 - (1.0 - remaining) / self.until)

    def _on_training_start(self) -> None:
        if not self.training_env.has_attr("set_share"):
            raise ValueError(
                "RestartSchedule needs environments whose episodes can begin elsewhere: make_vec_env(..., "
                'wrapper_class=RestartEnv, wrapper_kwargs={"source": ...}).'
            )

    def _on_rollout_start(self) -> None:
        share = self._share()
        self.training_env.env_method("set_share", share)
        self.logger.record("restarts/share", share)
        self.logger.record("restarts/count", len(self.begun))
        if self.begun:
            self.logger.record("restarts/steps_mean", float(np.mean(self.begun)))
        self.begun = []

    def _on_step(self) -> bool:
        for done, info in zip(self.locals["dones"], self.training_env.unwrapped.reset_infos, strict=True):
            if done and "restart" in info:
                self.begun.append(info["restart"]["steps"])
        return True

    def state_dict(self) -> dict[str, list[int]]:
        """Restarts that were not yet logged, for checkpoints."""
        return {"begun": self.begun}

    def load_state_dict(self, state: dict[str, list[int]]) -> None:
        """Inverse of :meth:`state_dict`.

        :param state: what it returned
        """
        self.begun = list(state["begun"])
