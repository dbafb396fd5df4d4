"""Sampling with corrections: its arithmetic against NumPy, and where it leads with a prior in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import tiny_prior

import diip_jax as dj
from diip_jax.plugs.corrected_sampling import CorrectedSampling, replacement

MEAN = 0.3


def gaussian_eps(variance, x_t, t):
    """Of images whose pixels are N(MEAN, variance), with the schedule of `Prior.of`."""
    alpha_bar = jnp.asarray(dj.Prior.of(gaussian_eps, 1.0, (8, 8, 3)).schedule.alpha_bar)[t][:, None, None, None]
    off = x_t - jnp.sqrt(alpha_bar) * MEAN
    return off * jnp.sqrt(1 - alpha_bar) / (alpha_bar * variance + 1 - alpha_bar)


@pytest.fixture(scope="module")
def prior():
    return dj.Prior.of(gaussian_eps, jnp.float32(0.04), (8, 8, 3))


def test_an_iterate_is_what_the_prior_expects_behind_its_noise(prior):
    generator = CorrectedSampling(prior, steps=5, first_level=1.0, last_level=0.1)
    u, before = jnp.full((8, 8, 3), 0.1), jnp.full((8, 8, 3), 0.2)
    key, alpha_bar = jax.random.key(3), np.asarray(prior.schedule.alpha_bar, np.float64)
    image, after = generator.apply(u, before, key, jnp.int32(2))
    asked = 10**-0.5  # of 1, 0.56, 0.32, 0.18, 0.1
    sigma = np.sqrt(1 / alpha_bar - 1)
    sigma = sigma[np.abs(np.log(sigma / asked)).argmin()]
    np.testing.assert_allclose(sigma, asked, rtol=0.01)
    noisy = 0.3 + sigma * np.asarray(jax.random.normal(key, (8, 8, 3)), np.float64)
    expected = MEAN + 0.04 / (0.04 + sigma**2) * (noisy - MEAN)
    np.testing.assert_allclose(image, expected, atol=2e-5)
    np.testing.assert_array_equal(image, after)


def test_the_gradient_is_that_of_the_correction(prior):
    generator = CorrectedSampling(prior)
    u = jnp.zeros((8, 8, 3))
    gradient = jax.grad(lambda u: generator.apply(u, u, jax.random.key(0), jnp.int32(0))[0].sum())(u)
    np.testing.assert_array_equal(gradient, 1)


def test_levels_fall_and_stay_at_the_last(prior):
    generator = CorrectedSampling(prior, steps=3, first_level=2.0, last_level=0.02)
    u = jnp.zeros((8, 8, 3))
    images = [generator.apply(u, u, jax.random.key(0), jnp.int32(k))[1] for k in range(5)]
    np.testing.assert_array_equal(images[2], images[3])
    np.testing.assert_array_equal(images[3], images[4])
    # The same noise is put on a picture of zeros, less and less of it: what is expected behind it comes nearer to that.
    off = [float(jnp.abs(image).mean()) for image in images[:3]]
    assert off[0] > off[1] > off[2]


def test_a_single_step_is_at_the_last_level(prior):
    u = jnp.full((8, 8, 3), 0.1)
    one = CorrectedSampling(prior, steps=1, first_level=2.0, last_level=0.02)
    many = CorrectedSampling(prior, steps=3, first_level=2.0, last_level=0.02)
    at = [g.apply(u, u, jax.random.key(0), jnp.int32(k))[0] for g, k in ((one, 0), (many, 2))]
    np.testing.assert_array_equal(*at)


def test_a_replacement_is_the_step_to_the_least_of_a_mean_of_squares():
    transformation = replacement(1.0)
    u, target = jnp.full((4, 4), 7.0), jnp.arange(16.0).reshape(4, 4)
    gradient = jax.grad(lambda image: jnp.mean((image - target) ** 2))(jnp.zeros((4, 4)))
    step, _ = transformation.update(gradient, transformation.init(u), u)
    np.testing.assert_allclose(optax.apply_updates(u, step), target, atol=1e-6)


def test_it_ends_at_the_posterior_mean_of_pixels_that_are_seen_and_the_priors_of_others(prior):
    """Half of the picture is seen without noise, of the other half nothing: there is the prior's mean.

    The spread is less than the prior's 0.2, since all noise is drawn anew at every level.
    """
    y = np.full((1, 8, 8, 3), -0.5, np.float32)
    mask = np.zeros((1, 8, 8), bool)
    mask[:, :4] = True
    problem = dj.Problem(
        generator=CorrectedSampling(prior, 30, 2.0, 0.02),
        operator=dj.Mask(),
        loss=dj.mse,
        optimizer=dj.opt(replacement, 1.0),
        max_iterations=30,
    )
    samples = dj.restore(problem, y, {"mask": mask}, samples=24).samples[0]
    np.testing.assert_allclose(samples[:, :4], -0.5, atol=0.06)
    np.testing.assert_allclose(samples[:, :4].mean(), -0.5, atol=0.01)
    hidden = samples[:, 4:]
    print("hidden pixels: mean", hidden.mean(), "standard deviation", hidden.std())
    np.testing.assert_allclose(hidden.mean(), MEAN, atol=0.02)
    assert 0.05 < hidden.std() < 0.2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"steps": 0}, "steps=0: expected at least 1"),
        ({"first_level": 0.0}, "first_level=0.0: expected above 0"),
        ({"last_level": -1.0}, "last_level=-1.0: expected above 0"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        CorrectedSampling(tiny_prior(), **setting)


def test_another_size_than_the_priors_is_refused():
    with pytest.raises(ValueError, match="images have 1 channels"):
        CorrectedSampling(tiny_prior()).init(jax.random.key(0), (16, 16, 1))
