"""The loss of a training against torch and against the papers' formulas."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from networks import images, tiny_prior, unchecked
from scipy.special import expit
from scipy.stats import kstest, norm

from diip_jax.schedule import Schedule
from diip_jax.train.objective import Objective, check_prediction_is_trained, draw_timesteps, loss, weights

ALPHA_BAR = Schedule().alpha_bar


def prior_of(prediction, **fields):
    return dataclasses.replace(tiny_prior(), prediction=prediction, **fields)


@pytest.mark.parametrize("weighting", ["plain", "min_snr"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_loss_is_that_of_torch(prediction, weighting):
    """As diffusers' training scripts have it: the target by prediction type, min(SNR, gamma) / SNR or / (SNR + 1)."""
    prior = prior_of(prediction)
    x_0, noise = images(4), images(4, seed=2)
    t = np.array([0, 300, 600, 999])
    given = loss(Objective(weighting), prior, x_0, noise, jnp.asarray(t))
    a = torch.tensor(ALPHA_BAR[t])[:, None, None, None]
    clean, n = (torch.tensor(np.asarray(array, np.float64)) for array in (x_0, noise))
    x_t = (a.sqrt() * clean + (1 - a).sqrt() * n).float().numpy()
    output = torch.tensor(np.asarray(prior.output(jnp.asarray(x_t), jnp.asarray(t)), np.float64))
    target = {"epsilon": n, "v_prediction": a.sqrt() * n - (1 - a).sqrt() * clean, "sample": clean}[prediction]
    snr = (a / (1 - a)).flatten()
    factor = {
        "epsilon": snr.clamp(max=5) / snr,
        "v_prediction": snr.clamp(max=5) / (snr + 1),
        "sample": snr.clamp(max=5),
    }
    per_image = ((output - target) ** 2).mean(dim=(1, 2, 3))
    expected = (per_image * (factor[prediction] if weighting == "min_snr" else 1)).mean()
    assert float(given) == pytest.approx(float(expected), rel=1e-5)


def test_no_weight_at_the_end_of_a_schedule_without_signal():
    """At alpha_bar = 0 the image cannot be known; nothing is divided by it."""
    for prediction in ("v_prediction", "sample"):
        given = weights(Objective("min_snr"), prior_of(prediction), jnp.array([0.0, 0.5]))
        assert float(given[0]) == 0 and float(given[1]) > 0


@pytest.mark.parametrize("weighting", ["plain", "min_snr"])
def test_edm_is_weighted_too(weighting):
    """F_theta's error counts as x0_hat's divided by c_out (Karras et al., 2022, eq. 8)."""
    alpha_bar = jnp.array([0.1, 0.5, 0.99])
    sigma = np.sqrt(1 / np.asarray(alpha_bar) - 1)
    c_out = sigma * 0.5 / np.sqrt(sigma**2 + 0.25)
    expected = np.minimum(sigma**-2, 5) * c_out**2 if weighting == "min_snr" else np.ones(3)
    np.testing.assert_allclose(weights(Objective(weighting), prior_of("edm"), alpha_bar), expected, rtol=1e-4)


@pytest.mark.parametrize("mean", [-1.0, 0.5])
def test_timesteps_follow_their_distribution(mean):
    keys = jax.random.split(jax.random.key(0), 500)

    def drawn(**settings):
        draw = jax.jit(jax.vmap(lambda key: draw_timesteps(Objective(**settings), Schedule(), 8, key)))
        return np.asarray(draw(keys)).ravel()

    uniform = drawn()
    assert uniform.min() == 0 and uniform.max() == 999 and uniform.dtype == np.int32
    assert kstest(uniform / 1000, "uniform").pvalue > 0.01
    logit = drawn(timesteps="logit_normal", logit_mean=mean, logit_std=0.7)
    assert kstest((logit + 0.5) / 1000, lambda u: norm.cdf(np.log(u / (1 - u)), mean, 0.7)).pvalue > 0.01
    assert abs(np.median(logit) / 1000 - expit(mean)) < 0.02


def test_a_batch_has_a_timestep_of_every_part():
    t = np.asarray(draw_timesteps(Objective(), Schedule(), 10, jax.random.key(3)))
    np.testing.assert_array_equal(t // 100, np.arange(10))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weighting": "snr"}, "weighting='snr': expected one of plain, min_snr"),
        ({"timesteps": "cosine"}, "timesteps='cosine': expected one of uniform, logit_normal"),
        ({"min_snr_gamma": 0.0}, "min_snr_gamma=0.0: expected a number above 0"),
        ({"logit_std": float("nan")}, "logit_std=nan: expected a number above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        unchecked(Objective, **{**dataclasses.asdict(Objective()), **settings})


def test_predictions_that_cannot_be_trained_are_refused(monkeypatch):
    check_prediction_is_trained(prior_of("epsilon"))
    with pytest.raises(ValueError, match="prediction='consistency'"):
        check_prediction_is_trained(prior_of("consistency"))
    monkeypatch.setattr(Schedule, "alpha_bar", property(lambda self: np.array([0.5, 0.0])))
    check_prediction_is_trained(prior_of("v_prediction"))
    with pytest.raises(ValueError, match="ends in pure noise"):
        check_prediction_is_trained(prior_of("epsilon"))
