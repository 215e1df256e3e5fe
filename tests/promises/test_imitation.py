"""TRPO is the generator of GAIL (Ho & Ermon 2016), and can be that of imitation's GAIL and AIRL.

imitation 1.0.1 asks for older versions of gymnasium and Stable-Baselines3, and works with these. Installed so, the tests run:
``pip install scikit-learn datasets huggingface-sb3 && pip install --no-deps imitation==1.0.1``.
"""

from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_trpo import TRPO

gail = pytest.importorskip("imitation.algorithms.adversarial.gail")
airl = pytest.importorskip("imitation.algorithms.adversarial.airl")
rollout = pytest.importorskip("imitation.data.rollout")
wrappers = pytest.importorskip("imitation.data.wrappers")
nets = pytest.importorskip("imitation.rewards.reward_nets")
networks = pytest.importorskip("imitation.util.networks")


def balancing(obs: np.ndarray, *_: Any) -> tuple[np.ndarray, None]:
    """A demonstrator: a linear controller that keeps CartPole's pole up for 500 steps."""
    return (obs @ np.array([0.1, 0.5, 3.0, 1.0]) > 0.0).astype(np.int64), None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("algorithm", "net", "rounds"), [(gail.GAIL, nets.BasicRewardNet, 24), (airl.AIRL, nets.BasicShapedRewardNet, 2)]
)
def test_generator(algorithm: Any, net: Any, rounds: int) -> None:
    """GAIL learns CartPole from 20 demonstrations; AIRL trains."""
    env = make_vec_env("CartPole-v1", n_envs=8, seed=0, wrapper_class=wrappers.RolloutInfoWrapper)
    enough = rollout.make_sample_until(min_timesteps=None, min_episodes=20)
    demonstrations = rollout.rollout(balancing, env, enough, rng=np.random.default_rng(0))[:20]
    assert [len(path) for path in demonstrations] == [500] * 20
    model = TRPO("MlpPolicy", env, n_steps=256, batch_size=64, target_kl=0.02, seed=0)
    trainer = algorithm(
        demonstrations=demonstrations,
        demo_batch_size=1024,
        gen_replay_buffer_capacity=2048,
        n_disc_updates_per_round=8,
        venv=env,
        gen_algo=model,
        reward_net=net(env.observation_space, env.action_space, normalize_input_layer=networks.RunningNorm),
        allow_variable_horizon=True,
    )
    unseen = make_vec_env("CartPole-v1", 1, seed=99)
    before, _ = evaluate_policy(model, unseen, n_eval_episodes=20, deterministic=False)
    trainer.train(rounds * 2048)
    assert model.num_timesteps == rounds * 2048 and 0.0 < model.last_update["train/kl_max"]
    if algorithm is gail.GAIL:
        assert before < 50.0 and evaluate_policy(model, unseen, n_eval_episodes=20)[0] >= 450.0
