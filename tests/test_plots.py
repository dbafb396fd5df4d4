import sys

import numpy as np
import pytest

from diip_jax.plots import drawing, set_axes


def test_a_drawing_has_its_size_in_pixels_and_a_grid_behind_its_curves():
    drawn = drawing(320, 240, "curves")
    axes = drawn.figure.add_axes((0, 0, 1, 1))
    set_axes(axes, 8)
    axes.plot([0, 1], [0, 1], color="#ff0000", linewidth=9)
    picture = drawn.picture()
    assert picture.shape == (240, 320, 3) and picture.dtype == np.uint8
    assert (picture == (0xE3, 0xE6, 0xEA)).all(-1).any() and (picture == (0xFF, 0, 0)).all(-1).any()


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'curves need matplotlib; run: pip install "diip_jax\[plots\]"'):
        drawing(320, 240, "curves")
