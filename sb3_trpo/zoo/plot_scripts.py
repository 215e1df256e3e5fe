"""RL Zoo's plots, saved as files: its own open windows, and a machine without a display has none."""

import pickle
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from huggingface_sb3 import EnvironmentName
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from rl_zoo3.plots import all_plots, plot_from_file, plot_train
from stable_baselines3.common.monitor import LoadMonitorResultsError, load_results

from sb3_trpo.zoo.command_line import Script

FOLDER = Path("plots")
WIDEST_WINDOW = 100  # episodes, RL Zoo's
WINDOWS_PER_RUN = 10


def save_pictures(plot: Callable[[], None], name: str, nothing: str) -> None:
    """Let RL Zoo plot, save its figures, then show them where a window can be opened.

    :param plot: RL Zoo's function
    :param name: the plot's, with which the files' names begin
    :param nothing: what to say if there is no curve
    :raises SystemExit: if there is none
    """
    show, shown = plt.show, []
    plt.show = lambda *_, **__: shown.append(True)  # type: ignore[assignment]
    try:
        plot()
    finally:
        plt.show = show
    figures = {label: plt.figure(label) for label in plt.get_figlabels()}
    if not any(map(_has_curve, figures.values())):
        sys.exit(f"{sys.argv[0]}: {nothing}")
    FOLDER.mkdir(exist_ok=True)
    for label, figure in figures.items():
        path = FOLDER / f"{name}-{label.replace(' ', '_')}.png"
        figure.savefig(path)
        print(f"Saved {path}")
    if shown and plt.get_backend().lower() != "agg":
        plt.show()


def _has_curve(figure: Figure) -> bool:
    return any(np.size(line.get_xdata()) > 1 for axes in figure.axes for line in axes.lines)


def complete_plot_train(options: Namespace) -> None:
    """Choose the window of the running mean, if none is given: RL Zoo's hundred episodes, or a tenth of the longest run.

    RL Zoo leaves out runs with fewer episodes than the window, so a short training's picture is empty with a hundred.
    """
    complete_environments(options)
    folder = Path(options.exp_folder, options.algo)
    longest = max((_episodes(run) for env in options.env for run in folder.glob(f"*{env}*")), default=0)
    if longest == 0:
        raise ValueError(
            f"{folder} has no episode of {', '.join(options.env)}: train, or name another folder with --exp-folder"
        )
    if options.episode_window is None:
        options.episode_window = min(WIDEST_WINDOW, max(1, longest // WINDOWS_PER_RUN))


def _episodes(run: Path) -> int:
    try:
        return len(load_results(str(run)))
    except LoadMonitorResultsError:
        return 0


def complete_environments(options: Namespace) -> None:
    """Write environments as folders are called, so that ``ALE/Pong-v5`` is found."""
    options.env = [EnvironmentName(env) for env in options.env]


def complete_plot_from_file(options: Namespace) -> None:
    """Look whether the file is there, and has what RL Zoo cannot do without: two runs to each curve."""
    path = Path(options.input if options.input.endswith(".pkl") else f"{options.input}.pkl")
    if not path.is_file():
        raise ValueError(f"there is no file {path}: make it with all_plots --output {path.stem}")
    with open(path, "rb") as file:
        results = pickle.load(file)  # as RL Zoo does
    curves = [curve for name, curves in results.items() if name != "results_table" for curve in curves.values()]
    if any(np.ndim(curve["last_evals"]) == 0 for curve in curves):
        raise ValueError(f"{path} has a curve of a single run, and RL Zoo needs two: train once more, or use all_plots alone")


SCRIPTS = {
    "plot_train": Script(
        partial(
            save_pictures, plot_train, "plot_train", "no run has two windows of --episode-window episodes: give a smaller one"
        ),
        complete_plot_train,
        {"algo": "trpo", "exp_folder": "logs", "episode_window": None},
    ),
    "all_plots": Script(
        partial(
            save_pictures,
            all_plots,
            "all_plots",
            "no run was evaluated twice: train with a smaller --eval-freq, or use plot_train, which needs no evaluations",
        ),
        complete_environments,
        {"algos": ["trpo"], "exp_folders": ["logs"]},
        required=["env"],
    ),
    "plot_from_file": Script(
        partial(save_pictures, plot_from_file, "plot_from_file", "the file has no curve: make it with all_plots --output"),
        complete_plot_from_file,
        required=["input"],
    ),
}
