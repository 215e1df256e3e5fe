"""The package as a whole: its version, and which of its parts may import which."""

import ast
from importlib.metadata import version
from pathlib import Path

import pytest

import sb3_trpo

PACKAGE = Path(sb3_trpo.__file__).parent


def test_version_is_the_file_and_the_metadata():
    assert sb3_trpo.__version__ == (PACKAGE / "version.txt").read_text(encoding="utf-8").strip()
    assert sb3_trpo.__version__ == version("sb3_trpo")


def test_public_names_exist():
    assert all(hasattr(sb3_trpo, name) for name in sb3_trpo.__all__)


MODULES = sorted(PACKAGE.rglob("*.py"))


def imported_modules(path: Path) -> set[str]:
    """Full names of all that a file imports, inside functions too; ``from a import b`` counts as a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import: give the full name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def under(names: set[str], package: str) -> set[str]:
    return {name for name in names if name == package or name.startswith(package + ".")}


def part_of(path: Path) -> str:
    """The folder or the file, whichever lies directly in the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    part, imported = part_of(path), imported_modules(path)
    if part in ("trust_region", "plain_network"):  # torch only
        for package in ("stable_baselines3", "gymnasium", "sb3_contrib", "rl_zoo3"):
            assert not under(imported, package)
    if part in ("trust_region", "simulators", "rollouts"):  # what they compute does not depend on how many processes do
        assert not under(imported, "sb3_trpo.distributed")
    if part == "distributed":  # knows no TRPO
        for above in (
            "objective",
            "vine_objective",
            "critic",
            "collection",
            "diagnostics",
            "settings",
            "policies",
            "trust_region",
        ):
            assert not under(imported, f"sb3_trpo.{above}")
    else:  # one place talks to other processes
        assert not under(imported, "torch.distributed")
    if part in ("trust_region", "simulators"):  # these stand alone
        own = under(imported, f"sb3_trpo.{part}") | under(imported, "sb3_trpo.plain_network")
        assert under(imported, "sb3_trpo") == own
    if part == "rollouts":  # collection knows no TRPO
        for above in ("objective", "critic", "collection", "diagnostics", "settings"):
            assert not under(imported, f"sb3_trpo.{above}")
    if part not in ("__init__", "__main__", "zoo"):  # the class is the top, whatever uses it lies outside
        assert not under(imported, "sb3_trpo.trpo")
        assert not imported & {"sb3_trpo", *(f"sb3_trpo.{name}" for name in sb3_trpo.__all__)}
    if part not in ("__main__", "zoo"):
        assert not under(imported, "sb3_trpo.zoo")
    if part != "zoo":  # RL Zoo is optional, and sb3-contrib a reference for tests only
        assert not under(imported, "rl_zoo3")
    assert not under(imported, "sb3_contrib")


def test_the_import_rules_see_what_they_judge(tmp_path):
    file = tmp_path / "module.py"
    file.write_text("import gymnasium.spaces as s\ndef f():\n    from sb3_trpo import trpo\n")
    assert imported_modules(file) == {"gymnasium.spaces", "sb3_trpo.trpo"}
    assert under({"gymnasium.spaces", "gymnasium_robotics"}, "gymnasium") == {"gymnasium.spaces"}
    assert {part_of(path) for path in MODULES} >= {"trust_region", "rollouts", "simulators", "trpo", "zoo", "__main__"}
