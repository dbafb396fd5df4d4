"""Noise out of EDM and consistency networks, against the preconditioning of diffusers' schedulers."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from adm_cases import tiny
from diffusers import CMStochasticIterativeScheduler, EDMEulerScheduler

from diip_jax.convert.presets import PRESETS
from diip_jax.preconditioning import SIGMA_MIN, karras_eps
from diip_jax.prior import Prior, random_prior

SIGMAS = np.array([0.0021, 0.01, 0.5, 7.0, 79.0], np.float32)


def network(x, told):
    """Stands for F_theta: it depends on the image and on what it is told."""
    return jnp.sin(3 * x) + 0.01 * told[:, None, None, None]


def denoised(x: np.ndarray, prediction: str) -> np.ndarray:
    """D(x; sigma) of the same network in diffusers' words, float64; image i of x has noise SIGMAS[i]."""
    results = []
    for image, sigma in zip(torch.from_numpy(x).double(), torch.from_numpy(SIGMAS).double(), strict=True):
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


@pytest.mark.parametrize("prediction", ["edm", "consistency"])
def test_the_noise_is_that_of_diffusers_preconditioning(prediction):
    sigma = SIGMAS[:, None, None, None].astype(np.float64)
    clean = np.random.default_rng(0).uniform(-1, 1, (5, 4, 6, 3))
    x = clean + sigma * np.random.default_rng(1).standard_normal(clean.shape)
    expected = (x - denoised(x, prediction)) / sigma
    x_t = (x / np.sqrt(1 + sigma**2)).astype(np.float32)
    given = karras_eps(network, jnp.asarray(x_t), jnp.asarray(SIGMAS), prediction)
    # x_t in float32 holds an image of noise 0.0021 with a relative error of 6e-8 / 0.0021.
    np.testing.assert_allclose(given, expected, atol=2e-4)


def test_of_gaussian_images_it_is_the_expected_noise():
    # Of images N(0, SIGMA_DATA^2) the best F_theta is 0, and E[n | x] = sigma x / (sigma^2 + 0.25).
    x = jax.random.normal(jax.random.key(0), (5, 2, 2, 3))
    sigma = SIGMAS[:, None, None, None]
    given = karras_eps(lambda x, told: 0 * x, x / jnp.sqrt(1 + sigma**2), jnp.asarray(SIGMAS), "edm")
    np.testing.assert_allclose(given, sigma / (sigma**2 + 0.25) * x, rtol=1e-5)


def test_a_consistency_function_leaves_the_smallest_noise_alone():
    x_t = jax.random.normal(jax.random.key(0), (1, 2, 2, 3))
    np.testing.assert_array_equal(karras_eps(network, x_t, jnp.array([SIGMA_MIN]), "consistency"), 0 * x_t)


@pytest.mark.parametrize("prediction", ["edm", "consistency"])
def test_a_prior_takes_sigma_from_its_schedule(prediction):
    preset = PRESETS["edm_imagenet64_ema"]
    plain = replace(random_prior(tiny(out_channels=3).model), schedule=preset.schedule)
    x_t, t = jax.random.normal(jax.random.key(0), (3, 8, 8, 3)), np.array([0, 400, 999])
    sigma = np.sqrt(1 / preset.schedule.alpha_bar[t] - 1).astype(np.float32)
    # The plain prior hands its network t as it is.
    expected = karras_eps(plain.eps, x_t, jnp.asarray(sigma), prediction)
    given = jax.jit(Prior.eps)(replace(plain, prediction=prediction), x_t, t)
    np.testing.assert_allclose(given, expected, atol=1e-5)


@pytest.mark.parametrize("preset", [name for name, preset in PRESETS.items() if preset.prediction != "eps"])
def test_the_noise_of_every_step_is_one_the_network_was_trained_for(preset):
    sigma = np.sqrt(1 / PRESETS[preset].schedule.alpha_bar - 1)
    assert SIGMA_MIN < sigma.min() and 75 < sigma.max() < 80
