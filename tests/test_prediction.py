"""What a network's output stands for: against diffusers' schedulers, and held-constant eps against its closed form."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from adm_cases import tiny
from diffusers import CMStochasticIterativeScheduler, DDIMScheduler, EDMEulerScheduler
from networks import tiny_prior

from diip_jax.convert.families import PRESETS
from diip_jax.prediction import SIGMA_MIN, denoised, network_input, target
from diip_jax.prior import random_prior

PLAIN = ["epsilon", "v_prediction", "sample"]
KARRAS = ["edm", "consistency"]
ALPHA_BAR = (1 / (1 + np.array([0.0021, 0.01, 0.5, 7.0, 79.0]) ** 2)).astype(np.float32)
SIGMA = np.sqrt(1 / ALPHA_BAR.astype(np.float64) - 1)


def per_image(values):
    return np.asarray(values)[:, None, None, None]


def network(x, told):
    """Stands for F_theta: it depends on the image and on what it is told."""
    return jnp.sin(3 * x) + 0.01 * told[:, None, None, None]


def noisy(alpha_bar: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x_0, n, x_t), float64; image i of x_t has alpha_bar[i]."""
    rng, ab = np.random.default_rng(0), per_image(alpha_bar.astype(np.float64))
    x_0, n = rng.uniform(-1, 1, (len(alpha_bar), 4, 6, 3)), rng.standard_normal((len(alpha_bar), 4, 6, 3))
    return x_0, n, np.sqrt(ab) * x_0 + np.sqrt(1 - ab) * n


def denoised_by_diffusers(x: np.ndarray, prediction: str) -> np.ndarray:
    """D(x; sigma) of the same network in diffusers' words, float64; image i of x has noise SIGMA[i]."""
    results = []
    for image, sigma in zip(torch.from_numpy(x), torch.from_numpy(SIGMA), strict=True):
        if prediction == "edm":
            scheduler = EDMEulerScheduler(sigma_data=0.5)
            inputs, told = scheduler.precondition_inputs(image, sigma), 1000 * scheduler.precondition_noise(sigma)
            output = torch.sin(3 * inputs) + 0.01 * told
            results.append(scheduler.precondition_outputs(image, output, sigma))
        else:
            scheduler = CMStochasticIterativeScheduler(sigma_min=0.002, sigma_max=80.0)
            told = float(scheduler.sigma_to_t(sigma.numpy()))
            output = torch.sin(3 * image / (sigma**2 + 0.5**2) ** 0.5) + 0.01 * told
            c_skip, c_out = scheduler.get_scalings_for_boundary_condition(sigma)
            results.append(c_out * output + c_skip * image)
    return torch.stack(results).numpy()


@pytest.mark.parametrize("prediction", KARRAS)
def test_karras_networks_are_asked_as_diffusers_asks_them(prediction):
    x_t = noisy(ALPHA_BAR)[2]
    x = x_t * per_image(np.sqrt(1 + SIGMA**2))
    expected = denoised_by_diffusers(x, prediction)
    x_t, alpha_bar = jnp.asarray(x_t, jnp.float32), jnp.asarray(ALPHA_BAR)
    output = network(*network_input(prediction, x_t, jnp.zeros(5), alpha_bar))
    eps, x0_hat = denoised(prediction, output, x_t, alpha_bar)
    # x_t in float32 holds an image of noise 0.0021 with a relative error of 6e-8 / 0.0021.
    np.testing.assert_allclose(eps, (x - expected) / per_image(SIGMA), atol=2e-4)
    np.testing.assert_allclose(x0_hat, expected, atol=2e-6)


@pytest.mark.parametrize("prediction", PLAIN)
def test_other_networks_are_shown_x_t_and_told_t(prediction):
    x_t, t = jnp.ones((2, 1, 1, 3)), jnp.array([3, 999])
    inputs, told = network_input(prediction, x_t, t, jnp.array([0.9, 0.1]))
    assert inputs is x_t and told is t


@pytest.mark.parametrize("prediction", PLAIN)
def test_eps_and_x0_are_those_of_diffusers(prediction):
    alpha_bar = np.array([0.9999, 0.5, 0.01, 4e-5], np.float32)
    x_t, output = (np.random.default_rng(n).standard_normal((4, 4, 6, 3), np.float32) for n in (0, 1))
    eps, x0_hat = denoised(prediction, jnp.asarray(output), jnp.asarray(x_t), jnp.asarray(alpha_bar))
    scheduler = DDIMScheduler(num_train_timesteps=4, prediction_type=prediction, clip_sample=False)
    scheduler.alphas_cumprod = torch.from_numpy(alpha_bar).double()
    scheduler.final_alpha_cumprod = torch.tensor(0.99999, dtype=torch.float64)
    scheduler.set_timesteps(1)
    for n in range(4):
        step = scheduler.step(torch.from_numpy(output[n]).double(), n, torch.from_numpy(x_t[n]).double())
        expected = step.pred_original_sample.numpy()
        np.testing.assert_allclose(x0_hat[n], expected, atol=1e-6 * np.abs(expected).max())
        expected = (step.prev_sample.numpy() - 0.99999**0.5 * expected) / 1e-5**0.5
        np.testing.assert_allclose(eps[n], expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("prediction", [*PLAIN, "edm"])
def test_the_right_output_stands_for_the_image_and_its_noise(prediction):
    alpha_bar = np.array([0.9999, 0.5, 0.01, 2e-4], np.float32)
    x_0, n, x_t = (jnp.asarray(array, jnp.float32) for array in noisy(alpha_bar))
    output = target(prediction, x_0, n, jnp.asarray(alpha_bar))
    eps, x0_hat = denoised(prediction, output, x_t, jnp.asarray(alpha_bar))
    np.testing.assert_allclose(eps, n, atol=1e-4)
    np.testing.assert_allclose(x0_hat, x_0, atol=1e-5 / alpha_bar.min() ** 0.5 if prediction == "epsilon" else 1e-5)


def test_the_right_v_is_that_of_diffusers():
    scheduler = DDIMScheduler()
    t = np.array([0, 300, 999])
    alpha_bar = scheduler.alphas_cumprod.numpy()[t]
    x_0, n, _ = (array.astype(np.float32) for array in noisy(alpha_bar))
    expected = scheduler.get_velocity(torch.from_numpy(x_0), torch.from_numpy(n), torch.from_numpy(t))
    given = target("v_prediction", jnp.asarray(x_0), jnp.asarray(n), jnp.asarray(alpha_bar))
    np.testing.assert_allclose(given, expected, atol=1e-6)


def test_a_consistency_function_has_no_target():
    x = jnp.zeros((1, 2, 2, 3))
    with pytest.raises(ValueError, match="prediction='consistency': trained along the ODE's path"):
        target("consistency", x, x, jnp.ones(1))


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_without_any_signal_everything_is_finite(prediction):
    """At a terminal alpha_bar of 0, x_t is the noise; v is minus the image."""
    x_t, x_0 = jax.random.normal(jax.random.key(0), (2, 1, 4, 4, 3))
    output = target(prediction, x_0, x_t, jnp.zeros(1))
    eps, x0_hat = denoised(prediction, output, x_t, jnp.zeros(1))
    np.testing.assert_array_equal(eps, x_t)
    np.testing.assert_array_equal(x0_hat, x_0)


@pytest.mark.parametrize("prediction", [*PLAIN, *KARRAS])
def test_held_eps_gives_the_derivative_at_constant_eps_and_the_same_values(prediction):
    alpha_bar = jnp.array([0.9, 0.01])
    x_t, output, weights = jax.random.normal(jax.random.key(0), (3, 2, 4, 4, 3))

    def run(x_t, hold_eps):
        return denoised(prediction, output, x_t, alpha_bar, hold_eps=hold_eps)

    jax.tree.map(np.testing.assert_array_equal, run(x_t, True), run(x_t, False))
    by_x0, by_eps = (jax.grad(lambda x, part=part: jnp.sum(weights * run(x, True)[part]))(x_t) for part in (1, 0))
    np.testing.assert_allclose(by_x0, weights / np.sqrt(per_image(alpha_bar)), rtol=1e-6)
    np.testing.assert_array_equal(by_eps, 0 * x_t)


def test_of_gaussian_images_it_is_the_expected_noise():
    # Of images N(0, SIGMA_DATA^2) the best F_theta is 0, and E[n | x] = sigma x / (sigma^2 + 0.25).
    x_t, sigma = jax.random.normal(jax.random.key(0), (5, 2, 2, 3)), per_image(SIGMA)
    eps, x0_hat = denoised("edm", 0 * x_t, x_t, jnp.asarray(ALPHA_BAR))
    x = np.asarray(x_t) * np.sqrt(1 + sigma**2)
    np.testing.assert_allclose(eps, sigma / (sigma**2 + 0.25) * x, rtol=1e-5)
    np.testing.assert_allclose(x0_hat, 0.25 / (sigma**2 + 0.25) * x, rtol=1e-5)


def test_a_consistency_function_leaves_the_smallest_noise_alone():
    x_t, output = jax.random.normal(jax.random.key(0), (2, 1, 2, 2, 3))
    eps, x0_hat = denoised("consistency", output, x_t, jnp.array([1 / (1 + SIGMA_MIN**2)]))
    # The nearest sigma that an alpha_bar in float32 can say is 1 % away.
    np.testing.assert_allclose(eps, 0 * x_t, atol=0.05)
    np.testing.assert_allclose(x0_hat, x_t, atol=1e-4)


@pytest.mark.parametrize("prediction", KARRAS)
def test_a_prior_takes_sigma_from_its_schedule(prediction):
    schedule = PRESETS["edm_imagenet64_ema"].schedule
    plain = replace(random_prior(tiny(out_channels=3).model), schedule=schedule)
    x_t, t = jax.random.normal(jax.random.key(0), (3, 8, 8, 3)), jnp.array([0, 400, 999])
    alpha_bar = jnp.asarray(schedule.alpha_bar[t], jnp.float32)
    # The plain prior shows its network x_t and tells it t as they are.
    output = plain.output(*network_input(prediction, x_t, t, alpha_bar))
    prior = replace(plain, prediction=prediction)
    np.testing.assert_allclose(jax.jit(type(prior).output)(prior, x_t, t), output, atol=1e-5)
    for given, expected in zip(prior.denoise(x_t, t), denoised(prediction, output, x_t, alpha_bar), strict=True):
        np.testing.assert_allclose(given, expected, atol=1e-5)


def test_another_prediction_of_the_same_network_is_another_reading_of_its_output():
    prior, t = tiny_prior(), jnp.array([3, 700])
    x_t = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    v = replace(prior, prediction="v_prediction")
    np.testing.assert_array_equal(v.output(x_t, t), prior.eps(x_t, t))
    alpha_bar = per_image(prior.schedule.alpha_bar[t])
    expected = np.sqrt(1 - alpha_bar) * x_t + np.sqrt(alpha_bar) * np.asarray(v.output(x_t, t))
    np.testing.assert_allclose(v.eps(x_t, t), expected, atol=1e-5)


@pytest.mark.parametrize("preset", [name for name, preset in PRESETS.items() if preset.prediction in KARRAS])
def test_the_noise_of_every_step_is_one_the_network_was_trained_for(preset):
    sigma = np.sqrt(1 / PRESETS[preset].schedule.alpha_bar - 1)
    assert SIGMA_MIN < sigma.min() and 75 < sigma.max() < 80
