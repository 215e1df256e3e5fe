"""RL Zoo's plots, saved as files: its own open windows, and a machine without a display has none."""

import pickle
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
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


@dataclass
class Plot:
    """A plot of RL Zoo's, whose figures are saved, and then shown where a window can be opened.

    :param plot: RL Zoo's function, which reads the command line
    :param name: with which the files' names begin
    :param check: checks and completes the options; returns what tells these files from others of this plot
    :param nothing: what to say if there is no curve
    """

    plot: Callable[[], None]
    name: str
    check: Callable[[Namespace], list[str]]
    nothing: str
    details: list[str] = field(default_factory=list)

    def complete(self, options: Namespace) -> None:
        self.details = self.check(options)

    def run(self) -> None:
        """Plot and save.

        :raises SystemExit: if there is no curve
        """
        show, shown = plt.show, []
        plt.show = lambda *_, **__: shown.append(True)  # type: ignore[assignment]
        try:
            self.plot()
        finally:
            plt.show = show
        figures = {label: plt.figure(label) for label in plt.get_figlabels()}
        if not any(map(_has_curve, figures.values())):
            sys.exit(f"{sys.argv[0]}: {self.nothing}")
        FOLDER.mkdir(exist_ok=True)
        for label, figure in figures.items():
            path = FOLDER / f"{'-'.join([self.name, *self.details, label.replace(' ', '_')])}.png"
            figure.savefig(path)
            print(f"Saved {path}")
        if shown and plt.get_backend().lower() != "agg":
            plt.show()


def _has_curve(figure: Figure) -> bool:
    return any(np.size(line.get_xdata()) > 1 for axes in figure.axes for line in axes.lines)


def check_plot_train(options: Namespace) -> list[str]:
    """Choose the window of the running mean, if none is given: RL Zoo's hundred episodes, or a tenth of the longest run.

    RL Zoo leaves out runs with fewer episodes than the window, so a short training's picture is empty with a hundred.
    """
    _write_as_folders(options)
    folder = Path(options.exp_folder, options.algo)
    longest = [max((_episodes(run) for run in folder.glob(f"*{env}*")), default=0) for env in options.env]
    for env, episodes in zip(options.env, longest, strict=True):
        if episodes == 0:
            raise ValueError(f"{folder} has no episode of {env}: train, or name another folder with --exp-folder")
    if options.episode_window is None:
        options.episode_window = min(WIDEST_WINDOW, max(1, max(longest) // WINDOWS_PER_RUN))
    return [*options.env, *([] if options.x_axis == "steps" else [f"by_{options.x_axis}"])]


def _episodes(run: Path) -> int:
    try:
        return len(load_results(str(run)))
    except LoadMonitorResultsError:
        return 0


def check_all_plots(options: Namespace) -> list[str]:
    """Look whether every environment has a run that was evaluated twice: of others RL Zoo's table says 0.0 +/- 0.0."""
    _write_as_folders(options)
    folders = [Path(folder, algo.lower()) for algo in options.algos for folder in options.exp_folders]
    for env in options.env:
        runs = {folder: [run for run in folder.glob(f"*{env}*") if run.is_dir()] for folder in folders}
        if not any(runs.values()):
            there = ", ".join(map(str, folders))
            raise ValueError(f"there is no run of {env} in {there}: train, or name another folder with --exp-folders")
        evaluated = [folder for folder in folders if any(map(_evaluated_twice, runs[folder]))]
        if not evaluated:
            raise ValueError(
                f"no run of {env} was evaluated twice: train with a smaller --eval-freq, or use plot_train, which needs no "
                "evaluations"
            )
        for folder in folders:
            if folder not in evaluated:
                print(f"No run of {env} in {folder} was evaluated twice: its 0.0 +/- 0.0 stands for none", file=sys.stderr)
    return [] if options.key == "results" else [options.key]


def _evaluated_twice(run: Path) -> bool:
    path = run / "evaluations.npz"
    return path.exists() and len(np.load(path)["timesteps"]) > 1


def _write_as_folders(options: Namespace) -> None:
    """Write environments as folders are called, so that ``ALE/Pong-v5`` is found."""
    options.env = [EnvironmentName(env) for env in options.env]


def check_plot_from_file(options: Namespace) -> list[str]:
    """Look whether the file is there, and has what RL Zoo cannot do without: two runs to each curve."""
    path = Path(options.input if options.input.endswith(".pkl") else f"{options.input}.pkl")
    if not path.is_file():
        raise ValueError(f"there is no file {path}: make it with all_plots --output {path.stem}")
    with open(path, "rb") as file:
        results = pickle.load(file)  # as RL Zoo does
    curves = [curve for name, curves in results.items() if name != "results_table" for curve in curves.values()]
    if any(np.ndim(curve["last_evals"]) == 0 for curve in curves):
        raise ValueError(f"{path} has a curve of a single run, and RL Zoo needs two: train once more, or use all_plots alone")
    return [path.stem]


PLOT_TRAIN = Plot(
    plot_train,
    "plot_train",
    check_plot_train,
    "no run has two windows of --episode-window episodes: give a smaller one",
)
ALL_PLOTS = Plot(all_plots, "all_plots", check_all_plots, "no evaluation is within --min-timesteps and --max-timesteps")
PLOT_FROM_FILE = Plot(
    plot_from_file, "plot_from_file", check_plot_from_file, "the file has no curve: make it with all_plots --output"
)

SCRIPTS = {
    "plot_train": Script(
        PLOT_TRAIN.run, PLOT_TRAIN.complete, {"algo": "trpo", "exp_folder": "logs", "episode_window": None}, ["env"]
    ),
    "all_plots": Script(ALL_PLOTS.run, ALL_PLOTS.complete, {"algos": ["trpo"], "exp_folders": ["logs"]}, ["env"]),
    "plot_from_file": Script(PLOT_FROM_FILE.run, PLOT_FROM_FILE.complete, required=["input"]),
}
