"""Numbers as pictures: in order, on one scale, pixel for pixel."""

import matplotlib
import numpy as np
import pytest

from diip_jax.heatmaps import kernel_picture, spread_map


def test_spread_map_is_inferno_ordered_in_lightness_and_saturates():
    spread = np.linspace(0, 0.5, 101)[None]
    colours = spread_map(spread, 0.5)[0].astype(int)
    expected = matplotlib.colormaps["inferno"](spread[0] / 0.5)[:, :3] * 255
    assert np.abs(colours - expected).max() < 20  # of 255: nine anchors
    lightness = colours @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()
    np.testing.assert_array_equal(spread_map(np.array([[0.5, 9.0]]), 0.5)[0], [[252, 255, 164]] * 2)
    for bad, maximum in ((np.zeros((2, 2, 3)), 1), (np.array([[np.nan]]), 1), (np.array([[-1.0]]), 1), (spread, 0.0)):
        with pytest.raises(ValueError, match="expected"):
            spread_map(bad, maximum)


def test_kernel_picture_is_stretched_and_enlarged_in_whole_steps():
    kernel = np.arange(9.0).reshape(3, 3) / 36
    np.testing.assert_array_equal(kernel_picture(kernel), np.rint(np.arange(9).reshape(3, 3) / 8 * 255))
    large = kernel_picture(kernel, 10)
    np.testing.assert_array_equal(large, kernel_picture(kernel).repeat(4, 0).repeat(4, 1))


def test_a_grid_of_kernels_is_on_one_scale_with_lines_between():
    kernels = np.arange(1.0, 7).reshape(2, 3, 1, 1) * np.ones((2, 2)) / 6
    picture = kernel_picture(kernels)
    assert picture.shape == (5, 8)
    np.testing.assert_array_equal(picture[[0, 3]][:, [0, 3, 6]], np.rint(np.arange(1, 7).reshape(2, 3) / 6 * 255))
    assert (picture[2] == 128).all() and (picture[:, [2, 5]] == 128).all()


@pytest.mark.parametrize("bad", [np.zeros((3, 3)), np.full((3, 3), np.nan), -np.ones((3, 3)), np.ones((2, 3, 3))])
def test_what_is_no_kernel_is_refused(bad):
    with pytest.raises(ValueError, match=r"expected \[K, K\] or"):
        kernel_picture(bad)
