"""What an interruption (Ctrl-C, which Python may raise between any two instructions) must leave as it was.

Whatever is changed for a while is put back by a ``finally`` of its own. An interruption can come just before that ``finally``
applies, or in the middle of it: what is here lies farther out and puts the same things back.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch as th
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.policy.snapshot import Snapshot
from sb3_trpo.vec_env import remove_shallow_copies


@contextmanager
def undisturbed(env: VecEnv | None) -> Iterator[None]:
    """If the block is left by an exception: autograd, PyTorch's number of threads and the environments' methods as before.

    :param env: the training environments with their wrappers
    """
    grad, threads = th.is_grad_enabled(), th.get_num_threads()
    try:
        yield
    except BaseException:
        th.set_grad_enabled(grad)
        if th.get_num_threads() != threads:
            th.set_num_threads(threads)
        if env is not None:
            remove_shallow_copies(env)
        raise


def keeps_policy_whole(method: Callable[[Any], None]) -> Callable[[Any], None]:
    """A method that leaves ``self.policy`` in eval mode and with its own distribution, and undoes all if it is left half-way.

    An exception puts back parameters, buffers and the optimizer's state: the policy is the one before, whole.
    """

    @wraps(method)
    def guarded(self: Any) -> None:
        before, distribution = Snapshot(self.policy), self.policy.action_dist
        try:
            method(self)
        except BaseException:
            before.restore()
            raise
        finally:
            self.policy.action_dist = distribution
            self.policy.set_training_mode(False)

    return guarded
