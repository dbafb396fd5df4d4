"""Numbers on a grid as a picture: spread maps in colour, blur kernels in grey."""

from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Inferno (by N. J. Smith and S. van der Walt, CC0) at 0, 1/8, ..., 1: lightness rises evenly from black to yellow.
_INFERNO = np.array(
    [
        (0, 0, 4),
        (33, 12, 74),
        (87, 16, 110),
        (138, 34, 106),
        (188, 55, 84),
        (228, 90, 49),
        (249, 142, 9),
        (249, 203, 53),
        (252, 255, 164),
    ],
    np.float64,
)


def spread_map(spread: ArrayLike, maximum: float | int) -> NDArray[np.uint8]:
    """A per-pixel standard deviation as colour: 0 black, through purple and orange, `maximum` and above pale yellow.

    spread: [H, W], in units of the [-1, 1] range. maximum: in the same units; the same one makes maps comparable.
    Returns uint8 [H, W, 3]. Raises ValueError for another shape, negative or non-finite values, or maximum <= 0.
    """
    values = np.asarray(spread, np.float64)
    if values.ndim != 2 or not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(
            f"spread has shape {values.shape}, expected [H, W] of finite values >= 0; average over the "
            "channels and check the samples for NaN"
        )
    if not (np.isfinite(maximum) and maximum > 0):
        raise ValueError(f"maximum is {maximum}, expected a number above 0; pass the spread to show as the brightest")
    anchors = np.linspace(0.0, maximum, len(_INFERNO))
    colours = [np.interp(values, anchors, _INFERNO[:, c]) for c in range(3)]
    return np.rint(np.stack(colours, axis=-1)).astype(np.uint8)


def kernel_picture(kernel: ArrayLike, least_side: int = 1) -> NDArray[np.uint8]:
    """A blur kernel in grey: 0 black, the largest value white.

    kernel: [K, K], or a grid of them [rows, columns, K, K], drawn on one scale with grey lines between. Enlarged by a
    whole factor, nearest neighbour, until no side is shorter than `least_side` pixels.
    Returns uint8 [H, W]. Raises ValueError for another shape, or values that are negative, not finite or all 0.
    """
    values = np.asarray(kernel, np.float64)
    if values.ndim not in (2, 4) or not np.isfinite(values).all() or values.min() < 0 or not values.any():
        expected = "[K, K] or [rows, columns, K, K] of finite values >= 0, not all 0"
        raise ValueError(f"kernel has shape {values.shape}, expected {expected}")
    levels = np.rint(values / values.max() * 255).astype(np.uint8)
    grid = np.pad(levels[None, None] if values.ndim == 2 else levels, [(0, 0)] * 2 + [(0, 1)] * 2, constant_values=128)
    picture = np.block([list(row) for row in grid])[:-1, :-1]
    factor = ceil(least_side / min(picture.shape))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)
