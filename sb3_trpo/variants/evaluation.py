"""Evaluation with masks, and with a memory that lasts an episode.

sb3-contrib's ``maskable.evaluation`` has no states to carry; Stable-Baselines3's evaluation does not ask for
masks. Here a model asks the environment for them itself whenever it predicts.
"""

from typing import Any

from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common import evaluation
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.variants.refusals import WITHOUT_MASKS


class Player:
    """A model that asks for masks when it predicts, and is the model itself in all else.

    :param model: takes ``action_masks`` in ``predict``
    :param env: where the observations come from
    :raises ValueError: if it has no masks
    """

    def __init__(self, model: Any, env: Any):
        if not is_masking_supported(env):
            raise ValueError(WITHOUT_MASKS.format("evaluate with use_masking=False"))
        self._model, self._env = model, env

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        return self._model.predict(*args, action_masks=get_action_masks(self._env), **kwargs)


def evaluate_policy(model: Any, env: Any, *args: Any, use_masking: bool = True, **kwargs: Any) -> Any:
    """Stable-Baselines3's ``evaluate_policy``, with masks.

    :param model: a model with masks, with or without a memory
    :param env: to evaluate in
    :param args: as there
    :param use_masking: False to take all actions for possible
    :param kwargs: as there
    :return: as there: mean and standard deviation of the return
    :raises ValueError: if the environment has no masks
    """
    return evaluation.evaluate_policy(Player(model, env) if use_masking else model, env, *args, **kwargs)


class MaskableEvalCallback(EvalCallback):
    """Stable-Baselines3's ``EvalCallback``, with masks; arguments are the same.

    :param eval_env: environments whose masks are asked for
    :param use_masking: False to take all actions for possible
    """

    def __init__(self, eval_env: VecEnv, *args: Any, use_masking: bool = True, **kwargs: Any):
        super().__init__(eval_env, *args, **kwargs)
        self.use_masking = use_masking

    def _on_step(self) -> bool:
        model = self.model
        try:
            if self.use_masking:
                self.model = Player(model, self.eval_env)  # type: ignore[assignment]  # callbacks in this one keep the model
            return super()._on_step()
        finally:
            self.model = model
