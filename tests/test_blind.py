"""The blind default, with the tiny prior."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import TINY, tiny_prior, with_impulses
from PIL import Image

import diip_jax as dj
from diip_jax.models import DDPMUNetConfig
from diip_jax.prior import random_prior


def blind(**settings):
    return dj.Blind(tiny_prior(), **({"max_iterations": 4} | settings))


def test_an_iteration_costs_one_evaluation():
    solution = dj.restore(blind(), with_impulses(2))
    assert (solution.stats["iterations"] == 4).all()
    assert (solution.stats["evaluations"] == 3 + 4).all()


def test_the_last_iterate_is_returned_at_the_end_of_the_budget():
    solution = dj.restore(blind(), with_impulses(1))
    assert solution.selected == 3 and solution.reasons == [["budget"]]


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


def test_samples_differ_and_their_mean_is_returned():
    solution = dj.restore(blind(), with_impulses(1), samples=3)
    assert np.abs(solution.samples[0, 0] - solution.samples[0, 1]).max() > 1e-3
    np.testing.assert_allclose(solution.images[0], solution.samples[0].mean(0), atol=1e-6)


def test_what_is_known_is_said_and_another_value_runs_in_the_same_program(caplog):
    y = with_impulses(1)
    solution = dj.restore(blind(blur=0.8, noise=0.05), y)
    np.testing.assert_allclose(solution.operator["covariance"][0, 0], 0.64 * np.eye(2), rtol=1e-6)
    np.testing.assert_allclose(solution.operator["noise"][0, 0], 0.05, rtol=1e-6)
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        other = dj.restore(blind(blur=1.2, noise=0.1), y)
    assert not [record for record in caplog.records if "Finished XLA compilation" in record.message]
    np.testing.assert_allclose(other.operator["covariance"][0, 0], 1.44 * np.eye(2), rtol=1e-6)


def test_an_enlarged_picture_ends_at_the_level_of_its_means():
    prior = tiny_prior(model=dataclasses.replace(TINY, image_size=32))
    small = np.random.default_rng(3).integers(70, 190, (8, 8, 3), np.uint8)
    y = np.stack(
        [np.asarray(Image.fromarray(small).resize((32, 32), Image.Resampling.BICUBIC)), np.full((32, 32, 3), 9)]
    )
    solution = dj.restore(dj.Blind(prior), y.astype(np.uint8))
    assert solution.operator["enlarged"][:, 0].tolist() == [4, 1]
    levels = np.geomspace(2.4, 0.03, 18)
    last = int(solution.selected[0, 0])
    assert solution.reasons == [["enlarged"], ["settled"]] and 0.08 < levels[last] < 0.125
    assert solution.stats["iterations"][0, 0] == last + 1


def local_prior():
    config = DDPMUNetConfig(
        16, (8, 16), (False, False), blocks_per_level=1, norm_groups=4, norm="pixel", middle_attention=False
    )
    return random_prior(config)


def test_a_local_prior_begins_at_less_noise():
    assert local_prior().local and not tiny_prior().local
    first = dj.Blind(local_prior()).problem().generator.first_level
    assert first < dj.Blind(tiny_prior()).problem().generator.first_level
    assert dj.Blind(local_prior(), first_level=1.5).problem().generator.first_level == 1.5
    assert dj.Blind(local_prior()).problem().max_iterations == 12 < dj.Blind(tiny_prior()).problem().max_iterations
    solution = dj.restore(dj.Blind(local_prior(), max_iterations=2), with_impulses(1)[:, :, :8])  # 16 x 8: any size
    assert solution.images.shape == (1, 16, 8, 3)
    assert solution.stats["evaluations"] == 3 + 2


def test_a_larger_picture_has_the_means_that_were_seen():
    y = np.tanh(np.random.default_rng(0).standard_normal((2, 8, 8, 3))).astype(np.float32)
    solution = dj.restore(blind(scale=2), y)
    assert solution.images.shape == (2, 16, 16, 3)
    assert (solution.stats["evaluations"] == 3 + 4).all() and solution.reasons == [["budget"]] * 2
    # What is written is a prediction of the prior, which knows nothing here; the last correction is in u.
    x = solution.images[:, None] + 0  # [N, S, H, W, C]
    means = x.reshape(2, 8, 2, 8, 2, 3).mean((2, 4))
    corrected = (solution.u.reshape(2, 8, 2, 8, 2, 3)).mean((2, 4)) + means
    assert np.abs(corrected - y).mean() < np.abs(means - y).mean()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"scale": 0}, "scale=0: expected at least 1"),
        ({"ridge": 0.0}, "ridge=0.0: expected above 0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: expected above 0"),
        ({"max_iterations": 0}, "max_iterations=0: expected at least 1"),
        ({"first_level": -1.0}, "first_level=-1.0: expected above 0"),
        ({"last_level": 0.0}, "last_level=0.0: expected above 0"),
        ({"blur": -1.0}, "blur=-1.0: expected at least 0"),
        ({"noise": -0.1}, "noise=-0.1: expected at least 0"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        blind(**setting).problem()
