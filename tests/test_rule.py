"""What every rule is, and how rules are put together."""

import numpy as np
import pytest
from rule_runs import stop

from diip_jax.stopping import budget, diverged, first_of, laplacian_variance_peak, loss_slope

FLAT = np.full(40, 1.0)


def test_budget_counts_iterates():
    assert stop(budget(7), FLAT, FLAT) == (6, 6, "budget")


def test_diverged_returns_the_last_finite_iterate():
    assert stop(diverged(), np.array([1, 2, 3, np.nan, 1]), FLAT[:5]) == (3, 2, "diverged")
    assert stop(diverged(), np.array([1, np.inf]), FLAT[:2]) == (1, 0, "diverged")


def test_first_of_returns_what_the_rule_that_fired_returns():
    falling = np.linspace(5, 1, 40)
    steep = np.exp(-np.arange(40) / 3)
    peak, slope = laplacian_variance_peak(10), loss_slope(1e-3)
    assert stop(first_of(peak, slope, budget(30)), steep, falling) == (12, 11, "laplacian_variance")
    assert stop(first_of(slope, peak), FLAT, falling) == (1, 1, "loss_slope")
    assert stop(first_of(peak, slope, budget(5)), steep, falling) == (4, 4, "budget")
    # In a tie the earlier rule wins.
    assert stop(first_of(budget(12), laplacian_variance_peak(9)), steep, falling)[2] == "budget"
    assert first_of(peak, first_of(slope, budget(5))).names == ("laplacian_variance", "loss_slope", "budget")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: budget(0), "max_iterations=0: expected at least 1"),
        (lambda: first_of(), "needs at least one rule"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
