"""How this process's Python was started."""

import sys

_FLAGS = (
    "debug optimize dont_write_bytecode no_site verbose bytes_warning quiet isolated ignore_environment no_user_site safe_path"
)
_LETTERS = "dOBSvbqIEsP"  # the options that set them


def interpreter_options() -> list[str]:
    """The options that this process's Python was started with, but those that make it interactive."""
    values = {letter: int(getattr(sys.flags, flag, 0)) for flag, letter in zip(_FLAGS.split(), _LETTERS, strict=True)}
    flags = [f"-{letter * value}" for letter, value in values.items() if value]
    extended = [f"-X{name}" if value is True else f"-X{name}={value}" for name, value in sys._xoptions.items()]
    return [*flags, *(f"-W{warning}" for warning in sys.warnoptions), *extended]
