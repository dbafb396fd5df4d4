import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diip_jax.pixels import decibels, from_uint8, to_uint8


def test_every_level_goes_to_its_place_and_back():
    levels = np.arange(256, dtype=np.uint8)
    for dtype in (np.float32, np.float64):
        values = from_uint8(levels, dtype)
        assert values.dtype == dtype and (values[0], values[255]) == (-1, 1)
        np.testing.assert_array_equal(to_uint8(values), levels)
    # XLA multiplies by the inverse.
    np.testing.assert_allclose(jax.jit(from_uint8)(jnp.asarray(levels)), from_uint8(levels), atol=2e-7)
    assert to_uint8(levels) is levels


def test_what_lies_outside_is_clipped_and_float64_rounds_as_float64():
    np.testing.assert_array_equal(to_uint8(np.array([-5.0, 5.0])), [0, 255])
    just_below = 100.5 / 127.5 - 1 - 1e-12
    assert to_uint8(np.array([just_below, just_below + 2e-12])).tolist() == [100, 101]


def test_other_values_are_refused():
    with pytest.raises(ValueError, match="NaN or infinity"):
        to_uint8(np.array([np.nan]))
    with pytest.raises(ValueError, match="dtype int64, expected uint8 or float"):
        to_uint8(np.array([1, 2]))


def test_decibels_of_an_error():
    assert decibels(0.04) == pytest.approx(20) and decibels(0.0) == np.inf
    assert jax.jit(decibels)(0.04) == pytest.approx(20, rel=1e-6)
