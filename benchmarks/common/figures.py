"""Pictures: no window, one legend for all panels, files that do not depend on who writes them."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np


def legend_of(axes: np.ndarray) -> dict[str, Any]:
    """A line for every label that occurs in some panel.

    :param axes: the panels, as ``plt.subplots`` returns them
    """
    return {label: line for axis in axes.flat for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}


def band(
    axis: Any, x: np.ndarray, middle: np.ndarray, bounds: np.ndarray, color: str, label: str, alpha: float = 0.15
) -> None:
    """A line and, around it, what lies between two bounds ``[2, n]``."""
    axis.plot(x, middle, color=color, label=label)
    axis.fill_between(x, *bounds, color=color, alpha=alpha, linewidth=0)


def save(figure: Any, path: Path) -> None:
    """Write a figure and close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": ""})  # else the file names matplotlib's version
    plt.close(figure)


def save_panels(figure: Any, axes: np.ndarray, path: Path, margin: float, columns: int | None = None) -> None:
    """Write a figure of several panels with one legend below.

    :param margin: share of the height that the legend takes
    :param columns: of the legend; None for all labels side by side
    """
    lines = legend_of(axes)
    figure.legend(lines.values(), lines.keys(), loc="lower center", ncols=columns or len(lines), frameon=False)
    figure.tight_layout(rect=(0, margin, 1, 1))
    save(figure, path)
