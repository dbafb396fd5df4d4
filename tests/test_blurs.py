"""Blur against SciPy, and how well a kernel is found when the image is given."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.ndimage
import scipy.signal
from networks import images

from diip_jax.plugs import operators
from diip_jax.plugs.operators import convolve

RNG = np.random.default_rng(0)


def random_kernel(size: int) -> np.ndarray:
    k = RNG.random((size, size)).astype(np.float32)
    return k / k.sum()


@pytest.mark.parametrize("shape", [(16, 16, 3), (9, 12, 1)])
@pytest.mark.parametrize("size", [1, 3, 7, 9])
@pytest.mark.parametrize("boundary, mode", [("zero", "constant"), ("reflect", "mirror")])
def test_padded_boundaries_equal_scipy_ndimage(boundary, mode, size, shape):
    x, k = RNG.standard_normal(shape).astype(np.float32), random_kernel(size)
    expected = scipy.ndimage.convolve(x, k[..., None], mode=mode)
    np.testing.assert_allclose(convolve(jnp.asarray(x), jnp.asarray(k), boundary), expected, atol=2e-6)


@pytest.mark.parametrize("size", [1, 5, 9])
def test_valid_equals_scipy_signal(size):
    x, k = RNG.standard_normal((9, 12, 3)).astype(np.float32), random_kernel(size)
    expected = np.stack([scipy.signal.convolve2d(x[..., c], k, mode="valid") for c in range(3)], axis=-1)
    y = convolve(jnp.asarray(x), jnp.asarray(k), "valid")
    np.testing.assert_allclose(y, expected, atol=2e-6)
    operator = operators.Blur(operators.KnownKernel(size), "valid")
    assert operator.y_shape(x.shape) == y.shape


def test_a_kernel_larger_than_the_image_is_refused():
    x = images(1)[0]
    with pytest.raises(ValueError, match="kernel_size=17: larger than the image, which is 16x16"):
        convolve(x, jnp.ones((17, 17)), "reflect")


def test_vmapped_images_have_their_own_kernels():
    x, k = images(3), jnp.asarray(np.stack([random_kernel(5) for _ in range(3)]))
    operator = operators.Blur(operators.KnownKernel(5))
    together = jax.vmap(lambda x, known: operator((), x, known))(x, {"kernel": k})
    chex.assert_trees_all_close(together[1], convolve(x[1], k[1], "reflect"), atol=1e-6)


def test_the_estimate_is_the_kernel_that_is_applied():
    operator, x = operators.Blur(operators.KernelNetwork(5)), images(1)[0]
    eta = operator.init(jax.random.key(0), (16, 16, 3))
    estimates = operator.estimates(eta)
    chex.assert_trees_all_close(operator(eta, x, None), convolve(x, estimates["kernel"], "reflect"), atol=1e-6)
    assert operators.Blur(operators.KnownKernel(5)).estimates(()) == {}


def test_varying_blur_of_equal_kernels_is_blur():
    x = images(1)[0]
    logits = operators.KernelLogits(5)
    varying, uniform = operators.VaryingBlur(logits, nodes=2, centre=False), operators.Blur(logits)
    eta = RNG.standard_normal((5, 5)).astype(np.float32)
    given = varying(jnp.tile(eta, (4, 1, 1)), x, None)
    chex.assert_trees_all_close(given, uniform(jnp.asarray(eta), x, None), atol=1e-6)


def test_varying_blur_moves_its_kernels_together():
    operator = operators.VaryingBlur(5, nodes=2)
    eta = jnp.full((4, 5, 5), -30.0).at[jnp.arange(4), 1, jnp.array([0, 1, 2, 1])].set(0.0)
    kernels = operator.estimates(eta)["kernel"].reshape(4, 5, 5)
    expected = np.zeros((4, 5, 5))
    expected[np.arange(4), 2, [1, 2, 3, 2]] = 1
    np.testing.assert_allclose(kernels, expected, atol=1e-5)


def test_varying_blur_applies_the_interpolated_kernel_at_every_pixel():
    x, nodes, side = images(1, 12)[0], 3, 12
    operator = operators.VaryingBlur(3, nodes=nodes, centre=False)
    eta = jnp.asarray(RNG.standard_normal((nodes**2, 3, 3)).astype(np.float32))
    kernels = np.asarray(operator.estimates(eta)["kernel"], np.float64)
    assert kernels.shape == (nodes, nodes, 3, 3)
    y = operator(eta, x, None)
    # Nodes sit at the centres of cells of 4 pixels; pixel i has its centre at i + 1/2.
    at = np.clip((np.arange(side) + 0.5) / (side / nodes) - 0.5, 0, nodes - 1)
    for i, j in [(0, 0), (1, 1), (3, 6), (5, 2), (8, 11), (11, 4)]:
        low = [min(int(at[p]), nodes - 2) for p in (i, j)]
        part = [at[p] - q for p, q in zip((i, j), low, strict=True)]
        kernel = sum(
            np.prod([1 - abs(a - p) for a, p in zip((down, right), part, strict=True)])
            * kernels[low[0] + down, low[1] + right]
            for down in (0, 1)
            for right in (0, 1)
        )
        expected = scipy.ndimage.convolve(np.asarray(x, np.float64), kernel[..., None], mode="mirror")[i, j]
        np.testing.assert_allclose(y[i, j], expected, atol=1e-5)


@pytest.mark.parametrize("model, rate", [(operators.KernelNetwork, 1e-3), (operators.KernelLogits, 3e-3)])
def test_a_kernel_is_recovered_when_the_image_is_given(model, rate):
    """Without noise and with the true image, what is left is the operator alone: correlation of at least 0.99."""
    x = images(1, 32)[0]
    truth = np.zeros((7, 7), np.float32)
    truth[[1, 2, 3, 3, 4, 5, 5], [1, 2, 2, 3, 4, 4, 5]] = [1, 2, 2, 3, 2, 1, 1]
    truth /= truth.sum()
    operator = operators.Blur(model(7))
    y = convolve(x, jnp.asarray(truth), "reflect")
    optimizer = optax.adam(rate)

    def step(carry, _):
        eta, moments = carry
        gradient = jax.grad(lambda eta: jnp.mean((operator(eta, x, None) - y) ** 2))(eta)
        change, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(eta, change), moments), None

    eta = operator.init(jax.random.key(0), (16, 16, 3))
    (eta, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, length=300))((eta, optimizer.init(eta)))
    found = operator.estimates(eta)["kernel"]
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] >= 0.99


def test_a_size_is_an_unknown_kernel_that_stays_centred():
    assert operators.Blur(5) == operators.Blur(operators.Centred(operators.KernelLogits(5)), "reflect")
    assert operators.VaryingBlur(5) == operators.VaryingBlur(operators.KernelLogits(5), 3, "reflect", True)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: operators.Blur(4), "kernel_size=4: expected an odd number"),
        (lambda: operators.VaryingBlur(operators.KnownKernel(3)), "VaryingBlur has several unknown ones"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
