"""What every rule is, and how rules are put together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rule_runs import run, stop

from diip_jax.plug import plug
from diip_jax.plugs.rules import (
    LossSlope,
    LossThreshold,
    Never,
    Observation,
    ReturningBest,
    ReturningFirst,
    Rule,
    Score,
    first_of,
    laplacian_variance_peak,
)

FLAT = np.full(40, 1.0)
STEEP, FALLING = np.exp(-np.arange(40) / 3), np.linspace(5, 1, 40)


@plug(data=("eps",))
class Plateau(Rule):
    """The rule of a user's own: the loss changes by less than eps."""

    eps: float = 0.1

    def init(self, image, y):
        return jnp.inf

    def __call__(self, previous, seen):
        return seen.loss, jnp.abs(seen.loss - previous) < self.eps * previous


@plug()
class Sharpness(Score):
    def __call__(self, state, seen):
        return state, seen.laplacian_variance


def test_a_rule_of_ones_own_is_a_bool_per_iterate():
    assert stop(Plateau(0.3), STEEP) == (1, 1, "plateau")
    assert stop(Plateau(0.1), STEEP) is None
    assert stop(first_of(Plateau(0.1), LossThreshold(0.2)), STEEP) == (5, 5, "loss_threshold")


def test_thresholds_are_data():
    assert jax.tree.leaves(first_of(Plateau(0.3), laplacian_variance_peak(7, patience=2))) == [0.3, 0.0, 7, 2]


def test_first_of_returns_what_the_rule_that_fired_returns():
    peak, slope = laplacian_variance_peak(10), LossSlope(1e-3)
    assert stop(first_of(peak, slope), STEEP, FALLING) == (12, 11, "laplacian_variance")
    assert stop(first_of(slope, peak), FLAT, FALLING) == (1, 1, "loss_slope")
    # In a tie the earlier rule wins.
    tied = LossThreshold(float(STEEP[12]) * 1.001)
    assert stop(first_of(tied, peak), STEEP, FALLING) == (12, 12, "loss_threshold")
    assert stop(first_of(peak, tied), STEEP, FALLING) == (12, 11, "laplacian_variance")
    assert first_of(peak, first_of(slope, Never())).names == ("laplacian_variance", "loss_slope", "never")
    assert stop(first_of(Never(), first_of(Never(), slope)), FLAT) == (1, 1, "loss_slope")


def test_which_iterate_is_returned_is_apart_from_when_to_stop():
    sharp = np.where(np.arange(40) == 3, 9.0, 1.0)
    when = LossThreshold(0.02)
    assert stop(when, STEEP, sharp) == (12, 12, "loss_threshold")
    assert stop(ReturningBest(when, Sharpness()), STEEP, sharp) == (12, 3, "loss_threshold")
    assert stop(ReturningBest(when, lambda seen: -seen.laplacian_variance, k_min=4), STEEP, sharp)[1] == 12
    assert stop(ReturningFirst(when, LossThreshold(0.3)), STEEP, sharp) == (12, 4, "loss_threshold")


def test_a_selection_holds_where_only_the_budget_ends_the_run():
    sharp = np.where(np.arange(40) == 3, 9.0, 1.0)
    for rule, selected in (
        (ReturningBest(Never(), Sharpness()), 3),
        (ReturningFirst(Never(), LossThreshold(0.3)), 4),
        (first_of(ReturningBest(Never(), Sharpness()), LossThreshold(0.0)), 3),
        (laplacian_variance_peak(2, patience=100), 39),
        (Never(), 39),
    ):
        assert run(rule, STEEP, sharp, to_the_end=True)[0] == (39, selected, None)


def test_no_rule_at_all_is_refused():
    with pytest.raises(ValueError, match="needs at least one rule"):
        first_of()


def test_a_rule_without_a_call_says_what_is_missing():
    seen = Observation(jnp.int32(0), jnp.zeros(()), jnp.zeros(()), jnp.zeros((2, 2, 3)))

    class Empty(Rule):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty has no __call__\(state, seen\)"):
        Empty()((), seen)
