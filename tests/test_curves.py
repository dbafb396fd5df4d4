"""The rules that watch a curve, on curves with known stops."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from rule_runs import run, stop

from diip_jax import stopping
from diip_jax.stopping import laplacian_variance, laplacian_variance_peak, loss_slope, loss_threshold, sharpness_peak

FLAT = np.full(40, 1.0)


@pytest.mark.parametrize("channels", [1, 3])
def test_laplacian_variance_equals_scipy(channels):
    image = np.random.default_rng(0).uniform(-1, 1, (12, 17, channels)).astype(np.float32)
    grey = image @ np.array([0.299, 0.587, 0.114], np.float32) if channels == 3 else image[..., 0]
    expected = scipy.ndimage.laplace(grey.astype(np.float64), mode="mirror").var()
    np.testing.assert_allclose(laplacian_variance(jnp.asarray(image)), expected, rtol=1e-5)


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


_Y = np.random.default_rng(0).uniform(-1, 1, (12, 17, 3)).astype(np.float32)
_Y_SHARPNESS, _Y_VARIANCE = float(laplacian_variance(jnp.asarray(_Y))), float(_Y.var())
_ITERATES = [jnp.full(_Y.shape, float(k)) for k in range(40)]


def _sharpness_stop(loss, sharpness, **settings):
    """On curves in units of y's variance and of y's Laplacian variance."""
    rule = sharpness_peak(**settings)
    found = run(rule, _Y_VARIANCE * loss, _Y_SHARPNESS * sharpness, _ITERATES, jnp.asarray(_Y))
    assert found is None or (found[1] == found[0][1]).all()
    return None if found is None else found[0]


def test_sharpness_rule_begins_where_the_picture_is_formed():
    """The loss is below 0.08 of y's variance from k = 10 on, but for 12; the Laplacian variance falls, but for 14."""
    loss = np.where(np.arange(40) < 10, 0.5, 0.05)
    loss[12] = 0.2
    falling = np.linspace(5, 2, 40)
    assert _sharpness_stop(loss, falling, patience=3) == (13, 10, "sharpness")
    assert _sharpness_stop(loss, np.where(np.arange(40) == 14, 6, falling), patience=6)[1] == 14
    assert _sharpness_stop(loss, falling, explained=0.4, patience=3) == (4, 1, "sharpness")
    assert _sharpness_stop(loss, falling, explained=0.99) is None


def test_sharpness_rule_is_silent_where_y_is_sharper_than_the_iterates():
    formed = np.full(40, 0.01)
    rising_then_falling = 1 - np.abs(np.arange(40) - 20) / 50
    assert _sharpness_stop(formed, 1.79 * rising_then_falling) is None
    assert _sharpness_stop(formed, 1.79 * rising_then_falling, sharpness_ratio=1.0) == (30, 20, "sharpness")
    assert _sharpness_stop(formed, 3 * rising_then_falling) == (30, 20, "sharpness")
    # Sharp for a while: iterates that are not do not count, and the patience runs on.
    assert _sharpness_stop(formed, 1.85 * rising_then_falling) == (30, 20, "sharpness")


def test_slope_rule_stops_at_the_first_small_relative_change():
    loss = np.array([8, 4, 2, 1, 0.9995, 0.5, 0.4])
    assert stop(loss_slope(1e-3), loss, FLAT[:7]) == (4, 4, "loss_slope")
    assert stop(loss_slope(1e-4), loss, FLAT[:7]) is None


def test_slope_rule_does_not_fire_on_a_rise_larger_than_eps():
    assert stop(loss_slope(1e-3), np.array([1.0, 1.1, 1.2, 1.3]), FLAT[:4]) is None


def test_patient_slope_rule_wants_the_plateau_to_last():
    loss = np.concatenate([[4, 2, 1, 1, 0.5], np.full(10, 0.25)])
    assert stop(loss_slope(1e-3), loss, FLAT[:15])[0] == 3
    assert stop(loss_slope(1e-3, patience=3), loss, FLAT[:15])[0] == 8
    assert stop(loss_slope(1e-3, k_min=10), loss, FLAT[:15])[0] == 11


def test_loss_threshold_stops_at_the_first_loss_that_is_not_above_it():
    loss = np.array([0.5, 0.3, 0.2, 0.1, 0.05])
    assert stop(loss_threshold(0.2), loss, loss) == (2, 2, "loss_threshold")
    assert stop(loss_threshold(0.01), loss, loss) is None


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: laplacian_variance_peak(-1), "k_min=-1: expected at least 0"),
        (lambda: loss_slope(patience=0), "patience=0: expected at least 1"),
        (lambda: loss_slope(smoothing=1.0), "smoothing=1.0: expected 0 <= smoothing < 1"),
        (lambda: sharpness_peak(1.0), "explained=1.0: expected 0 < explained < 1"),
        (lambda: sharpness_peak(sharpness_ratio=0.0), "sharpness_ratio=0.0: expected above 0"),
        (lambda: sharpness_peak(patience=0), "patience=0: expected at least 1"),
        (lambda: loss_threshold(-1.0), "loss_threshold=-1.0: expected at least 0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_defaults_are_the_numbers_of_the_paper():
    import inspect

    assert inspect.signature(stopping.laplacian_variance_peak).parameters["k_min"].default == 100
    assert inspect.signature(stopping.loss_slope).parameters["eps"].default == 0.001


def test_sharpness_and_variance_of_y_are_those_of_what_is_shown():
    y = np.random.default_rng(0).uniform(-1, 1, (16, 16, 3)).astype(np.float32)
    hidden = y.copy()
    hidden[:, 8:] = np.nan
    seen = laplacian_variance(jnp.asarray(hidden))
    grey = y[:, :8] @ np.array([0.299, 0.587, 0.114], np.float32)
    inner = scipy.ndimage.laplace(grey.astype(np.float64), mode="mirror")[:, :7]
    np.testing.assert_allclose(seen, inner.var(), rtol=1e-5)
    # Formed at 0.08 of the variance of what is shown, and sharper than it: the peak is found as if that were all.
    loss, sharp = (
        np.linspace(0.2, 0, 40) * y.var(),
        seen * np.concatenate([np.linspace(1, 3, 30), np.linspace(2.9, 2, 10)]),
    )
    found, _ = run(sharpness_peak(patience=5), loss, sharp, [jnp.zeros(y.shape)] * 40, jnp.asarray(hidden))
    assert found == (34, 29, "sharpness")
