"""What is released is what its tag says, and the oldest versions that are allowed are those that are tested."""

import os
import subprocess
from configparser import ConfigParser
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import sb3_trpo
from tests.documents import ROOT, blocks

WORKFLOWS = ROOT / ".github" / "workflows"


def _step(name: str) -> str:
    """Commands of a step of the release."""
    workflow: Any = yaml.safe_load((WORKFLOWS / "release.yml").read_text(encoding="utf-8"))
    (step,) = (step for step in workflow["jobs"]["build"]["steps"] if step.get("name", "").startswith(name))
    return step["run"]


@pytest.mark.parametrize(
    ("tag", "accepted"), [(f"v{sb3_trpo.__version__}", True), (sb3_trpo.__version__, False), ("v0", False)]
)
def test_the_tag_is_the_version(tag: str, accepted: bool) -> None:
    environment = {**os.environ, "GITHUB_REF_NAME": tag}
    result = subprocess.run(["bash", "-e", "-c", _step("The tag")], cwd=ROOT, env=environment)
    assert (result.returncode == 0) == accepted


def test_changelog_and_citation_have_the_version() -> None:
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines() if line.startswith("## ")]
    assert headings[0].split()[1] == sb3_trpo.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == sb3_trpo.__version__


def test_the_release_runs_the_readmes_example(tmp_path: Any) -> None:
    """The release takes it out of README.md whole, and nothing else."""
    (command,) = (line for line in _step("The wheel").splitlines() if line.startswith("sed"))
    subprocess.run(["bash", "-e", "-c", command], cwd=ROOT, env={**os.environ, "RUNNER_TEMP": str(tmp_path)}, check=True)
    assert (tmp_path / "readme_example.py").read_text() == "".join(
        block.code for block in blocks(ROOT / "README.md", "python")
    )


def test_the_oldest_versions_are_tested() -> None:
    """.ci/oldest.txt has every lower bound of setup.cfg, the highest where there are several, and no other version."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    lists = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    bounds: dict[str, Version] = {}
    for requirement in map(Requirement, filter(None, "\n".join(lists).splitlines())):
        name = canonicalize_name(requirement.name)
        for version in (Version(part.version) for part in requirement.specifier if part.operator == ">="):
            bounds[name] = max(version, bounds.get(name, version))
    lines = (ROOT / ".ci" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line.split("==") for line in lines if not line.startswith("#")]
    assert {canonicalize_name(name): Version(version) for name, version in pinned} == bounds


def test_the_oldest_python_is_tested() -> None:
    workflow: Any = yaml.safe_load((WORKFLOWS / "ci.yml").read_text(encoding="utf-8"))
    (oldest,) = (job for job in workflow["jobs"]["test"]["strategy"]["matrix"]["include"] if job["versions"] == "oldest")
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["options"]["python_requires"] == f">={oldest['python-version']}"
