"""A process is started with the options of its owner's Python."""

import subprocess
import sys
from pathlib import Path

import pytest

from sb3_trpo.processes import interpreter

STATE = "import sys, warnings; print(sys.flags, sorted(sys._xoptions.items()), warnings.filters)"
# The file, not the package, which a Python without site-packages (-S) could not import
CODE = f"""
{STATE}
{Path(interpreter.__file__).read_text(encoding="utf-8")}
import subprocess
print(subprocess.run([sys.executable, *interpreter_options(), "-c", {STATE!r}], capture_output=True, text=True).stdout, end="")
"""


@pytest.mark.parametrize(
    "options",
    [
        *("", "-B -O", "-OO -q", "-I", "-E -s", "-b", "-bb", "-S -B", "-X dev", "-X utf8 -X int_max_str_digits=5000"),
        *(["-P"] if sys.version_info >= (3, 11) else []),
        *("-W ignore -W error::DeprecationWarning", "-X dev -b -W once::UserWarning"),
    ],
)
def test_flags_and_filters_are_the_owners(options: str) -> None:
    """Python itself says which they are, in a process and in the one that it starts."""
    result = subprocess.run([sys.executable, *options.split(), "-c", CODE], capture_output=True, text=True)
    own, others = result.stdout.splitlines()
    assert own == others, result.stderr
