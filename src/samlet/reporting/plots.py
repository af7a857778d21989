"""What the pictures of runs share."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samlet.io.writing import new_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID: dict[str, Any] = {"color": "#e2e8f0", "linewidth": 0.6}
"""How the lines of a grid look."""

_DPI = 110


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI)


def figure_image(figure: Figure) -> Image.Image:
    """A figure as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=_DPI)
    return Image.open(written).convert("RGB")


def smoothed(values: Sequence[float], window: int) -> NDArray[np.float64]:
    """Mean of the `window` values around each; of fewer at both ends."""
    ones = np.ones(min(window, len(values)))
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")
