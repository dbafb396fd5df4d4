"""Every method with its true defaults from end to end, on one small image and an untrained prior."""

import jax
import numpy as np
import pytest
from networks import with_impulses

import diip_jax as dj

# Smooth, with impulses: the blind method, too, has something to invert.
Y = with_impulses(1)


@pytest.mark.parametrize(
    "method, evaluations, reason",
    [
        # Three to find the damage, and one in each of 18 iterates.
        (dj.Blind, 21, "budget"),
        # Ten in each, to the end or to the stop.
        (dj.DIIP, 10, None),
        (dj.BIRD, 10, None),
    ],
)
def test_a_method_of_the_loop_as_it_is(method, evaluations, reason, prior):
    solution = dj.restore(method(prior), Y, save=("loss",))
    iterations, k = solution.stats["iterations"][0, 0], solution.selected[0, 0]
    expected = evaluations if reason else evaluations * iterations
    assert solution.stats["evaluations"][0, 0] == expected
    assert solution.images.shape == Y.shape and np.abs(solution.images).max() <= 1
    assert 0 <= k < iterations <= 200 and solution.reasons[0][0] == (reason or solution.reasons[0][0])
    loss = solution.traces["loss"][0, 0]
    assert np.isfinite(loss[:iterations]).all() and np.isnan(loss[iterations:]).all()
    # It fits what it is given.
    assert loss[k] < 0.9 * loss[0]
    # The image that is returned is that of the loss that is told, to what is learned of the operator.
    if method is dj.DIIP:
        np.testing.assert_allclose(np.mean((solution.images - Y) ** 2), loss[k], rtol=1e-2)
    for leaf in jax.tree.leaves(solution.u) if method is not dj.Blind else ():
        np.testing.assert_allclose(np.linalg.norm(leaf), np.sqrt(Y.size), rtol=1e-4)


def test_dreamclean_as_it_is(prior):
    solution = dj.restore(dj.DreamClean(prior), Y)
    assert solution.stats["evaluations"][0, 0] == 15
    assert np.isfinite(solution.images).all() and np.abs(solution.images - Y).max() > 0
