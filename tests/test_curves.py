"""The rules that watch a curve, on curves with known stops."""

import jax.numpy as jnp
import numpy as np
import pytest
from rule_runs import run, stop

from diip_jax.plugs.rules import ExplainedVariance, LossSlope, LossThreshold, laplacian_variance_peak, printed, robust

FLAT = np.full(40, 1.0)


def test_printed_peak_rule_stops_at_the_first_decrease_after_k_min():
    sharp = np.array([9, 1, 2, 3, 2, 3, 4, 5, 4.9, 7, 8.0])
    # k > k_min = 4 and sigma^2[k + 1] < sigma^2[k] first holds at k = 7.
    assert stop(laplacian_variance_peak(4), FLAT[:11], sharp) == (8, 7, "laplacian_variance")


def test_printed_peak_rule_on_a_falling_curve_stops_right_after_k_min():
    assert stop(laplacian_variance_peak(10), FLAT, np.linspace(5, 1, 40)) == (12, 11, "laplacian_variance")


def test_peak_rule_needs_a_decrease():
    assert stop(laplacian_variance_peak(3), FLAT, np.linspace(1, 5, 40)) is None


def test_patient_peak_rule_passes_a_dip_and_returns_the_peak():
    sharp = np.concatenate([np.linspace(1, 2, 10), [1.9, 1.95], np.linspace(2.1, 3, 8), np.linspace(2.9, 1, 20)])
    assert stop(laplacian_variance_peak(2), FLAT, sharp)[1] == 9
    assert stop(laplacian_variance_peak(2, patience=5), FLAT, sharp) == (24, 19, "laplacian_variance")


def test_smoothed_peak_rule_ignores_noise():
    rng = np.random.default_rng(0)
    trend = 3 - ((np.arange(200) - 100) / 100) ** 2
    noisy = trend + 0.05 * rng.standard_normal(200)
    fired, selected, _ = stop(laplacian_variance_peak(5, patience=20, smoothing=0.9), np.ones(200), noisy)
    assert abs(selected - 100) < 30 < fired
    assert stop(laplacian_variance_peak(5), np.ones(200), noisy)[0] < 20


def test_slope_rule_stops_at_the_first_small_relative_change():
    loss = np.array([8, 4, 2, 1, 0.9995, 0.5, 0.4])
    assert stop(LossSlope(1e-3), loss, FLAT[:7]) == (4, 4, "loss_slope")
    assert stop(LossSlope(1e-4), loss, FLAT[:7]) is None


def test_slope_rule_does_not_fire_on_a_rise_larger_than_eps():
    assert stop(LossSlope(1e-3), np.array([1.0, 1.1, 1.2, 1.3]), FLAT[:4]) is None


def test_patient_slope_rule_wants_the_plateau_to_last():
    loss = np.concatenate([[4, 2, 1, 1, 0.5], np.full(10, 0.25)])
    assert stop(LossSlope(1e-3), loss, FLAT[:15])[0] == 3
    assert stop(LossSlope(1e-3, patience=3), loss, FLAT[:15])[0] == 8
    assert stop(LossSlope(1e-3, k_min=10), loss, FLAT[:15])[0] == 11


def test_loss_threshold_stops_at_the_first_loss_that_is_not_above_it():
    loss = np.array([0.5, 0.3, 0.2, 0.1, 0.05])
    assert stop(LossThreshold(0.2), loss, loss) == (2, 2, "loss_threshold")
    assert stop(LossThreshold(0.01), loss, loss) is None


def test_explained_variance_is_that_of_what_is_shown():
    y = np.random.default_rng(0).uniform(-1, 1, (8, 8, 3)).astype(np.float32)
    hidden = jnp.asarray(np.where(np.arange(8)[:, None] < 4, y, np.nan))
    images = [jnp.zeros(y.shape)] * 5
    for shown, variance in ((jnp.asarray(y), y.var()), (hidden, y[:, :, :][np.arange(8) < 4].var())):
        loss = variance * np.array([1.0, 0.1, 0.051, 0.049, 0.01])
        assert run(ExplainedVariance(0.95), loss, images=images, y=shown)[0] == (3, 3, "explained_variance")
        assert run(ExplainedVariance(), loss, images=images, y=shown) is None


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: laplacian_variance_peak(-1), "k_min=-1: expected at least 0"),
        (lambda: LossSlope(patience=0), "patience=0: expected at least 1"),
        (lambda: LossSlope(smoothing=1.0), "smoothing=1.0: expected 0 <= smoothing < 1"),
        (lambda: ExplainedVariance(1.0), "fully_explained=1.0: expected 0 < fully_explained < 1"),
        (lambda: LossThreshold(-1.0), "loss_threshold=-1.0: expected at least 0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_defaults_are_the_numbers_of_the_paper():
    peak, slope = printed().rules
    assert (peak.k_min, peak.patience, peak.score.smoothing) == (100, 1, 0)
    assert (slope.eps, slope.k_min, slope.patience, slope.smoothing) == (0.001, 0, 1, 0)
    assert printed().names == robust().names == ("laplacian_variance", "loss_slope")


def test_every_setting_reaches_both_robust_rules():
    peak, slope = robust(7, 0.2, 0.5, 3).rules
    assert (peak.k_min, peak.patience, peak.score.smoothing) == (7, 3, 0.5)
    assert (slope.eps, slope.k_min, slope.patience, slope.smoothing) == (0.2, 7, 3, 0.5)
