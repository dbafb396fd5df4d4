"""ES-WMV and ES-EMV against a plain reading of their definitions."""

import jax.numpy as jnp
import numpy as np
import pytest
from rule_runs import run

from diip_jax.plugs.rules import Candidate, exponential_moving_variance, windowed_moving_variance

# Steps that shrink to k = 30 and grow again: the iterates come to rest there.
_K = np.arange(80)
_STEPS = 0.02 + 0.01 * np.abs(_K - 30)
_IMAGES = np.cumsum(_STEPS[:, None, None, None] * np.random.default_rng(0).choice([-1, 1], (80, 4, 5, 3)), axis=0)
_IMAGES = _IMAGES.astype(np.float32)
_LOSS = np.ones(80)


def _expected(variances, first, patience):
    """(k of the stop, k of the minimum) over iterates from `first` on."""
    best = first
    for k in range(first, len(variances)):
        best = k if variances[k] <= variances[best] else best
        if k - best >= patience:
            return k, best
    raise AssertionError("the rule never fires")


@pytest.mark.parametrize("window, patience", [(2, 3), (5, 8), (12, 20)])
def test_wmv_returns_the_end_of_the_window_that_varies_least(window, patience):
    ended = [_IMAGES[max(0, k - window + 1) : k + 1].astype(np.float64) for k in _K]
    variances = [np.mean((images - images.mean(axis=0)) ** 2) for images in ended]
    fired, selected = _expected(variances, window - 1, patience)
    (where, image) = run(windowed_moving_variance(window, patience=patience), _LOSS, images=list(jnp.asarray(_IMAGES)))
    assert where == (fired, selected, "wmv")
    np.testing.assert_array_equal(image, _IMAGES[selected])


@pytest.mark.parametrize("smoothing, k_min, patience", [(0.9, 10, 8), (0.5, 0, 3), (0.7, 35, 5)])
def test_emv_follows_its_recurrence(smoothing, k_min, patience):
    alpha, mean, variance, variances = 1 - smoothing, _IMAGES[0].astype(np.float64), 0.0, []
    for image in _IMAGES:
        d = image - mean
        mean, variance = mean + alpha * d, (1 - alpha) * (variance + alpha * np.mean(d**2))
        variances.append(variance)
    fired, selected = _expected(variances, k_min + 1, patience)
    rule = exponential_moving_variance(smoothing, k_min=k_min, patience=patience)
    where, image = run(rule, _LOSS, images=list(jnp.asarray(_IMAGES)))
    assert where == (fired, selected, "emv")
    np.testing.assert_array_equal(image, _IMAGES[selected])


def test_the_window_is_all_that_is_kept():
    image = jnp.zeros((4, 5, 3))
    state = windowed_moving_variance(7).start(Candidate(jnp.int32(-1), image), image)
    assert [leaf.shape for leaf in (state.score, state.candidate.image)] == [(7, 4, 5, 3), (4, 5, 3)]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: windowed_moving_variance(1), "window=1: expected at least 2"),
        (lambda: windowed_moving_variance(patience=0), "patience=0: expected at least 1"),
        (lambda: exponential_moving_variance(1.0), "smoothing=1.0: expected 0 <= smoothing < 1"),
        (lambda: exponential_moving_variance(k_min=-1), "k_min=-1: expected at least 0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
