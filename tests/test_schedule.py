import inspect

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from networks import unchecked

from diip_jax.schedule import Schedule, steps


@pytest.mark.parametrize(
    "ours, theirs", [("linear", "linear"), ("scaled_linear", "scaled_linear"), ("cosine", "squaredcos_cap_v2")]
)
def test_alpha_bar_equals_diffusers(ours, theirs):
    reference = DDIMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule=theirs).alphas_cumprod
    assert reference.dtype == torch.float32
    np.testing.assert_allclose(Schedule(beta_schedule=ours).alpha_bar, reference.numpy(), rtol=2e-5)


def test_steps_of_the_released_code():
    visited = steps(Schedule(), 100, "code")
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
    visited = steps(Schedule(), 200, "paper")
    assert visited.t.tolist() == [999, 799, 599, 399, 199]
    assert visited.alpha_bar_next[-1] == 1


@pytest.mark.parametrize("stride", [0, -100, 300, 1001])
def test_a_stride_that_is_no_divisor_is_refused(stride):
    with pytest.raises(ValueError, match=f"stride={stride}: expected a divisor of the schedule's 1000 timesteps"):
        steps(Schedule(), stride)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="expected one of linear, scaled_linear, cosine"):
        unchecked(Schedule, beta_schedule="quadratic")
    with pytest.raises(ValueError, match="expected one of code, paper"):
        inspect.unwrap(steps)(Schedule(), 100, "bird")
