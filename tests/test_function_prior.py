"""Priors from functions: each convention against the closed form of a Gaussian."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import images, tiny_prior, unchecked

import diip_jax as dj
from diip_jax.priors import FunctionPrior

SCHEDULE = dj.Schedule(500, 1e-4, 0.01)
SHAPE = (8, 8, 3)


# Images N(mean, std^2 I): what is in x = x_0 + sigma n.
def denoiser(params, x, sigma):
    share = params["std"] ** 2 / (params["std"] ** 2 + sigma[:, None, None, None] ** 2)
    return params["mean"] + share * (x - params["mean"])


def eps(params, x_t, t):
    alpha_bar = jnp.asarray(SCHEDULE.alpha_bar, jnp.float32)[t][:, None, None, None]
    x0_hat = denoiser(params, x_t / jnp.sqrt(alpha_bar), jnp.sqrt((1 - alpha_bar) / alpha_bar)[:, 0, 0, 0])
    return (x_t - jnp.sqrt(alpha_bar) * x0_hat) / jnp.sqrt(1 - alpha_bar)


def blind(params, x):
    return params["mean"] + params["share"] * (x - params["mean"])


PARAMS = {"mean": jnp.float32(0.2), "std": jnp.float32(0.4)}


def test_noise_and_denoisers_are_one_prior_in_two_conventions():
    by_noise = dj.Prior.of(eps, PARAMS, SHAPE, schedule=SCHEDULE)
    by_denoiser = dj.Prior.of_denoiser(denoiser, PARAMS, SHAPE, schedule=SCHEDULE)
    x_t, t = images(2, 8), jnp.array([3, 400])
    for ours, theirs in zip(by_noise.denoise(x_t, t), by_denoiser.denoise(x_t, t), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    variance = SCHEDULE.alpha_bar[400] * 0.4**2 + 1 - SCHEDULE.alpha_bar[400]
    expected = 0.2 + SCHEDULE.alpha_bar[400] ** 0.5 * 0.4**2 / variance * (
        x_t[1] - SCHEDULE.alpha_bar[400] ** 0.5 * 0.2
    )
    np.testing.assert_allclose(by_denoiser.denoise(x_t, t).x0_hat[1], expected, rtol=1e-4, atol=1e-5)


def test_a_blind_denoiser_sees_the_image_at_its_own_scale():
    prior = dj.Prior.of_blind_denoiser(blind, PARAMS | {"share": jnp.float32(0.5)}, SHAPE, schedule=SCHEDULE)
    x_t, t = images(1, 8), jnp.array([100])
    alpha_bar = SCHEDULE.alpha_bar[100]
    found = prior.denoise(x_t, t)
    np.testing.assert_allclose(found.x0_hat, 0.1 + 0.5 * x_t / alpha_bar**0.5, rtol=1e-5)
    np.testing.assert_allclose(alpha_bar**0.5 * found.x0_hat + (1 - alpha_bar) ** 0.5 * found.eps, x_t, atol=1e-5)


@pytest.mark.parametrize("gradient", ["detached", "full"])
def test_it_restores_and_other_parameters_run_in_the_same_program(gradient):
    y = np.asarray(images(2, 8))
    solutions = []
    for std in (0.3, 0.5):
        prior = dj.Prior.of_denoiser(denoiser, PARAMS | {"std": jnp.float32(std)}, SHAPE, schedule=SCHEDULE)
        method = dj.DIIP(prior, dj.Never(), stride=100, learning_rate=0.05, max_iterations=20, gradient=gradient)
        solutions.append(dj.restore(method, y, save=("loss",)))
    for solution in solutions:
        losses = solution.traces["loss"]
        assert (losses[..., -1] < 0.75 * losses[..., 0]).all()
    assert np.abs(solutions[0].images - solutions[1].images).max() > 1e-3


def test_remat_changes_no_value():
    prior, x_t, t = dj.Prior.of(eps, PARAMS, SHAPE, schedule=SCHEDULE), images(1, 8), jnp.array([50])

    def gradient(remat_blocks):
        return jax.grad(lambda x: jnp.sum(prior.denoise(x, t, remat_blocks=remat_blocks).x0_hat ** 2))(x_t)

    np.testing.assert_allclose(gradient(True), gradient(False), rtol=1e-6)


def test_a_network_of_flax_is_a_function_like_any_other():
    """The tiny prior once more, by its function and parameters."""
    tiny = tiny_prior()

    def function(params, x_t, t):
        return dataclasses.replace(tiny, params=params).output(x_t, t)

    own = dj.Prior.of(function, tiny.params, (16, 16, 3), size_multiple=2)
    y = np.asarray(images(2))
    ours, theirs = (dj.restore(dj.DIIP(prior, stride=250, max_iterations=3), y).images for prior in (own, tiny))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    "side, channels, message",
    [(6, 3, "images are 6x6: this prior takes sides that are multiples of 4"), (8, 1, "images have 1 channels")],
)
def test_images_that_it_does_not_take_are_refused(side, channels, message):
    prior = dj.Prior.of(eps, PARAMS, SHAPE, schedule=SCHEDULE, size_multiple=4)
    with pytest.raises(ValueError, match=message):
        dj.restore(dj.DIIP(prior, max_iterations=1), np.zeros((1, side, side, channels), np.float32))


def test_another_prediction_is_refused():
    with pytest.raises(ValueError, match="prediction='score': expected one of epsilon, "):
        unchecked(FunctionPrior, function=eps, params=PARAMS, image_shape=SHAPE, prediction="score")


@pytest.mark.parametrize("prediction", ["epsilon", "denoiser", "blind_denoiser"])
def test_what_says_nothing_of_an_image_in_noise_alone_is_refused(prediction):
    schedule = dj.Schedule(rescale_betas_zero_snr=True)
    with pytest.raises(ValueError, match=f"prediction='{prediction}': alpha_bar is 0 at the last timestep"):
        FunctionPrior(eps, PARAMS, SHAPE, schedule, prediction)
    FunctionPrior(eps, PARAMS, SHAPE, schedule, "v_prediction")
