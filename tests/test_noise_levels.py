"""From a level of noise to a timestep, and what a prior in closed form expects behind it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_damage import PICTURES, POWER, SIDE, noisy, wiener

from diip_jax import Prior, Schedule
from diip_jax.plugs.noise_levels import at_noise_level, nearest_level


@pytest.fixture(scope="module")
def prior():
    return Prior.of(wiener, jnp.asarray(POWER), (SIDE, SIDE, 3))


@pytest.mark.parametrize("settings", [{}, {"rescale_betas_zero_snr": True}, {"beta_schedule": "cosine"}])
def test_the_level_is_that_of_its_timestep_and_the_nearest(settings):
    prior = Prior.of(
        wiener, jnp.asarray(POWER), (SIDE, SIDE, 3), schedule=Schedule(**settings), prediction="v_prediction"
    )
    alpha_bar = prior.schedule.alpha_bar[:-1]  # behind it there may be no signal
    levels = np.sqrt(1 / alpha_bar - 1)
    for asked in (0.0, 0.03, 0.4, 2.4, 50.0):
        t, sigma = jax.jit(lambda asked: nearest_level(prior, asked))(jnp.float32(asked))
        np.testing.assert_allclose(sigma, levels[t], rtol=1e-4)
        assert abs(np.log(levels[t] / max(asked, 1e-6))) <= np.abs(np.log(levels / max(asked, 1e-6))).min() + 1e-4


def test_the_estimate_at_a_level_is_the_least_squares_one(prior):
    sigma, y = 0.2, noisy(0.2)[0]
    given = np.asarray(at_noise_level(prior, jnp.asarray(y, jnp.float32), jnp.float32(sigma)))
    share = (POWER / (POWER + sigma**2))[..., None]
    exact = np.fft.ifft2(np.fft.fft2(y, axes=(0, 1)) * share, axes=(0, 1)).real
    error = np.linalg.norm(given - exact) / np.linalg.norm(exact)
    print(f"relative error {error:.1e}: the timestep is the nearest of a thousand")
    assert error < 5e-3
    assert np.mean((given - PICTURES[0]) ** 2) < 0.4 * sigma**2
