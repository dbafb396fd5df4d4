import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diip_jax.plugs.losses import Cauchy, masked_mse, mse
from diip_jax.plugs.monitors import psnr
from diip_jax.plugs.rules import Observation

RNG = np.random.default_rng(0)
A, B = (RNG.standard_normal((4, 5, 3)).astype(np.float32) for _ in range(2))


def test_mse_of_real_and_complex():
    np.testing.assert_allclose(mse(jnp.asarray(A), jnp.asarray(B), None), np.mean((A - B) ** 2), rtol=1e-6)
    error = mse(jnp.asarray(A + 2j * B), jnp.asarray(B - 1j * A), None)
    assert error.dtype == jnp.float32
    np.testing.assert_allclose(error, np.mean((A - B) ** 2 + (2 * B + A) ** 2), rtol=1e-6)


@pytest.mark.parametrize("y", [B, B + 1j * A])
def test_masked_mse_counts_what_is_shown(y):
    mask = RNG.random((4, 5)) < 0.5
    error = masked_mse(jnp.asarray(A), jnp.asarray(y), {"mask": jnp.asarray(mask)})
    np.testing.assert_allclose(error, np.mean(np.abs(A - y)[mask] ** 2), rtol=1e-6)
    with pytest.raises(ValueError, match="args has no 'mask'"):
        masked_mse(jnp.asarray(A), jnp.asarray(y), None)


def test_psnr_is_of_the_clipped_image():
    zero = jnp.zeros(())
    seen = Observation(jnp.int32(0), zero, zero, jnp.asarray(3 * A))
    expected = 10 * np.log10(4 / np.mean((np.clip(3 * A, -1, 1) - B) ** 2))
    np.testing.assert_allclose(psnr(seen, {"clean": jnp.asarray(B)}), expected, rtol=1e-5)


def test_cauchy_weighs_a_pixel_by_how_far_it_is_off():
    loss, y = Cauchy(outliers=0.5), jnp.asarray(B)
    prediction = y.at[:].add(0.2).at[1, 2].set(3.0)
    gradient = np.asarray(jax.grad(lambda p: loss(p, y, None))(prediction))
    squares = np.mean((np.asarray(prediction) - B) ** 2, axis=-1, dtype=np.float64)
    weights = 1 / (1 + 0.5 * squares / (np.median(squares) / 0.79))
    expected = weights[..., None] * 2 * (np.asarray(prediction) - B) / B.size
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)
    assert weights[1, 2] < 0.05


def test_cauchy_without_outliers_is_mse():
    np.testing.assert_allclose(Cauchy(0)(jnp.asarray(A), jnp.asarray(B), None), np.mean((A - B) ** 2), rtol=1e-4)
    with pytest.raises(ValueError, match="outliers=-1: expected at least 0"):
        Cauchy(-1)


def test_cauchy_takes_small_errors_for_what_the_prior_cannot_draw():
    y = jnp.asarray(B)
    prediction = y.at[0, 0].add(0.03)
    gradient = jax.grad(lambda p: Cauchy(0.5)(p, y, None))(prediction)
    np.testing.assert_allclose(gradient[0, 0], 2 * 0.03 / B.size, rtol=0.2)
