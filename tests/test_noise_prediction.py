"""The noise-prediction error, against the training's formula on the torch network."""

import numpy as np
import pytest
import torch
from networks import TINY, tiny_prior, uint8_images
from torch_networks import diffusers_network, prior_of

from diip_jax.noise_prediction import noise_of, noise_prediction_errors, timesteps
from diip_jax.schedule import Schedule

T = np.array([50, 400, 800])


@pytest.fixture
def faces():
    return uint8_images(4)


def test_equals_the_loss_of_the_torch_network(faces):
    network = diffusers_network(TINY)
    x_0 = torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1
    eps = torch.from_numpy(np.stack([noise_of(face, seed=3) for face in faces])).permute(0, 3, 1, 2)
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
    expected = []
    for t in T:
        x_t = alpha_bar[t].sqrt() * x_0 + (1 - alpha_bar[t]).sqrt() * eps
        predicted = network(x_t, torch.full((len(x_t),), int(t))).sample
        expected.append(((predicted - eps) ** 2).mean((1, 2, 3)).numpy())
    errors = noise_prediction_errors(prior_of(network, TINY), faces, T, seed=3)
    np.testing.assert_allclose(errors, np.transpose(expected), rtol=2e-5)


def test_an_image_depends_on_the_seed_and_not_on_its_company(faces):
    prior = tiny_prior()
    errors = noise_prediction_errors(prior, faces, T)
    np.testing.assert_array_equal(noise_prediction_errors(prior, faces[[2, 0]], T), errors[[2, 0]])
    assert (noise_prediction_errors(prior, faces, T, seed=1) != errors).all()


def test_noise_is_standard_normal_and_differs_between_images(faces):
    noise = np.stack([noise_of(face) for face in faces])
    assert abs(noise.mean()) < 0.05 and noise.std() == pytest.approx(1, abs=0.05)
    correlations = np.corrcoef(noise.reshape(len(faces), -1))
    assert np.abs(correlations - np.eye(len(faces))).max() < 0.15


def test_timesteps_follow_the_schedule():
    assert timesteps(Schedule()).tolist() == [50, 100, 200, 400, 600, 800]
    assert timesteps(Schedule(num_timesteps=4000)).tolist() == [200, 400, 800, 1600, 2400, 3200]
