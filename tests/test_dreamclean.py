"""DreamClean on priors whose noise is known in closed form."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import UNET, LinearNoise, PredictsNoise, tiny_prior, unchecked

from diip_jax.ddim_sampling import invert, reverse
from diip_jax.methods.dreamclean import DreamClean, vps
from diip_jax.restore import restore
from diip_jax.schedule import Schedule


@dataclass(frozen=True)
class GaussianNoise(PredictsNoise):
    """The exact eps of images x_0 ~ N(mean, std^2 I); x_t has the variance V = alpha_bar std^2 + 1 - alpha_bar."""

    mean: float
    std: float
    schedule: Schedule = Schedule()

    def eps_at(self, x_t, alpha_bar):
        variance = alpha_bar * self.std**2 + 1 - alpha_bar
        return jnp.sqrt(1 - alpha_bar) * (x_t - jnp.sqrt(alpha_bar) * self.mean) / variance

    def eps(self, x_t, t):
        alpha_bar = jnp.asarray(self.schedule.alpha_bar, jnp.float32)[t.astype(jnp.int32)]
        return self.eps_at(x_t, alpha_bar[:, None, None, None])


def _after(prior, alpha_bar, gamma, y_t, count):
    """y_t after so many steps of VPS with fresh noise."""

    def step(m, y_t):
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(3), m), y_t.shape)
        return vps(y_t, prior.eps_at(y_t, alpha_bar), noise, alpha_bar, gamma)

    return jax.jit(lambda y_t: jax.lax.fori_loop(0, count, step, y_t))(y_t)


@pytest.mark.parametrize("gamma", [0.05, 0.4, 1.0])
def test_vps_keeps_the_latents_of_a_clean_image(gamma):
    """Of an image that is known (std 0) they are N(sqrt(alpha_bar) x_0, (1 - alpha_bar) I), before and after."""
    prior, alpha_bar = GaussianNoise(0.3, 0.0), 0.6
    y_t = 0.6**0.5 * 0.3 + 0.4**0.5 * jax.random.normal(jax.random.key(0), (1, 64, 64, 4))
    kept = _after(prior, alpha_bar, gamma, y_t, 1)
    assert float(kept.mean()) == pytest.approx(0.6**0.5 * 0.3, abs=0.02)
    assert float(kept.std()) == pytest.approx(0.4**0.5, rel=0.02)


@pytest.mark.parametrize("std", [0.0, 0.5])
def test_vps_ends_at_its_fixed_point_from_anywhere(std):
    """Its variance v solves v = (1 - gamma b / V)^2 v + gamma (2 - gamma) b with b = 1 - alpha_bar."""
    prior, alpha_bar, gamma = GaussianNoise(-0.2, std), 0.7, 0.2
    b, variance = 0.3, 0.7 * std**2 + 0.3
    expected = (2 - gamma) * variance / (2 - gamma * b / variance)
    ended = _after(prior, alpha_bar, gamma, jnp.full((1, 64, 64, 4), 3.0), 100)
    assert float(ended.mean()) == pytest.approx(-0.2 * 0.7**0.5, abs=0.02)
    assert float(ended.var()) == pytest.approx(expected, rel=0.04)


def _keys(n):
    return jax.random.split(jax.random.key(0), n)


def test_without_vps_it_is_the_inversion_and_back():
    y = 0.5 * jax.random.normal(jax.random.key(1), (2, 4, 4, 3))
    prior = LinearNoise(0.3)
    method = DreamClean(prior, gamma=0.0, tau=1000, stride=50)
    expected = reverse(prior, invert(prior, y, 50, variant="paper"), 50, variant="paper")
    np.testing.assert_allclose(method.sample(y, _keys(2)), np.clip(expected, -1, 1), atol=1e-5)


def test_a_known_image_comes_out_whatever_came_in():
    y = jnp.clip(jax.random.normal(jax.random.key(1), (2, 4, 4, 3)), -1, 1)
    prior = GaussianNoise(0.4, 1e-3)
    restored = DreamClean(prior, gamma=0.2, tau=400, stride=20).sample(y, _keys(2))
    np.testing.assert_allclose(restored, 0.4, atol=0.02)


def test_tau_says_how_far_it_may_go():
    y = jnp.full((1, 8, 8, 3), -0.8)
    prior = GaussianNoise(0.4, 0.1)
    moved = [
        float(jnp.abs(DreamClean(prior, gamma=0.05, tau=tau, stride=20).sample(y, _keys(1)) - y).mean())
        for tau in (20, 100, 400)
    ]
    assert 0 < moved[0] < moved[1] < moved[2]


def test_every_correction_counts():
    y = jnp.full((1, 8, 8, 3), -0.8)
    prior = GaussianNoise(0.4, 0.1)
    one, three = (DreamClean(prior, tau=100, stride=20, corrections=m).sample(y, _keys(1)) for m in (1, 3))
    assert float(three.mean()) > float(one.mean()) > -0.8


def test_restores_files_pixels_the_same_in_every_batch():
    y = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    method = DreamClean(tiny_prior(), tau=400, stride=200)
    solution = restore(method, y)
    restored = solution.images
    assert restored.shape == y.shape and restored.dtype == np.uint8 and restored.std() > 0
    assert solution.stats["evaluations"].tolist() == [[6]] * 3 and solution.reasons == [["sampled"]] * 3
    np.testing.assert_array_equal(restored, restore(method, y, batch_size=2).images)
    np.testing.assert_array_equal(restored[1:2], restore(method, y[1:2]).images)
    assert np.abs(restored.astype(int) - restore(method, y, seed=1).images).max() > 1
    samples = restore(method, y, samples=2).samples
    np.testing.assert_array_equal(samples[:, 0], restored)
    assert (samples[:, 1] != restored).any()
    with pytest.raises(ValueError, match="DreamClean has no iterates: it takes neither args nor u0, save, callback"):
        restore(method, y, save=("loss",))


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"gamma": 1.5}, "gamma=1.5: expected 0 to 1"),
        ({"corrections": -1}, "corrections=-1: expected at least 0"),
        ({"tau": 5}, "tau=5: expected at least the stride, 10"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        unchecked(
            DreamClean, **({"gamma": 0.8, "tau": 50, "corrections": 1, "stride": 10, "prior": tiny_prior()} | setting)
        )


def test_what_the_prior_does_not_have_is_refused():
    with pytest.raises(ValueError, match="tau=2000: expected at most the prior's 1000 timesteps"):
        DreamClean(tiny_prior(), tau=2000)
    with pytest.raises(ValueError, match="stride=30: expected a divisor"):
        DreamClean(tiny_prior(), stride=30)
    cosine = replace(tiny_prior(), schedule=Schedule(beta_schedule="cosine"))
    with pytest.raises(ValueError, match=r"alpha_bar is 2\.4e-09 at t = 999"):
        DreamClean(cosine, tau=1000, stride=500)
    with pytest.raises(ValueError, match="images are 15x16"):
        restore(DreamClean(tiny_prior(model=UNET)), np.zeros((1, 15, 16, 3), np.uint8))
