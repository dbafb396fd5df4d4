"""The blur that a picture's spectrum shows, on pictures whose spectrum and blur are known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diip_jax.plugs.operators.spectrum import fit_spectrum


def natural(seed: int, size: tuple[int, int] = (64, 64), alpha: float = 2.6) -> np.ndarray:
    """Three like channels of Gaussian noise whose power falls as |f|^-alpha, times that of a lens of 0.35 px."""
    rng = np.random.default_rng(seed)
    f_y, f_x = np.meshgrid(*map(np.fft.fftfreq, size), indexing="ij")
    frequency = np.maximum(np.hypot(f_y, f_x), 1 / max(size))
    amplitude = frequency ** (-alpha / 2) * np.exp(-2 * np.pi**2 * 0.35**2 * frequency**2)
    spectra = np.fft.fft2(rng.standard_normal((3, *size))) * amplitude
    picture = np.fft.ifft2(spectra).real.transpose(1, 2, 0)
    return 0.4 * picture / picture.std()


def blurred(picture: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    f_y, f_x = np.meshgrid(*map(np.fft.fftfreq, picture.shape[:2]), indexing="ij")
    form = covariance[0, 0] * f_y**2 + covariance[1, 1] * f_x**2 + 2 * covariance[0, 1] * f_y * f_x
    return np.fft.ifft2(np.fft.fft2(picture, axes=(0, 1)) * np.exp(-2 * np.pi**2 * form)[..., None], axes=(0, 1)).real


def fits(covariance: np.ndarray, noise: float, count: int = 8, size: tuple[int, int] = (64, 64)):
    pictures = [blurred(natural(seed, size), covariance) for seed in range(count)]
    noisy = [p + noise * np.random.default_rng(100 + i).standard_normal(p.shape) for i, p in enumerate(pictures)]
    return jax.jit(jax.vmap(fit_spectrum))(jnp.asarray(np.stack(noisy), jnp.float32))


def turned(major: float, minor: float, degrees: float) -> np.ndarray:
    """Covariance of a Gaussian that is long in a direction, counted from the columns' axis to the rows'."""
    axis = np.array([np.sin(np.radians(degrees)), np.cos(np.radians(degrees))])
    return minor**2 * np.eye(2) + (major**2 - minor**2) * np.outer(axis, axis)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.2])
def test_the_width_of_a_blur_is_found(sigma):
    found = np.sqrt(np.linalg.eigvalsh(np.asarray(fits(sigma**2 * np.eye(2), 0.01).covariance)))
    print(f"blur {sigma} px: found {found.mean():.2f} +- {found.std():.2f}")
    assert abs(found.mean() - sigma) < 0.2 * sigma
    assert found.std() < 0.2 * sigma


def test_a_wide_blur_is_found_under_noise_that_hides_all_but_the_coarsest_frequencies():
    found = np.sqrt(np.linalg.eigvalsh(np.asarray(fits(9 * np.eye(2), 0.1).covariance)))
    print(f"blur 3 px, noise 0.1: found {found.mean():.2f} +- {found.std():.2f}")
    assert abs(found.mean() - 3) < 0.8


def test_noise_is_not_taken_for_a_blur_and_its_level_is_found():
    fit = fits(np.zeros((2, 2)), 0.2)
    assert np.linalg.eigvalsh(np.asarray(fit.covariance)).max(axis=1).mean() < 0.3**2
    np.testing.assert_allclose(np.sqrt(np.asarray(fit.noise_variance)), 0.2, rtol=0.1)


def test_a_sharp_picture_shows_no_blur():
    assert np.linalg.eigvalsh(np.asarray(fits(np.zeros((2, 2)), 0.005).covariance)).max(axis=1).mean() < 0.3**2


@pytest.mark.parametrize("degrees", [0, 30, 90, 135])
def test_motion_has_a_direction(degrees):
    covariance = np.asarray(fits(turned(2.5, 0.1, degrees), 0.01).covariance)
    values, vectors = np.linalg.eigh(covariance)
    angle = np.degrees(np.arctan2(vectors[:, 0, 1], vectors[:, 1, 1]))
    apart = np.abs((angle - degrees + 90) % 180 - 90)
    assert apart.max() < 12
    assert (np.sqrt(values[:, 1]) > 1.6).all() and (np.sqrt(np.maximum(values[:, 0], 0)) < 0.8).all()


def test_pictures_of_any_size_and_number_of_channels_are_taken():
    for size in ((1, 1), (3, 5), (8, 8), (40, 90)):
        fit = jax.jit(fit_spectrum)(jnp.asarray(natural(0, size)[..., :1] if min(size) > 1 else np.zeros((1, 1, 1))))
        assert np.isfinite(np.asarray(fit.covariance)).all()


def test_a_constant_picture_shows_no_blur():
    fit = jax.jit(fit_spectrum)(jnp.full((64, 64, 3), 0.3))
    assert np.isfinite(np.asarray(fit.covariance)).all()
