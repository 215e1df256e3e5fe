"""Ways to sample: what watches the path of a rollout, and gives its experience afterwards."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.checks import check_type
from sb3_trpo.ranks import Ranks
from sb3_trpo.sampling.batch import Batch, ImportanceSampled, Surrogate
from sb3_trpo.sampling.defects import Defect
from sb3_trpo.sampling.single_path import Transition


class Experience(Protocol):
    """What a rollout gave beyond the samples in its buffer."""

    @property
    def steps(self) -> int:
        """Env steps taken beyond those of the path."""
        ...

    @property
    def diagnostics(self) -> Mapping[str, float]:
        """For the log, of this rank.

        Over ranks, keys that end in ``_count`` or ``_fps`` are added up, the others averaged.
        """
        ...

    @property
    def branch_advantages(self) -> th.Tensor | None:
        """Advantages of the branches ``[N, K]``, which the surrogate standardises separately; None without branches."""
        ...

    def surrogate(self, batch: Batch, normalize: bool, ranks: Ranks) -> Surrogate:
        """L(θ) of the objective.

        :param batch: the path's samples
        :param normalize: whether its terms are divided by their standard deviation
        :param ranks: processes that hold further samples, as many each
        """
        ...

    def find_defect(self) -> Defect | None:
        """The first value beyond the buffer's that is NaN or infinite, or None."""
        ...


class Sampling(Protocol):
    """One rollout.

    Two attributes are optional. ``in_step`` (True, if it is left out): whether the environments must stand at the step that
    ``watch`` is given; if False, workers may run up to 256 steps ahead. ``trunk`` (None, if it is left out): names the states
    to save on the way (:class:`sb3_trpo.sampling.segmented_path.StateSaver`).
    """

    def watch(self, path: Iterator[Transition]) -> Iterator[Transition]:
        """See the steps of the path, one after another.

        :param path: its steps
        :return: the same steps; what is done on the way leaves them as they are
        """
        ...

    def experience(self, policy: ActorCriticPolicy, buffer: RolloutBuffer) -> Experience:
        """What came of it.

        :param policy: in eval mode
        :param buffer: full, with advantages
        """
        ...


class Sampler(Protocol):
    """A way to sample, made for some training environments and kept from rollout to rollout."""

    def begin(self, n_steps: int, gamma: float, sde_sample_freq: int, rng: np.random.Generator) -> Sampling:
        """Begin a rollout.

        :param n_steps: steps of each environment
        :param gamma: discount factor
        :param sde_sample_freq: steps between two noise matrices of gSDE; −1: one a rollout
        :param rng: of whatever the sampler draws
        """
        ...

    def close(self) -> None:
        """End what it has started."""
        ...


# Makes a sampler of training environments, the policy that acts in them, ``vine_kwargs``, and steps of each in a rollout
SamplerFactory = Callable[[VecEnv, ActorCriticPolicy, Mapping[str, Any] | None, int], Any]


@dataclass(frozen=True)
class PathAlone:
    """Experience of a path that nothing was added to.

    :param steps: env steps beside the path: none
    :param branch_advantages: none
    :param diagnostics: none
    """

    steps: int = 0
    branch_advantages: None = None
    diagnostics: Mapping[str, float] = field(default_factory=dict)

    def surrogate(self, batch: Batch, normalize: bool, ranks: Ranks) -> Surrogate:
        return ImportanceSampled(batch)

    def find_defect(self) -> Defect | None:
        return None


class SinglePath:
    """Single path (paper, section 5.1): the path is all there is."""

    in_step = False

    def __init__(self, *_: Any):
        pass

    def begin(self, *_: Any) -> "SinglePath":
        return self

    def watch(self, path: Iterator[Transition]) -> Iterator[Transition]:
        return path

    def experience(self, *_: Any) -> PathAlone:
        return PathAlone()

    def close(self) -> None:
        pass


SAMPLERS: dict[str, SamplerFactory] = {"single_path": SinglePath}


def register_sampler(name: str, factory: SamplerFactory) -> None:
    """Make a way to sample known as ``TRPO(sampling=name)``.

    :param name: of the setting
    :param factory: makes the sampler of training environments, policy, ``vine_kwargs`` and steps of each in a rollout
    :raises TypeError: for a name that is no text, or a factory that cannot be called
    """
    check_type("name", name, str, "a text")
    check_type("factory", factory, Callable, "a function or a class that makes the sampler")  # type: ignore[arg-type]
    SAMPLERS[name] = factory
