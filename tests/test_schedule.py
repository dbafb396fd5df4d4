"""Noise and visited timesteps against diffusers' schedulers, and the timesteps of BIRD's code and paper."""

import inspect

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from networks import unchecked

from diip_jax.schedule import PAPER, Sampler, Schedule, of_variant, steps


@pytest.mark.parametrize(
    "ours, theirs", [("linear", "linear"), ("scaled_linear", "scaled_linear"), ("cosine", "squaredcos_cap_v2")]
)
def test_alpha_bar_equals_diffusers(ours, theirs):
    reference = DDIMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule=theirs).alphas_cumprod
    assert reference.dtype == torch.float32
    np.testing.assert_allclose(Schedule(beta_schedule=ours).alpha_bar, reference.numpy(), rtol=2e-5)


def test_steps_of_the_released_code():
    visited = steps(Schedule(), 100)
    assert visited.t.tolist() == [900, 800, 700, 600, 500, 400, 300, 200, 100, 0]
    # The values that BIRD's code has at these timesteps.
    published = [
        2.7024e-4,
        1.50752e-3,
        6.86828e-3,
        2.55675e-2,
        7.77967e-2,
        0.193572,
        0.394011,
        0.656347,
        0.895142,
        0.9999,
    ]
    np.testing.assert_allclose(visited.alpha_bar, published, rtol=1e-4)
    np.testing.assert_array_equal(visited.alpha_bar_next[:-1], visited.alpha_bar[1:])
    assert visited.alpha_bar_next[-1] == 1


def test_steps_of_the_paper_start_at_the_last_training_timestep():
    visited = steps(Schedule(), 200, PAPER)
    assert visited.t.tolist() == [999, 799, 599, 399, 199]
    assert visited.alpha_bar_next[-1] == 1


def test_timesteps_of_ones_own_are_visited_as_they_are():
    schedule = Schedule()
    t, alpha_bar, alpha_bar_next = steps(schedule, (350, 75, 10))
    np.testing.assert_array_equal(t, [350, 75, 10])
    np.testing.assert_allclose(alpha_bar, schedule.alpha_bar[[350, 75, 10]], rtol=1e-6)
    np.testing.assert_allclose(alpha_bar_next, [*schedule.alpha_bar[[75, 10]], 1], rtol=1e-6)
    np.testing.assert_array_equal(steps(schedule, (350, 75, 10), t_max=100).t, [75, 10])


@pytest.mark.parametrize("given", [(), (10, 20), (1000, 10), (10, -1), (10, 10)])
def test_timesteps_that_do_not_fall_or_are_not_there_are_refused(given):
    with pytest.raises(ValueError, match="expected timesteps below 1000 from high to low"):
        steps(Schedule(), given)


@pytest.mark.parametrize("stride", [0, -100, 300, 1001])
def test_a_stride_that_is_no_divisor_is_refused(stride):
    with pytest.raises(ValueError, match=f"stride={stride}: expected a divisor of the schedule's 1000 timesteps"):
        steps(Schedule(), stride)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="expected one of linear, scaled_linear, cosine"):
        unchecked(Schedule, beta_schedule="quadratic")
    with pytest.raises(ValueError, match="timestep_spacing='log': expected one of leading, trailing, linspace"):
        unchecked(Sampler, timestep_spacing="log")
    with pytest.raises(ValueError, match="variant='bird': expected one of code, paper"):
        inspect.unwrap(of_variant)(Sampler(), "bird")


@pytest.mark.parametrize("theirs", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_zero_terminal_snr_equals_diffusers(theirs):
    reference = DDIMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule=theirs, rescale_betas_zero_snr=True)
    ours = "cosine" if theirs == "squaredcos_cap_v2" else theirs
    schedule = Schedule(beta_schedule=ours, rescale_betas_zero_snr=True)
    expected = reference.alphas_cumprod.double().numpy()
    assert schedule.alpha_bar[-1] == expected[-1] == 0
    assert schedule.zero_terminal_snr
    # Near 0 the difference of their float32 roots is all rounding.
    np.testing.assert_allclose(schedule.alpha_bar[:-20], expected[:-20], rtol=1e-4)
    np.testing.assert_allclose(schedule.alpha_bar, expected, atol=1e-6)
    assert schedule.alpha_bar[0] == pytest.approx(Schedule(beta_schedule=ours).alpha_bar[0], rel=1e-12)


def test_trained_betas_are_the_schedule():
    betas = (0.1, 0.3, 0.2, 1.0)
    schedule = Schedule(4, beta_start=-1.0, trained_betas=betas)
    np.testing.assert_allclose(schedule.alpha_bar, DDIMScheduler(4, trained_betas=betas).alphas_cumprod, rtol=1e-6)
    assert schedule.zero_terminal_snr and not Schedule(2, trained_betas=(0.1, 0.2)).zero_terminal_snr


@pytest.mark.parametrize("count", [1, 10, 50, 1000])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"steps_offset": 1},
        {"set_alpha_to_one": False},
        {"timestep_spacing": "trailing"},
        {"timestep_spacing": "linspace"},
        {"timestep_spacing": "linspace", "set_alpha_to_one": False},
    ],
)
def test_visited_timesteps_are_those_of_diffusers(settings, count):
    if count == 1000 and "steps_offset" in settings:
        with pytest.raises(ValueError, match="stride=1: expected above this checkpoint's steps_offset, 1"):
            steps(Schedule(), 1, Sampler(**settings))
        return
    visited = steps(Schedule(), 1000 // count, Sampler(**settings))
    scheduler = DDIMScheduler(clip_sample=False, **settings)
    scheduler.set_timesteps(count)
    assert visited.t.tolist() == scheduler.timesteps.tolist()
    np.testing.assert_allclose(visited.alpha_bar, scheduler.alphas_cumprod[scheduler.timesteps], rtol=2e-5)
    # A step from x_t = 0 with the noise 0 / with the noise 1 tells where it leads to.
    zero, one = torch.zeros(1), torch.ones(1)
    for t, alpha_bar, alpha_bar_next in zip(*visited, strict=True):
        expected = (1 - alpha_bar_next) ** 0.5 - (alpha_bar_next * (1 - alpha_bar) / alpha_bar) ** 0.5
        assert scheduler.step(one, int(t), zero).prev_sample.item() == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_t_max_leaves_the_others_as_they_are():
    whole, part = steps(Schedule(), 100), steps(Schedule(), 100, t_max=250)
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a[-3:], b)


def test_the_papers_variant_is_no_checkpoints_matter():
    own = Sampler(timestep_spacing="linspace", clip_sample_range=2.0)
    assert of_variant(own, "code") is own and of_variant(own, "paper") is PAPER
    assert not PAPER.bounds and own.bounds and Sampler(clip_sample=False, thresholding=True).bounds


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta_start": 0.0}, "beta_start=0.0, beta_end=0.02: expected above 0 and below 1"),
        ({"beta_end": float("nan")}, "beta_end=nan: expected above 0"),
        ({"beta_end": 1.5}, "beta_end=1.5: expected above 0"),
        ({"num_timesteps": 2, "trained_betas": (1.0, 0.5)}, "trained_betas: expected above 0 and below 1, which only"),
        ({"trained_betas": (0.1, 0.2)}, "trained_betas: there are 2, expected 1000"),
        ({"num_timesteps": 0}, "num_timesteps=0: expected at least 1"),
        ({"num_timesteps": 1, "rescale_betas_zero_snr": True}, "num_timesteps=1: expected at least 2"),
    ],
)
def test_schedules_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps_offset": -1}, "steps_offset=-1: expected at least 0"),
        ({"clip_sample_range": 0.0}, "clip_sample_range=0.0: expected above 0"),
        ({"sample_max_value": -1.0}, "sample_max_value=-1.0: expected above 0"),
        ({"dynamic_thresholding_ratio": 1.5}, "dynamic_thresholding_ratio=1.5: expected 0 to 1"),
    ],
)
def test_samplers_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Sampler(**settings)
