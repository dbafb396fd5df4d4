import jax.numpy as jnp
import numpy as np
import pytest

from diip_jax.plugs.losses import masked_mse, mse
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
