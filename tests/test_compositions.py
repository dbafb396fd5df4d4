import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from networks import images
from skimage.measure import block_reduce

from diip_jax import operators
from diip_jax.operators import Geometry, Known


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_downsample_takes_means_of_blocks(scale):
    x = images(1, 16)[0]
    operator = operators.downsample(operators.identity(), scale)
    y = operator.apply((), x, Known())
    np.testing.assert_allclose(y, block_reduce(np.asarray(x), (scale, scale, 1), np.mean), atol=1e-6)
    assert operator.geometry.y_shape(x.shape) == y.shape


def test_downsample_follows_a_blur_and_keeps_its_kernel():
    x = images(1, 16)[0]
    kernel = np.outer([1, 2, 1], [1, 1, 2]).astype(np.float32) / 16
    operator = operators.downsample(operators.blur(operators.known_kernel(3)), 4)
    expected = block_reduce(scipy.ndimage.convolve(np.asarray(x), kernel[..., None], mode="mirror"), (4, 4, 1), np.mean)
    np.testing.assert_allclose(operator.apply((), x, Known(kernel=jnp.asarray(kernel))), expected, atol=1e-6)
    assert operator.needs == ("kernel",)
    blind = operators.downsample(operators.blur(operators.kernel_logits(3), "valid"), 2)
    assert blind.geometry == Geometry(2, 1)
    assert blind.apply(blind.init(jax.random.key(0)), images(1, 18)[0], Known()).shape == (8, 8, 3)
    assert set(blind.estimates(blind.init(jax.random.key(0)))) == {"kernel"}


def test_gain_and_offset_start_at_what_changes_nothing():
    x, inner = images(1)[0], operators.blur(operators.kernel_logits(3))
    operator = operators.gain_offset(inner, 3)
    eta = operator.init(jax.random.key(0))
    np.testing.assert_allclose(
        operator.apply(eta, x, Known()), inner.apply(inner.init(jax.random.key(0)), x, Known()), atol=1e-6
    )


def test_gain_and_offset_are_what_the_estimates_say():
    x = images(1)[0]
    operator = operators.gain_offset(operators.identity(), 3, nodes=2)
    eta = {"operator": (), "log_gain": jnp.log(jnp.float32(0.7)), "offset": jnp.zeros((2, 2, 3)).at[1, :, 0].set(0.4)}
    y, estimates = np.asarray(operator.apply(eta, x, Known())), operator.estimates(eta)
    assert set(estimates) == {"gain", "offset"}
    offset = y - float(estimates["gain"]) * np.asarray(x)
    np.testing.assert_allclose(offset[..., 1:], 0, atol=1e-6)
    # Constant beyond the centres of the cells, linear between them.
    rows = np.interp((np.arange(16) + 0.5) / 8 - 0.5, [0, 1], [0, 0.4])
    np.testing.assert_allclose(offset[..., 0], np.tile(rows[:, None], (1, 16)), atol=1e-6)
