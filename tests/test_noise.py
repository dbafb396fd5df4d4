import numpy as np
import pytest

from diip_jax.degradations.noise import GaussianNoise, MixedNoise, SaltAndPepper


def test_gaussian_noise_has_its_size_and_is_white():
    noise = GaussianNoise(0.2)(np.zeros((64, 64, 3)), np.random.default_rng(0)).y
    assert noise.std() == pytest.approx(0.2, rel=0.03) and abs(noise.mean()) < 0.005
    assert abs(np.mean(noise[1:] * noise[:-1])) < 0.002


@pytest.mark.parametrize("speckle, sigma", [(0.12, 0.05), (0.4, 0.15)])
@pytest.mark.parametrize("u", [0.0, 0.5, 1.0])
def test_mixed_noise_has_the_standard_deviation_of_its_formula(speckle, sigma, u):
    x = np.full((128, 128, 3), 2 * u - 1)
    v = (MixedNoise(speckle, sigma)(x, np.random.default_rng(0)).y + 1) / 2
    expected = np.hypot(0.8 * speckle * u, 0.2 * sigma)
    assert v.std() == pytest.approx(expected, rel=0.02)
    assert v.mean() == pytest.approx(u, abs=0.02 * expected)


def test_salt_and_pepper_replaces_its_share_of_whole_pixels():
    x = np.random.default_rng(0).uniform(-0.9, 0.9, (128, 128, 3))
    y = SaltAndPepper(0.1)(x, np.random.default_rng(1)).y
    replaced = (y != x).all(axis=-1)
    np.testing.assert_array_equal(y[~replaced], x[~replaced])
    assert replaced.mean() == pytest.approx(0.1, abs=0.01)
    assert set(map(tuple, y[replaced])) == {(-1, -1, -1), (1, 1, 1)}
    assert (y[replaced, 0] > 0).mean() == pytest.approx(0.5, abs=0.05)
