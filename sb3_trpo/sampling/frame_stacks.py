"""Rollouts of stacked frames with every frame kept once: a stack shares all of its frames but the last with the one before."""

from functools import cached_property
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.lib.mixins import NDArrayOperatorsMixin
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack


class FrameStacks(NDArrayOperatorsMixin):
    """Read and written like an array ``[n_steps, n_envs, C, H, W]``, in a fraction of its memory.

    What else an array can do is done with a read-only copy of all stacks, which takes the memory saved here. Steps are
    written in their order; any other write takes such a copy, too, and every stack is written once more.

    Behind it are the frames, and for every stack the places of its frames among them. Whether a stack goes on from the one
    of the step before is found by comparing all they should share, so what is read is bit for bit what was written, after
    resets and whatever else the environments do: a stack that does not is kept whole.

    :param n_steps: steps
    :param n_envs: environments
    :param shape: of a stack: C channels, height and width
    :param n_stack: frames in a stack, a divisor of C
    :param dtype: of the frames
    """

    def __init__(self, n_steps: int, n_envs: int, shape: tuple[int, ...], n_stack: int, dtype: Any):
        self.stack_shape, self.dtype = shape, np.dtype(dtype)
        frame = (shape[0] // n_stack, *shape[1:])
        # Enough should no two stacks have a frame in common. Where nothing is written there is no memory behind it yet.
        self.frames = np.empty((n_steps * n_envs * n_stack, *frame), dtype=dtype)
        self.places: np.ndarray = np.zeros((n_steps, n_envs, n_stack), dtype=np.int64)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Let the next step that is written be the first."""
        self.n_frames = self.n_written = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.places.shape[:-1], *self.stack_shape)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Stacks ``[…, C, H, W]`` by their step and environment, a copy; any other index is one into the whole array."""
        parts = index if isinstance(index, tuple) else (index,)
        dimensions = sum(part.ndim if isinstance(part, np.ndarray) and part.dtype.kind == "b" else 1 for part in parts)
        if dimensions >= self.places.ndim or any(part is Ellipsis or part is None for part in parts):
            return np.asarray(self)[index]
        places = self.places[index]
        return self.frames[places].reshape(*places.shape[:-1], *self.stack_shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        arrays = [np.array(value) if isinstance(value, FrameStacks) else value for value in inputs]
        (target,) = options.get("out", (None,))
        if not isinstance(target, FrameStacks):
            return getattr(ufunc, method)(*arrays, **options)
        stacks = np.array(target)
        getattr(ufunc, method)(*arrays, **{**options, "out": (stacks,)})
        target[:] = stacks
        return target

    def __dlpack__(self, **options: Any) -> Any:
        """For ``torch.as_tensor``, which would read one number after the other."""
        return np.asarray(self).__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return np.empty(0).__dlpack_device__()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        stacks = np.asarray(self)
        stacks.flags.writeable = False
        return getattr(stacks, name)

    def __setitem__(self, index: Any, stacks: Any) -> None:
        if isinstance(index, int) and index == self.n_written:
            self._append(np.broadcast_to(stacks, self.shape[1:]))
            return
        if self.places.ndim < 3:
            raise ValueError("The rows of a rollout that was read from are read-only: write before the update.")
        changed = np.array(self)
        changed[index] = stacks
        self.begin_anew()
        for of_step in changed:
            self._append(of_step)

    def _append(self, stacks: np.ndarray) -> None:
        """Keep the stacks ``[n_envs, C, H, W]`` of the next step."""
        step, (n_envs, n_stack) = self.n_written, self.places.shape[1:]
        stacks = stacks.reshape(n_envs, n_stack, *self.frames.shape[1:])
        if step == 0:
            going_on = np.zeros(n_envs, dtype=bool)
        else:
            shared = self.places[step - 1, :, 1:]
            going_on = (self.frames[shared] == stacks[:, :-1]).reshape(n_envs, -1).all(axis=1)
            self.places[step, :, :-1] = shared
        self.places[step, going_on, -1] = self._keep(stacks[going_on, -1])
        self.places[step, ~going_on] = self._keep(stacks[~going_on].reshape(-1, *self.frames.shape[1:])).reshape(-1, n_stack)
        self.n_written += 1

    def _keep(self, frames: np.ndarray) -> np.ndarray:
        """Places of new frames ``[F, …]``."""
        places = np.arange(self.n_frames, self.n_frames + len(frames))
        self.frames[self.n_frames : self.n_frames + len(frames)] = frames
        self.n_frames += len(frames)
        return places

    def rows(self, by_env: bool = False) -> "FrameStacks":
        """The same stacks in one dimension ``[B, C, H, W]``, to be read from.

        :param by_env: all steps of the first environment first, as SB3's buffer has them once it has been read from
        """
        rows = object.__new__(FrameStacks)
        vars(rows).update(vars(self))
        places = self.places.swapaxes(0, 1) if by_env else self.places
        rows.places = places.reshape(-1, places.shape[-1])
        return rows


class FrameTensors:
    """Stacks of frames that become tensors where rows of them are selected.

    :param stacks: with one leading dimension
    :param device: of the tensors
    """

    def __init__(self, stacks: FrameStacks, device: th.device | str):
        self.stacks, self.device = stacks, device

    def __len__(self) -> int:
        return len(self.stacks)

    def __getitem__(self, rows: slice | th.Tensor) -> th.Tensor:
        index = rows.cpu().numpy() if isinstance(rows, th.Tensor) else rows
        return th.as_tensor(self.stacks[index], device=self.device)


class FrameStackBuffer(RolloutBuffer):
    """SB3's rollout buffer with every frame kept once; gives what SB3's gives, to PPO and A2C too.

    TRPO takes it by itself where ``VecFrameStack`` stacks grey images. For frames that are stacked otherwise it is asked for
    with ``rollout_buffer_class``; ``RolloutBuffer`` there is SB3's own. ``np.asarray(buffer.observations)`` is SB3's array.

    :param args: as for SB3's ``RolloutBuffer``
    :param n_stack: frames in an observation, a divisor of its channels; None: every channel is a frame
    :param kwargs: as for SB3's ``RolloutBuffer``
    :raises ValueError: for observations that are not stacks of so many frames
    """

    observations: FrameStacks  # type: ignore[assignment]

    def __init__(self, *args: Any, n_stack: int | None = None, **kwargs: Any):
        self.n_stack = n_stack
        super().__init__(*args, **kwargs)

    @cached_property
    def _stacks(self) -> FrameStacks:
        space, shape = self.observation_space, self.observation_space.shape or ()
        if not isinstance(space, spaces.Box) or len(shape) != 3 or shape[0] % (self.n_stack or 1):
            raise ValueError(
                f"FrameStackBuffer keeps stacks of {self.n_stack or 'grey'} frames, channels first, not {space}: give "
                "rollout_buffer_kwargs={'n_stack': ...}, or leave rollout_buffer_class out."
            )
        return FrameStacks(self.buffer_size, self.n_envs, shape, self.n_stack or shape[0], space.dtype)

    def reset(self) -> None:
        stacks = self._stacks  # refuses what SB3 would stumble over
        super().reset()
        stacks.begin_anew()
        self.observations = stacks

    @staticmethod
    def swap_and_flatten(arr: Any) -> Any:
        """As SB3's, and frames stay kept once.

        :param arr: ``[n_steps, n_envs, …]``
        :return: ``[n_envs · n_steps, …]``, one environment after another
        """
        return arr.rows(by_env=True) if isinstance(arr, FrameStacks) else RolloutBuffer.swap_and_flatten(arr)


def stacks_grey_frames(env: VecEnv | None, observation_space: spaces.Space) -> bool:
    """Whether observations are grey images that SB3 stacks, one channel a frame, channels first.

    :param env: with its wrappers
    :param observation_space: of the policy
    """
    while isinstance(env, VecEnvWrapper):
        if isinstance(env, VecFrameStack):
            shape = observation_space.shape or ()
            return len(shape) == 3 and shape[0] == env.stacked_obs.n_stack and observation_space.dtype == np.uint8
        env = env.venv
    return False
