"""RL Zoo's scripts with this package's TRPO: ``python -m sb3_trpo train --env CartPole-v1``."""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple


class Entry(NamedTuple):
    """What there is to know of a script before RL Zoo, which may not be installed, is imported.

    :param module: where it is, in the package ``sb3_trpo.zoo``
    :param purpose: for the list of scripts
    :param undeclared: packages that RL Zoo imports for it, and does not declare as its dependencies
    """

    module: str
    purpose: str
    undeclared: Sequence[str] = ()


PLOTS_NEED = ("seaborn", "scipy")
SCRIPTS = {
    "train": Entry("model_scripts", "train a model, save it, and evaluate what the last update left"),
    "optimize": Entry("model_scripts", "train with RL Zoo's search for hyperparameters"),
    "enjoy": Entry("model_scripts", "play a saved model", ("requests",)),
    "record_video": Entry("model_scripts", "write a video of a saved model", ("moviepy",)),
    "plot_train": Entry("plot_scripts", "draw the returns of the training episodes", PLOTS_NEED),
    "all_plots": Entry("plot_scripts", "draw the evaluations made during training, several runs together", PLOTS_NEED),
    "plot_from_file": Entry("plot_scripts", "draw again what all_plots has saved", PLOTS_NEED),
}

HELP = "\n".join(
    [
        "usage: python -m sb3_trpo SCRIPT [options of RL Zoo's script]",
        "",
        *(f"  {name:<16}{script.purpose}" for name, script in SCRIPTS.items()),
        "",
        "python -m sb3_trpo SCRIPT --help lists a script's options.",
    ]
)


def main(arguments: Sequence[str]) -> None:
    """Run one of RL Zoo's scripts for TRPO, with our settings where it trains; all its options are handed through.

    :param arguments: the script's name and its own arguments
    :raises SystemExit: with status 2 for a wrong command line, or with a line that says what else is wrong
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, file=sys.stdout if arguments else sys.stderr)
        sys.exit(0 if arguments else 2)
    name, *options = arguments
    if name not in SCRIPTS:
        print(f"python -m sb3_trpo: there is no script {name!r}: use one of {', '.join(SCRIPTS)}", file=sys.stderr)
        sys.exit(2)
    for package in SCRIPTS[name].undeclared:
        if importlib.util.find_spec(package) is None:
            sys.exit(_missing(name, package))
    try:
        from sb3_trpo.zoo.command_line import run_script
        from sb3_trpo.zoo.rank_options import options_of_rank

        scripts = importlib.import_module(f"sb3_trpo.zoo.{SCRIPTS[name].module}")
    except ModuleNotFoundError as error:
        sys.exit(_missing(name, error.name))
    with options_of_rank(options) if name == "train" else nullcontext(options) as options:
        run_script(scripts.SCRIPTS[name], name, options)


def _missing(script: str, package: str | None) -> str:
    return f'python -m sb3_trpo: {script} needs the package {package}: pip install "sb3_trpo[zoo]"'


if __name__ == "__main__":
    main(sys.argv[1:])
