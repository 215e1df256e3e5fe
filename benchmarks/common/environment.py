"""Where results are, and what one must be read with: the command, the code's revision, package versions, the machine."""

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch as th

RESULTS = Path(__file__).parent.parent / "results"  # looked up when it is used: another folder can be put in its place
PACKAGES = ("stable-baselines3", "sb3-contrib", "torch", "gymnasium", "mujoco", "numpy")


def results(*parts: str) -> Path:
    """A path in the folder of results."""
    return RESULTS.joinpath(*parts)


def describe() -> dict[str, Any]:
    """Command, git revision, versions and machine, for the JSON file of a result."""
    revision = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    module = getattr(sys.modules["__main__"], "__spec__", None)
    program = f"python -m {module.name.removesuffix('.__main__')}" if module else f"python {sys.argv[0]}"
    return {
        "command": " ".join([program, *sys.argv[1:]]),
        "revision": revision,
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "machine": f"{platform.machine()}, {th.get_num_threads()} torch thread(s)",
    }


def memory(field: str) -> float:
    """A field of this process's memory status (``VmRSS``, ``VmHWM``), in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))
