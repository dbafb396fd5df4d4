"""A prior over larger pictures: the plain result where one window does, no seams where it takes several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import UNET, LinearNoise, tiny_prior

import diip_jax as dj
from diip_jax import Windowed
from diip_jax.models import DDPMUNetConfig
from diip_jax.prior import random_prior
from diip_jax.priors.windowed import _in_groups, _weights


def noise(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(0), shape)


def test_a_picture_of_the_priors_size_goes_through_as_it_is():
    x, t = noise(2, 16, 16, 3), jnp.array([100, 700])
    for given, plain in zip(Windowed(tiny_prior()).denoise(x, t), tiny_prior().denoise(x, t), strict=True):
        np.testing.assert_array_equal(given, plain)


@pytest.mark.parametrize("size", [(40, 16), (17 * 2, 50), (64, 24)])
@pytest.mark.parametrize("overlap", [0, 4, 12])
def test_what_every_window_agrees_on_is_the_result(size, overlap):
    """A prior that looks at single pixels is the same in windows."""
    prior = dj.Prior.of(lambda params, x, t: params * x, jnp.float32(0.3), (16, 16, 3), size_multiple=2)
    x, t = noise(1, *size, 3), jnp.array([400])
    for at_once in (1, 3, 100):
        windows = Windowed(prior, overlap=overlap, at_once=at_once)
        for given, plain in zip(windows.denoise(x, t), prior.denoise(x, t), strict=True):
            np.testing.assert_allclose(given, plain, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("starts", "size", "side"), [([0], 16, 16), ([0, 12, 24], 16, 40), ([0, 10, 20, 24], 16, 40)])
def test_weights_sum_to_one_and_are_smooth(starts, size, side):
    total = np.zeros(side)
    for start, weight in zip(starts, _weights(starts, size, side), strict=True):
        assert (weight >= 0).all()
        total[start : start + size] += weight
    np.testing.assert_allclose(total, 1)


def test_no_seams():
    """Energy of the gradient across the windows' borders against elsewhere, each against that of the whole picture."""
    config = DDPMUNetConfig(
        32, (8, 8), (False, False), blocks_per_level=1, norm_groups=4, norm="pixel", middle_attention=False
    )
    prior, x, t = random_prior(config), jax.random.normal(jax.random.key(1), (16, 96, 32, 3)), jnp.full(16, 600)

    def energy(prior) -> np.ndarray:
        return (np.diff(np.asarray(prior.denoise(x, t).eps, np.float64), axis=1) ** 2).mean(axis=(0, 2, 3))

    relative = energy(Windowed(prior, overlap=16)) / energy(prior)
    # Windows begin at 0, 16, ..., 64 and end at 32, ..., 96: pixel rows between which one begins or ends.
    borders = np.arange(15, 80, 16)
    ratio = relative[borders].mean() / np.delete(relative, borders).mean()
    print(f"gradient energy across borders / elsewhere: {ratio:.4f}")
    assert ratio < 1.02


def test_one_latent_for_the_whole_picture_restores():
    y = np.tanh(np.asarray(noise(1, 32, 24, 3)))
    solution = dj.restore(dj.DIIP(Windowed(tiny_prior()), stride=250, max_iterations=3), y, save=("loss",))
    assert solution.images.shape == y.shape and solution.u.shape == (1, 1, 32, 24, 3)
    assert solution.traces["loss"][0, 0, 2] < solution.traces["loss"][0, 0, 0]


def test_the_detached_gradient_is_that_of_the_whole():
    prior, x = Windowed(tiny_prior()), noise(1, 32, 16, 3)
    gradient = jax.grad(lambda x: prior.denoise(x, jnp.array([500]), hold_eps=True).x0_hat.sum())(x)
    alpha_bar = prior.schedule.alpha_bar[500]
    np.testing.assert_allclose(gradient, 1 / np.sqrt(alpha_bar), rtol=1e-4)


def test_other_weights_run_in_the_same_program():
    step = jax.jit(lambda prior, x: prior.denoise(x, jnp.array([500])).eps)
    x = noise(1, 32, 16, 3)
    first, second = step(Windowed(tiny_prior(0)), x), step(Windowed(tiny_prior(1)), x)
    assert step._cache_size() == 1 and not np.allclose(first, second)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 15}, "window=15: expected a multiple of 2"),
        ({"overlap": 16}, "overlap=16: expected 0 to 15"),
        ({"at_once": 0}, "at_once=0: expected at least 1"),
    ],
)
def test_windows_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Windowed(tiny_prior(model=UNET), **settings)


def test_a_denoiser_without_sizes_needs_a_window():
    x = noise(1, 24, 24, 3)
    given = Windowed(LinearNoise(0.2), window=16).denoise(x, jnp.array([300])).eps
    np.testing.assert_allclose(given, 0.2 * x, rtol=1e-5)


@pytest.mark.parametrize(
    ("count", "most", "shape"), [(20, 1, (20, 1)), (20, 4, (5, 4)), (5, 4, (2, 3)), (3, 100, (1, 3))]
)
def test_windows_go_in_few_groups_of_one_size(count, most, shape):
    windows = _in_groups(range(count), [7], most)
    assert windows.row.shape == shape
    assert windows.counts.sum() == count and (windows.row[windows.counts == 1] == np.arange(count)).all()
