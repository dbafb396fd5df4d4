import numpy as np
import pytest

from diip_jax.degradations.raindrops import Raindrops

SIDE = 240


def ramp():
    """x = (row, column, 0) / SIDE: what a drop does to it is its displacement."""
    row, column = np.indices((SIDE, SIDE)) / SIDE
    return np.stack([row, column, np.zeros_like(row)], axis=-1)


def test_a_drop_bends_the_light_as_its_formula_says():
    # Without blur, and so near the scene that nothing beyond the picture is seen. Seed 6 puts the drop near the centre.
    drop = Raindrops(1, smallest=0.15, largest=0.15, distance=0.2, blur=0.0)
    moved = (drop(ramp(), np.random.default_rng(6)).y - ramp()) * SIDE
    inside = np.abs(moved).max(axis=-1) > 1e-6
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    centre = np.array([rows.mean(), columns.mean()])
    axes = np.array([len(rows) / 2, len(columns) / 2])
    assert np.sqrt(axes.prod()) == pytest.approx(0.15 * SIDE, rel=0.03)
    assert (axes.max() / axes.min()) <= 4 / 3 + 0.03
    sine = np.sin(np.pi / 3)
    for p in [(0.0, 0.0), (0.5, 0.0), (0.0, -0.5), (0.4, 0.4)]:
        place = np.rint(centre + axes * p).astype(int)
        u = (place - centre) / axes
        expected = -0.33 * 0.2 * SIDE * sine * u / np.sqrt(1 - sine**2 * (u**2).sum())
        np.testing.assert_allclose(moved[*place, :2], expected, atol=0.4)


def test_drops_only_move_light():
    flat = np.full((40, 60, 3), 0.3)
    np.testing.assert_allclose(Raindrops(10)(flat, np.random.default_rng(0)).y, flat, atol=1e-9)


def test_the_picture_between_the_drops_is_untouched():
    x = np.random.default_rng(0).uniform(-1, 1, (96, 64, 3))
    y = Raindrops(3)(x, np.random.default_rng(1)).y
    untouched = np.abs(y - x).max(axis=-1) < 1e-12
    assert 0.5 < untouched.mean() < 0.99


def test_more_drops_keep_the_first_ones():
    x = np.random.default_rng(0).uniform(-1, 1, (64, 64, 1))
    few, many = (np.abs(Raindrops(n)(x, np.random.default_rng(2)).y - x)[..., 0] > 1e-12 for n in (3, 12))
    assert many[few].mean() > 0.99 and many.sum() > few.sum()
