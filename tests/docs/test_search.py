"""What a new user asks, and the page that answers it: one of the first three that the site's own search finds."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import ROOT

QUESTIONS = {
    "how do I resume": "guides/checkpoints",
    "which target_kl": "settings",
    "why was a step refused": "faq",
    "action masks": "guides/masks",
    "how do I use eight cores": "faq",
    "LSTM recurrent policy": "guides/memory",
    "kl divergence zero": "faq",
    "coming from sb3-contrib": "coming_from_sb3_contrib",
    "coming from PPO": "coming_from_ppo",
    "GAIL imitation learning": "guides/imitation",
    "what does train/status mean": "reference/status",
    "explained variance negative": "faq",
    "save and load": "faq",
    "VecNormalize statistics": "settings",
    "Atari Pong": "guides/atari",
    "custom distribution": "guides/custom_policies",
    "vine sampling": "guides/vine",
    "check_clone": "reference/simulators",
    "torchrun several machines": "guides/processes",
    "tune hyperparameters optuna": "guides/rl_zoo",
    "record a video": "guides/rl_zoo",
    "schedule target_kl": "settings",
    "restarts": "guides/restarts",
    "GPU": "faq",
    "reproduce seed": "faq",
    "NaN update skipped": "faq",
    "trained agents": "faq",
}


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js, which runs the search")
def test_the_search_finds_the_answers(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "sphinx", "-q", str(ROOT / "docs"), str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True)
    found = subprocess.run(
        ["node", str(Path(__file__).with_name("search.js")), str(tmp_path)],
        input="\n".join(QUESTIONS), capture_output=True, text=True, check=True,
    )  # fmt: skip
    pages = [[place.partition("#")[0] for place in json.loads(line)] for line in found.stdout.splitlines()]
    asked = zip(QUESTIONS.items(), pages, strict=True)
    missed = {question: (answer, first[:3]) for (question, answer), first in asked if answer not in first[:3]}
    assert missed == {}
