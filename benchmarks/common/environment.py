"""Where results are, and what one must be read with: the command, the code's revision, package versions, the machine."""

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch as th

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"  # looked up when it is used: another folder can be put in its place
PACKAGES = ("stable-baselines3", "sb3-contrib", "torch", "gymnasium", "mujoco", "numpy")


def results(*parts: str) -> Path:
    """A path in the folder of results."""
    return RESULTS.joinpath(*parts)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout


def describe() -> dict[str, Any]:
    """For the JSON file of a result: command, git revision, files changed since that revision, versions and machine."""
    changed = _git("diff", "--name-only", "HEAD", "--", "sb3_trpo", "benchmarks", ":!benchmarks/results").split()
    module = getattr(sys.modules["__main__"], "__spec__", None)
    program = f"python -m {module.name.removesuffix('.__main__')}" if module else f"python {sys.argv[0]}"
    return {
        "command": " ".join([program, *sys.argv[1:]]),
        "revision": _git("rev-parse", "HEAD").strip(),
        **({"changed since": changed} if changed else {}),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "machine": f"{platform.machine()}, {th.get_num_threads()} torch thread(s)",
    }


def memory(field: str) -> float:
    """A field of this process's memory status (``VmRSS``, ``VmHWM``), in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))
