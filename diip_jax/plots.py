"""What drawings by matplotlib have in common, which the extra `plots` installs."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

INK = "#24292f"
DPI = 100


class Drawing(NamedTuple):
    """A figure, and the canvas that it is drawn on."""

    figure: Any
    canvas: Any

    def picture(self) -> NDArray[np.uint8]:
        """What is drawn, `[H, W, 3]`."""
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()


def drawing(width: float | int, height: float | int, what: str, **settings: Any) -> Drawing:
    """An empty one on white, of this size in pixels.

    Args:
        what: is drawn, in the plural, for the message.
        settings: of matplotlib's `Figure`.

    Raises:
        ImportError: matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f'{what} need matplotlib; run: pip install "diip_jax[plots]"') from error
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white", **settings)
    return Drawing(figure, FigureCanvasAgg(figure))


def set_axes(axes: Any, labelsize: int, **ticks: Any) -> None:
    """A fine grid behind the curves, and labels of this size in points."""
    axes.tick_params(which="both", labelsize=labelsize, labelcolor=INK, **{"color": INK, **ticks})
    axes.grid(True, color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
