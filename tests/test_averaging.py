import numpy as np
import pytest
from rule_runs import run

from diip_jax.plugs.rules import Averaged, LossSlope, Never, laplacian_variance_peak


def _mean(values, smoothing):
    mean = values[0]
    for value in values[1:]:
        mean = smoothing * mean + (1 - smoothing) * value
    return mean


def test_the_mean_is_that_of_the_iterates_up_to_the_selected_one():
    """Iterate k is the constant k; the rule fires at 12 and selects 9."""
    sharpness = 10 - np.abs(np.arange(20) - 9.0)
    rule = laplacian_variance_peak(2, patience=3)
    plain, _ = run(rule, np.ones(20), sharpness)
    where, image = run(Averaged(rule, 0.8), np.ones(20), sharpness)
    assert plain == where == (12, 9, "laplacian_variance")
    np.testing.assert_allclose(image, _mean(np.arange(10.0), 0.8), rtol=1e-6)


def test_the_mean_is_returned_at_the_end_of_the_budget_too():
    where, image = run(Averaged(LossSlope(1e-9), 0.5), np.exp(-np.arange(15.0)), to_the_end=True)
    assert where == (14, 14, None)
    np.testing.assert_allclose(image, _mean(np.arange(15.0), 0.5), rtol=1e-6)


def test_a_smoothing_of_0_returns_the_iterate():
    where, image = run(Averaged(Never(), 0.0), np.ones(4), to_the_end=True)
    assert (image == where[1]).all()


def test_bad_smoothing_is_refused():
    with pytest.raises(ValueError, match=r"smoothing=1\.0: expected 0 <= smoothing < 1"):
        Averaged(Never(), 1.0)
