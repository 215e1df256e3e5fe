"""One legend for all panels of a figure."""

from typing import Any

import numpy as np


def legend_of(axes: np.ndarray) -> dict[str, Any]:
    """A line for every label that occurs in some panel.

    :param axes: the panels, as ``plt.subplots`` returns them
    """
    return {label: line for axis in axes.flat for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
