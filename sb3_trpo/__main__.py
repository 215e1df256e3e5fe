"""RL Zoo's scripts with this package's TRPO: ``python -m sb3_trpo train --env CartPole-v1``."""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence

from sb3_trpo.distributed.command_line import options_of_rank

SCRIPTS = {
    "train": "train a model, save it, and evaluate what the last update left",
    "enjoy": "play a saved model",
    "record_video": "write a video of a saved model",
}

HELP = "\n".join(
    [
        "usage: python -m sb3_trpo SCRIPT [options of RL Zoo's script]",
        "",
        *(f"  {name:<14}{purpose}" for name, purpose in SCRIPTS.items()),
        "",
        "python -m sb3_trpo SCRIPT --help lists a script's options.",
    ]
)

# What RL Zoo imports in one script only, and does not declare as a dependency
UNDECLARED: dict[str, list[str]] = {"train": [], "enjoy": ["requests"], "record_video": ["moviepy"]}


class UserError(Exception):
    """What the user has to mend, in one line, and the exit status to end with."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def main(arguments: Sequence[str]) -> int:
    """Run one of RL Zoo's scripts with ``--algo trpo`` and, for ``train``, our settings; all else is handed through.

    :param arguments: the script's name and its own arguments
    :return: exit status: 0 for success, 1 for a missing package, 2 for a wrong command line
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    script, *options = arguments
    try:
        _check_script(script)
        _check_algo(options)
        run_script = _import_zoo(script)
    except UserError as error:
        print(f"python -m sb3_trpo: {error}", file=sys.stderr)
        return error.status
    if script == "train":
        with options_of_rank(options) as options:
            run_script(script, options)
    else:
        run_script(script, options)
    return 0


def _check_script(script: str) -> None:
    if script not in SCRIPTS:
        raise UserError(f"there is no script {script!r}: use one of {', '.join(SCRIPTS)}", 2)


def _check_algo(options: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--algo", default="trpo")
    try:
        algo = parser.parse_known_args(options)[0].algo
    except argparse.ArgumentError as error:
        raise UserError(str(error), 2) from None
    if algo != "trpo":
        raise UserError(f"--algo {algo} is not run from here: leave --algo out, or call RL Zoo's own script", 2)


def _import_zoo(script: str) -> Callable[[str, Sequence[str]], None]:
    """The function that runs RL Zoo, which is an optional dependency."""
    for package in UNDECLARED[script]:
        if importlib.util.find_spec(package) is None:
            raise _missing(script, package)
    try:
        from sb3_trpo.zoo import run_script
    except ModuleNotFoundError as error:
        raise _missing(script, error.name) from None
    return run_script


def _missing(script: str, package: str | None) -> UserError:
    return UserError(f'{script} needs the package {package}: pip install "sb3_trpo[zoo]"', 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
