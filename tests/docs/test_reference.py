"""The reference is whole: every public name and argument, every log key, every row of the paper, every status and option."""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor

from sb3_trpo import TRPO
from sb3_trpo.__main__ import SCRIPTS
from sb3_trpo.trust_region import Status
from tests.documents import ROOT, generated
from tests.toys import ToyEnv

REFERENCE = ROOT / "docs" / "reference"
MODULES = sorted(re.findall(r"automodule:: (\S+)", "".join(page.read_text() for page in REFERENCE.glob("*.md"))))
PUBLIC = (
    *("atari", "checkpoints", "critic", "policy", "ranks", "restarts", "sampling", "simulators", "trust_region", "update"),
    *("variants", "vec_env"),
)
THOROUGH = ("atari", "checkpoints", "ranks", "restarts", "sampling", "simulators", "trust_region", "variants", "vec_env")
RESUMED_ALONE = {"rollout/restarted_episodes"}  # no training that began by itself writes it


def test_every_public_part_has_a_page() -> None:
    assert MODULES == sorted(f"sb3_trpo.{part}" for part in PUBLIC)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_has_a_docstring(name: str) -> None:
    """Without one, autodoc leaves it out."""
    module = import_module(name)
    public = {each: getattr(module, each) for each in getattr(module, "__all__", [])}
    written = {each: value for each, value in public.items() if inspect.isclass(value) or inspect.isroutine(value)}
    assert [each for each, value in written.items() if not value.__doc__] == []


def test_every_argument_is_explained() -> None:
    explained = set(re.findall(r":param (\w+):", TRPO.__doc__ or ""))
    assert explained == set(inspect.signature(TRPO.__init__).parameters) - {"self"}


def documented(name: str) -> Iterator[tuple[str, Any, str]]:
    """Functions, constructors and methods of a public part with their docstrings; not methods of a base class or protocol.

    A docstring with "see" names the one that says more.
    """
    module = import_module(name)
    public = [getattr(module, each) for each in getattr(module, "__all__", [])]
    kinds = [each for each in public if inspect.isclass(each) and each.__module__.startswith("sb3_trpo")]
    for each in filter(inspect.isfunction, public):
        yield each.__name__, each, inspect.getdoc(each) or ""
    for kind in kinds:
        if "__init__" in vars(kind) or "__match_args__" in vars(kind):
            yield kind.__name__, kind, (inspect.getdoc(kind) or "") + (inspect.getdoc(kind.__init__) or "")
        above = {method for other in {*kind.__mro__[1:], *filter(is_protocol, kinds)} - {kind} for method in vars(other)}
        for method, value in vars(kind).items():
            function = getattr(value, "__func__", value)
            if inspect.isfunction(function) and not method.startswith("_") and method not in above:
                yield f"{kind.__name__}.{method}", function, inspect.getdoc(function) or ""


def is_protocol(kind: type) -> bool:
    return getattr(kind, "_is_protocol", False)


@pytest.mark.parametrize("name", THOROUGH)
def test_every_public_argument_is_explained(name: str) -> None:
    missing = []
    for label, function, text in documented(f"sb3_trpo.{name}"):
        arguments = set(inspect.signature(function).parameters) - {"self", "cls", "args", "kwargs", "_"}
        if "ee :" not in text:
            missing += [f"{label}: {argument}" for argument in arguments if f":param {argument}:" not in text]
    assert missing == []


class Keys(BaseCallback):
    """All keys that a training writes to the log."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def _on_training_start(self) -> None:
        dump = self.model.logger.dump

        def keep(step: int = 0) -> None:
            self.found |= set(self.model.logger.name_to_value)
            dump(step)

        self.model.logger.dump = keep  # type: ignore[method-assign]

    def _on_step(self) -> bool:
        return True


def test_every_log_key_is_explained() -> None:
    rows = re.findall(r"^\| `((?:train|rollout|time)/\w+)` \|(.*)$", (REFERENCE / "log.md").read_text(), re.MULTILINE)
    keys = Keys()
    schedules: Any = {"target_kl": lambda _: 0.01, "cg_damping": lambda _: 0.1, "ent_coef": lambda _: 0.0}
    env = Monitor(ToyEnv())
    model = TRPO("MlpPolicy", env, sampling="vine", n_steps=64, batch_size=64, seed=0, device="cpu", **schedules)
    model.learn(512, callback=keys)
    assert {key for key, _ in rows} == keys.found | RESUMED_ALONE
    assert all(cells.split("|")[0].strip() for _, cells in rows)


ROWS = re.findall(
    r"^\| ([^|]+) \| [^|]+ \| (?:\{py:\w+\})?`([\w.]+)` \| \[[\w.]+\]\(\.\./([\w/.]+)\) \|$",
    (ROOT / "docs" / "paper.md").read_text(),
    re.MULTILINE,
)


def test_every_row_of_the_paper_is_read() -> None:
    text = (ROOT / "docs" / "paper.md").read_text()
    assert len(ROWS) == sum(line.count("](../") for line in text.splitlines() if line.startswith("|")) > 30
    assert {"Eq 15", "Eq 16", "appendix C"} <= {place for place, _, _ in ROWS}


@pytest.mark.parametrize(("place", "name", "file"), ROWS, ids=[name for _, name, _ in ROWS])
def test_the_paper_leads_to_the_code(place: str, name: str, file: str) -> None:
    """The name is there, and it is this file that defines it."""
    module, _, attribute = name.rpartition(".")
    found: Any = getattr(import_module(module), attribute)
    source = inspect.getsourcefile(inspect.unwrap(found)) if callable(found) else import_module(module).__file__
    assert source is not None and Path(source) == ROOT / file


def test_statuses_are_those_of_the_code() -> None:
    table = generated.Statuses.markdown(None)
    assert all(f"| `{status.value}` | {status.meaning} | {status.remedy} |" in table for status in Status)


def test_command_lines_are_those_of_the_parsers() -> None:
    page = (REFERENCE / "command_line.md").read_text()
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == list(SCRIPTS)
    rows = {name: action for action in generated.options_of("train") for name in action.option_strings}
    assert {"--env", "--sampling", "--n-timesteps"} <= set(rows)
    assert generated.option_row(rows["--sampling"]).endswith("One of `single_path`, `vine`. |")
