"""The blur that is read off the observation: what it does forwards, and its regularised inverse backwards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from diip_jax.plugs.operators.spectral_blur import SpectralBlur, gaussian_blur, gaussian_kernel


def picture(*size: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((*size, 3)).astype(np.float32)


@pytest.mark.parametrize("sigma", [(1.5, 1.5), (2.0, 1.2)])
def test_blurs_as_scipy_does(sigma):
    x = picture(40, 33)
    given = gaussian_blur(jnp.asarray(x), jnp.diag(jnp.square(jnp.array(sigma))))
    expected = ndimage.gaussian_filter(x.astype(np.float64), (*sigma, 0), mode="mirror", truncate=8)
    error = np.abs(np.asarray(given) - expected).max() / np.abs(expected).max()
    print(f"relative error {error:.1e}, sigma {sigma}")
    # Sampled and in the frequency domain a Gaussian differs by what the sampled one has beyond the highest frequency.
    assert error < 2 * np.exp(-((np.pi * min(sigma)) ** 2) / 2) + 1e-5


def test_no_covariance_is_no_blur():
    x = picture(9, 12)
    np.testing.assert_allclose(gaussian_blur(jnp.asarray(x), jnp.zeros((2, 2))), x, atol=1e-5)
    kernel = np.asarray(gaussian_kernel(jnp.zeros((2, 2))))
    assert kernel[7, 7] > 0.999


def test_the_reported_kernel_has_the_covariance():
    covariance = np.array([[3.0, 1.0], [1.0, 1.5]])
    kernel = np.asarray(gaussian_kernel(jnp.asarray(covariance)))
    at = np.stack(np.meshgrid(*[np.arange(-7, 8)] * 2, indexing="ij")).reshape(2, -1)
    np.testing.assert_allclose(kernel.sum(), 1, rtol=1e-5)
    np.testing.assert_allclose((at * kernel.reshape(-1)) @ at.T, covariance, rtol=0.02)


def test_backwards_it_is_the_regularised_inverse():
    operator, x = SpectralBlur(ridge=0.3), jnp.asarray(picture(12, 10)[..., :1])
    covariance = jnp.array([[1.0, 0.3], [0.3, 0.5]])
    _, back = jax.vjp(lambda x: operator({"covariance": covariance}, x, None), x)
    g = jnp.asarray(picture(12, 10)[..., 1:2])
    flat = lambda v: gaussian_blur(v.reshape(12, 10, 1), covariance).reshape(-1)  # noqa: E731
    matrix = np.asarray(jax.jacfwd(flat)(x.reshape(-1)), np.float64)
    exact = np.linalg.solve(matrix.T @ matrix + 0.3 * np.eye(120), matrix.T @ np.asarray(g, np.float64).reshape(-1))
    error = np.linalg.norm(np.asarray(back(g)[0]).reshape(-1) - exact) / np.linalg.norm(exact)
    print(f"relative error {error:.1e} after five conjugate gradients")
    assert error < 0.02
    # It raises what the blur took away: the plain adjoint is far from it.
    assert np.linalg.norm(matrix.T @ np.asarray(g).reshape(-1) - exact) / np.linalg.norm(exact) > 0.3


def test_what_is_found_is_not_learned():
    operator, x = SpectralBlur(), jnp.asarray(picture(16, 16))
    eta = {"covariance": jnp.eye(2)}
    gradient = jax.grad(lambda eta: jnp.sum(operator(eta, x, None) ** 2))(eta)
    np.testing.assert_array_equal(gradient["covariance"], 0)


def test_a_ridge_is_above_0():
    with pytest.raises(ValueError, match="ridge=0: expected above 0"):
        SpectralBlur(ridge=0)
