"""The trained agents: the files are those that were scored, and they play as scored."""

import pytest
from stable_baselines3.common.evaluation import evaluate_policy

from benchmarks.learning import trained_agents

SCORED = {row["task"]: row for row in trained_agents.STORE.rows()}


def test_every_agent_has_a_score_of_the_files_that_are_there():
    assert set(SCORED) == set(trained_agents.names())
    for task, row in SCORED.items():
        assert row["sha256"] == trained_agents.checksums(task), f"score {task} again"
        assert len(row["returns"]) == trained_agents.EPISODES


@pytest.mark.parametrize("task", SCORED)
def test_an_episode_is_among_those_scored(task):
    """The first of another seed: within the range of a hundred."""
    model, env = trained_agents.load(task, seed=7)
    mean, _ = evaluate_policy(model, env, 1, trained_agents.deterministic(task))
    assert min(SCORED[task]["returns"]) - 1.0 <= mean <= max(SCORED[task]["returns"]) + 1.0
    env.close()
