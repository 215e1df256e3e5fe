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


def save(figure: Any, path: Path) -> None:
    """Write a figure and close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": ""})  # else the file names matplotlib's version
    plt.close(figure)
