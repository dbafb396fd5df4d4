import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from networks import images
from skimage.measure import block_reduce

from diip_jax.plugs import operators


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_downsample_takes_means_of_blocks(scale):
    x = images(1, 16)[0]
    operator = operators.Downsample(operators.Identity(), scale)
    y = operator((), x, None)
    np.testing.assert_allclose(y, block_reduce(np.asarray(x), (scale, scale, 1), np.mean), atol=1e-6)
    assert operator.y_shape(x.shape) == y.shape


def test_downsample_follows_a_blur_and_keeps_its_kernel():
    x = images(1, 16)[0]
    kernel = np.outer([1, 2, 1], [1, 1, 2]).astype(np.float32) / 16
    operator = operators.Downsample(operators.Blur(operators.KnownKernel(3)), 4)
    expected = block_reduce(scipy.ndimage.convolve(np.asarray(x), kernel[..., None], mode="mirror"), (4, 4, 1), np.mean)
    np.testing.assert_allclose(operator((), x, {"kernel": jnp.asarray(kernel)}), expected, atol=1e-6)
    blind = operators.Downsample(operators.Blur(operators.KernelLogits(3), "valid"), 2)
    assert (blind.scale, blind.margin) == (2, 1)
    assert blind(blind.init(jax.random.key(0), (18, 18, 3)), images(1, 18)[0], None).shape == (8, 8, 3)
    assert set(blind.estimates(blind.init(jax.random.key(0), (18, 18, 3)))) == {"kernel"}


def test_gain_and_offset_start_at_what_changes_nothing():
    x, inner = images(1)[0], operators.Blur(operators.KernelLogits(3))
    operator = operators.GainOffset(inner)
    eta = operator.init(jax.random.key(0), x.shape)
    np.testing.assert_allclose(
        operator(eta, x, None), inner(inner.init(jax.random.key(0), x.shape), x, None), atol=1e-6
    )


def test_gain_and_offset_are_what_the_estimates_say():
    x = images(1)[0]
    operator = operators.GainOffset(nodes=2)
    eta = {"operator": (), "log_gain": jnp.log(jnp.float32(0.7)), "offset": jnp.zeros((2, 2, 3)).at[1, :, 0].set(0.4)}
    y, estimates = np.asarray(operator(eta, x, None)), operator.estimates(eta)
    assert set(estimates) == {"gain", "offset"}
    offset = y - float(estimates["gain"]) * np.asarray(x)
    np.testing.assert_allclose(offset[..., 1:], 0, atol=1e-6)
    # Constant beyond the centres of the cells, linear between them.
    rows = np.interp((np.arange(16) + 0.5) / 8 - 0.5, [0, 1], [0, 0.4])
    np.testing.assert_allclose(offset[..., 0], np.tile(rows[:, None], (1, 16)), atol=1e-6)
