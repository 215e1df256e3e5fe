"""The package as a whole: its version, its floors, and that imports go downwards."""

import ast
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path

import pytest

import sb3_trpo

PACKAGE = Path(sb3_trpo.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# From the ground up: a part imports from parts before its own. A folder's own files may import each other without a circle.
FLOORS = """
    checks equality discrete schedules atomic observation_parts memory_order
    ranks processes simulators trust_region vec_env policy progress_bars
    distributed checkpoints restarts sampling update critic
    arguments settings diagnostics interruption loading atari trpo
    variants hyperparams zoo __main__
""".split()
MATHEMATICS = {"checks", "equality", "atomic", "observation_parts", "memory_order", "ranks", "processes", "trust_region"}
MATHEMATICS |= {"hyperparams"}
# Libraries that only some parts may know; all others know none of them
ALLOWED = {
    "stable_baselines3": set(FLOORS) - MATHEMATICS,
    "gymnasium": set(FLOORS) - MATHEMATICS,
    "torch.distributed": {"distributed"},
    "rl_zoo3": {"zoo"},
    "sb3_contrib": {"variants"},
}


def imported(path: Path) -> set[str]:
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


def module_of(name: str) -> Path | None:
    """The file that a name of this package is imported from."""
    parts = name.split(".")[1:]
    for length in range(len(parts), 0, -1):
        place = PACKAGE.joinpath(*parts[:length])
        if place.with_suffix(".py").exists():
            return place.with_suffix(".py")
        if (place / "__init__.py").exists():
            return place / "__init__.py"
    return None


def test_version_is_the_file_and_the_metadata():
    assert sb3_trpo.__version__ == (PACKAGE / "version.txt").read_text(encoding="utf-8").strip()
    assert sb3_trpo.__version__ == version("sb3_trpo")


def test_public_names_exist():
    assert all(hasattr(sb3_trpo, name) for name in sb3_trpo.__all__)


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES}), ids=lambda folder: folder.name)
def test_every_folder_says_what_each_of_its_files_is(folder: Path) -> None:
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    own = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()} - {"__init__"}
    assert {name for name in own if f"``{name}``" not in said} == set()


def test_every_part_has_a_floor():
    assert {part_of(path) for path in MODULES} == {*FLOORS, "__init__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path):
    part, names = part_of(path), imported(path)
    for library, parts in ALLOWED.items():
        assert part in parts or not under(names, library)
    if part == "__init__":
        return
    own = FLOORS.index(part)
    for name in under(names, "sb3_trpo"):
        assert (name.count(".") > 0 and name.split(".")[1] not in sb3_trpo.__all__) or own > FLOORS.index("trpo"), name
        target = name.split(".")[1]
        assert target in sb3_trpo.__all__ or FLOORS.index(target) <= own, f"{part} imports {name} from above"


def test_no_circle():
    """Of files: a package's own ``__init__`` counts as importing all that it shows."""
    graph = {}
    for path in MODULES:
        targets = {module_of(name) for name in under(imported(path), "sb3_trpo")} - {None, path}
        graph[path] = targets
    assert len([*TopologicalSorter(graph).static_order()]) == len(MODULES)  # else a CycleError


def test_one_concept_a_file():
    """At most 300 lines."""
    long = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long.items() if lines > 300} == {}


def test_the_import_rules_see_what_they_judge(tmp_path):
    file = tmp_path / "module.py"
    file.write_text("import gymnasium.spaces as s\ndef f():\n    from sb3_trpo import trpo\n")
    assert imported(file) == {"gymnasium.spaces", "sb3_trpo.trpo"}
    assert under({"gymnasium.spaces", "gymnasium_robotics"}, "gymnasium") == {"gymnasium.spaces"}
    assert module_of("sb3_trpo.trpo.TRPO") == PACKAGE / "trpo.py"


def test_tests_lead_back():
    """``tests/x/test_y.py`` is about ``y.py`` or ``y/`` in x, or about x itself; or a promise, or of documents."""
    here = Path(__file__).parent
    for path in here.rglob("test_*.py"):
        folder, name = path.parent.relative_to(here), path.stem.removeprefix("test_")
        if folder.parts[:1] in (("promises",), ("docs",)) or path == Path(__file__):
            continue
        if folder.parts[:1] == ("benchmarks",):
            places = [here.parent / "benchmarks", *(here.parent / "benchmarks").glob("*/")]
        else:
            places = [PACKAGE / folder]
        found = any((place / name).is_dir() or (place / f"{name}.py").is_file() for place in places)
        assert found or name == folder.name, f"{path}: there is no module {name} in {folder}"
