"""Ranks that differ, die or hang: the others say so."""

import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
import torch as th
import torch.distributed as dist
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_trpo import TRPO
from sb3_trpo.distributed import join, process_group
from tests.ranks import SMALL, free_port, on_ranks
from tests.toys import ToyEnv


class Tamper(BaseCallback):
    """Moves one parameter of rank 1 by one unit in the last place, after the second rollout."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.model._rank == 1 and self.num_timesteps == 2 * 64:
            with th.no_grad():
                weight = self.model.policy.value_net.bias
                weight.copy_(th.nextafter(weight, weight + 1))


def tampered() -> None:
    TRPO("MlpPolicy", ToyEnv(), n_critic_updates=0, **SMALL).learn(1000, callback=Tamper())


def test_a_difference_between_ranks_is_raised_at_once():
    for error in on_ranks(tampered):
        assert "After update 2 the parameters of rank 1 are not those of rank 0" in error


def made_too_early(port: int) -> None:
    rank, size = (int(os.environ.pop(name)) for name in ("RANK", "WORLD_SIZE"))
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    model.learn(100)


def test_a_model_made_before_its_process_group_is_refused():
    """It would have rank 0's seed on every rank, and with it the same samples."""
    for rank, error in enumerate(on_ranks(made_too_early, free_port())):
        assert f"RuntimeError: This is rank {rank} of 2, but the model was made, and seeded, as rank 0 of 1" in error


def with_other_envs() -> None:
    n_envs = 1 + join().rank
    TRPO("MlpPolicy", make_vec_env(ToyEnv, n_envs), **SMALL).learn(100)


def test_different_numbers_of_environments_are_refused():
    for error in on_ranks(with_other_envs):
        assert "ValueError: Ranks must not differ in n_envs, which is 1 on rank 0 and 2 on rank 1" in error


DIFFERENCES: dict[str, Callable[[int], TRPO]] = {
    "vine_kwargs": lambda rank: TRPO(
        "MlpPolicy", ToyEnv(), sampling="vine", vine_kwargs={"branch_length": 3} if rank else None, **SMALL
    ),
    "policy_kwargs": lambda rank: TRPO("MlpPolicy", ToyEnv(), policy_kwargs={"net_arch": [8 + rank]}, **SMALL),
    "the action space": lambda rank: TRPO("MlpPolicy", ToyEnv(spaces.Discrete(2 + rank)), **SMALL),
    "the environments' wrappers": lambda rank: TRPO(
        "MlpPolicy", VecNormalize(DummyVecEnv([ToyEnv]), clip_obs=1.0 + rank), **SMALL
    ),
}


def with_other_settings(name: str) -> None:
    DIFFERENCES[name](join().rank).learn(100)


@pytest.mark.parametrize("name", list(DIFFERENCES))
def test_different_settings_are_refused(name):
    for error in on_ranks(with_other_settings, name):
        assert f"ValueError: Ranks must not differ in {name}, which is" in error


def dying() -> str:
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL)
    if model._rank == 1:
        model._check_parameters = lambda: os.kill(os.getpid(), signal.SIGKILL)
    begin = time.monotonic()
    try:
        model.learn(1000)
    except RuntimeError as error:
        return f"{error} ({time.monotonic() - begin < 30.0})"
    return "nothing"


def test_a_rank_that_is_killed_in_an_update_is_noticed_at_once():
    """Without torchrun to end it the other rank says what has happened; no rank waits for the timeouts."""
    survivor, killed = on_ranks(dying)
    assert killed == "ended"
    assert survivor.startswith("Rank 0 of 2 has lost the others") and survivor.endswith("(True)")


class Hang(BaseCallback):
    def _on_step(self) -> bool:
        return True

    def _on_training_start(self) -> None:
        if self.model._rank == 1:
            self.model._check_parameters = lambda: time.sleep(5.0)


def hanging() -> str:
    process_group.UPDATE_TIMEOUT = timedelta(seconds=2)
    begin = time.monotonic()
    try:
        TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(1000, callback=Hang())
    except RuntimeError as error:
        return f"after {time.monotonic() - begin:.0f} s: {error}"
    return "nothing"


def test_a_rank_that_hangs_in_an_update_is_noticed():
    assert "has lost the others" in on_ranks(hanging)[0]


def test_alone_there_is_nothing_to_do(tmp_path):
    """Without a launcher no process group is made, and saving, callbacks and seeds are SB3's."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(32)
    assert not th.distributed.is_initialized()
    model.save(tmp_path / "model")
    assert (tmp_path / "model.zip").exists()
