import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.ndimage
from networks import LinearNoise, images
from skimage.measure import block_reduce

from diip_jax.plugs import operators
from diip_jax.plugs.corrected_sampling import replacement
from diip_jax.plugs.losses import mse


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


def test_a_step_of_a_reduced_picture_is_that_of_the_pseudoinverse():
    """x + D^+ (y - D x), which takes every block to its mean and leaves the rest alone."""
    operator, x, y = operators.Reduced(factor=4), images(1, 16)[0], images(1, 4, seed=3)[0]
    gradient = jax.grad(lambda x: mse(operator((), x, None), y, None))(x)
    stepped = x + replacement(1.0).update(gradient, optax.EmptyState(), jnp.zeros_like(x))[0]
    means = np.kron(block_reduce(np.asarray(x), (4, 4, 1), np.mean), np.ones((4, 4, 1)))
    np.testing.assert_allclose(stepped, x - means + np.kron(y, np.ones((4, 4, 1))), atol=1e-5)
    assert operator.y_shape(x.shape) == y.shape and operator.image_shape(y.shape) == x.shape


def test_a_reduced_picture_is_looked_at_in_its_own_pixels():
    found = operators.Reduced(operators.FoundDamage(LinearNoise(0.2)), 2)
    y = images(1, 16)[0]
    eta = found.start(jax.random.key(0), (32, 32, 3), y, None)
    kinds = jax.tree.map(jnp.shape, found.init(jax.random.key(0), (32, 32, 3)))
    assert jax.tree.map(jnp.shape, eta) == kinds and eta["estimate"].shape == y.shape
    guess, inner = found.guess(eta, y, None), found.operator.guess(eta, y, None)
    assert guess.image.shape == (32, 32, 3) and not guess.settled
    # Bicubic interpolation keeps what is smooth: the means of blocks are nearly the small picture.
    coarse = np.linspace(-1, 1, 16)[:, None, None] * np.ones((1, 16, 3))
    ramp = found.guess({**eta, "estimate": jnp.asarray(coarse)}, y, None).image
    np.testing.assert_allclose(block_reduce(np.asarray(ramp), (2, 2, 1), np.mean)[2:-2], coarse[2:-2], atol=1e-5)
    np.testing.assert_array_equal(inner.image, eta["estimate"])
    assert found.first_evaluations(eta) == found.operator.first_evaluations(eta) == 3
    assert set(found.learned(eta)) < set(eta)


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


def test_gain_and_offset_leave_to_the_operator_what_is_its_own():
    inner = operators.FoundDamage(LinearNoise(0.2))
    operator, y = operators.GainOffset(inner), images(1, 16)[0]
    key = jax.random.key(0)
    eta, own = operator.start(key, y.shape, y, None), inner.start(key, y.shape, y, None)
    assert jax.tree.map(jnp.shape, eta) == jax.tree.map(jnp.shape, operator.init(key, y.shape))
    np.testing.assert_array_equal(eta["operator"]["estimate"], own["estimate"])
    guess = operator.guess(eta, y, None)
    np.testing.assert_array_equal(guess.image, own["estimate"])
    assert not guess.settled  # the gain has to be looked for
    assert operator.first_evaluations(eta) == inner.first_evaluations(own)
    learned = operator.learned(eta)
    assert set(learned) == set(eta) and set(learned["operator"]) == set(inner.learned(own))
    assert set(operator.estimates(learned)) == {"gain", "offset", *inner.estimates(own)}
    mask = jnp.arange(16)[:, None] * jnp.ones((1, 16)) < 8
    seen = operators.GainOffset(operators.Mask()).visible(y, {"mask": mask})
    np.testing.assert_array_equal(jnp.isnan(seen).all(-1), ~mask)
