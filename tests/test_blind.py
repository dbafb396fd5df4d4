"""The blind default, with the tiny prior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import tiny_prior, with_impulses

import diip_jax as dj
from diip_jax.models import DDPMUNetConfig
from diip_jax.prior import random_prior
from diip_jax.solve import loop


def blind(**settings):
    return dj.Blind(tiny_prior(), **({"max_iterations": 8, "stride": 250} | settings))


def test_an_iteration_costs_one_evaluation():
    solution = dj.restore(blind(), with_impulses(2))
    assert (solution.stats["iterations"] == 8).all()
    assert (solution.stats["evaluations"] == 3 + 4 + 8).all()  # the damage; all four timesteps once


def test_the_last_iterate_is_returned_at_the_end_of_the_budget():
    solution = dj.restore(blind(), with_impulses(1))
    assert solution.selected == 7 and solution.reasons == [["budget"]]


def test_loss_falls():
    loss = dj.restore(blind(max_iterations=40, refresh="all"), with_impulses(2), save=("loss",)).traces["loss"]
    assert (loss[..., -4:].mean(-1) < 0.95 * loss[..., :4].mean(-1)).all()


def test_the_blur_that_was_found_is_told():
    y = with_impulses(2)
    told = dj.restore(blind(), y).operator
    assert told["kernel"].shape == (2, 1, 15, 15)
    for given, covariance in zip(y, told["covariance"][:, 0], strict=True):
        np.testing.assert_allclose(covariance, dj.find_damage(tiny_prior(), jnp.asarray(given)).covariance, atol=1e-4)


def test_an_image_is_restored_alike_in_any_batch():
    y = with_impulses(3)
    together, alone = dj.restore(blind(), y).images, dj.restore(blind(), y[1:2]).images
    np.testing.assert_allclose(together[1], alone[0], atol=1e-3)


def test_the_rate_falls_over_the_budget():
    """What Adam moves an element of z by is at most about its rate."""
    problem, y = blind(project=False, max_iterations=20).problem(), jnp.asarray(with_impulses(1))
    state = loop.start(problem, (16, 16, 3), y, jax.random.split(jax.random.key(0), 1))
    steps = []
    for until in (1, 19, 20):
        moved = loop.advance(problem, y, state, jnp.int32(until))
        steps.append(float(jnp.abs(moved.u - state.u).max()))
        state = moved
    np.testing.assert_allclose(steps[0], 0.015, rtol=0.01)
    assert steps[2] < 0.3 * steps[0]


def local_prior():
    config = DDPMUNetConfig(
        16, (8, 16), (False, False), blocks_per_level=1, norm_groups=4, norm="pixel", middle_attention=False
    )
    return random_prior(config)


def test_a_local_prior_begins_at_what_the_damage_leaves():
    assert local_prior().local and not tiny_prior().local
    generator = dj.Blind(local_prior()).problem().generator
    assert generator.begin == "guess" and generator.steps == 5 and not generator.project_to_sphere
    assert dj.Blind(tiny_prior()).problem().generator.begin == "noise"
    solution = dj.restore(dj.Blind(local_prior(), max_iterations=2), with_impulses(1)[:, :, :8])  # 16 x 8: any size
    assert solution.images.shape == (1, 16, 8, 3)
    assert solution.stats["evaluations"] == 3 + 5 + 5 + 2


def test_an_inversion_that_does_not_take_place_is_not_counted():
    given, y = np.zeros((1, 16, 16, 3), np.float32), with_impulses(1)
    solution = dj.restore(dj.Blind(local_prior(), max_iterations=2), y, u0=given)
    assert solution.stats["evaluations"] == 3 + 5 + 2
    problem = dj.Problem(dj.ddim(local_prior(), 500, begin="guess", project_to_sphere=False), max_iterations=2)
    assert dj.restore(problem, y).stats["evaluations"] == 2 * 2  # nobody guesses: it begins at noise


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"ridge": 0.0}, "ridge=0.0: expected above 0"),
        ({"outliers": -0.1}, "outliers=-0.1: expected at least 0"),
        ({"max_iterations": 0}, "max_iterations=0: expected at least 1"),
        ({"stride": (100, 200)}, "expected timesteps below 1000 from high to low"),
        ({"begin": "noise", "stride": 300}, "stride=300: expected a divisor"),
        ({"refresh": 5}, "refresh=5: expected 'all', or 1 to 4"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        blind(**setting).problem()
