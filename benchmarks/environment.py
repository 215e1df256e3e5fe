"""What a result must be read with: the command, the code's revision, package versions and the machine."""

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch as th

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("stable-baselines3", "sb3-contrib", "torch", "gymnasium", "mujoco", "numpy")


def describe() -> dict[str, Any]:
    """Command, git revision, versions and machine, for the JSON file beside a result."""
    revision = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    module = getattr(sys.modules["__main__"], "__spec__", None)
    program = f"python -m {module.name}" if module else f"python {sys.argv[0]}"
    return {
        "command": " ".join([program, *sys.argv[1:]]),
        "revision": revision,
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "machine": f"{platform.machine()}, {th.get_num_threads()} torch thread(s)",
    }
