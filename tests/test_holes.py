import numpy as np
import pytest

from diip_jax.degradations.holes import CentreHole, RandomHoles


@pytest.fixture
def x():
    return np.random.default_rng(0).uniform(0.1, 1, (64, 96, 3))


def test_the_centre_hole_is_that_of_the_released_code():
    mask = CentreHole(80 / 256)(np.ones((256, 256, 3)), np.random.default_rng(0)).mask
    hidden = np.zeros((256, 256), bool)
    hidden[88:168, 88:168] = True
    np.testing.assert_array_equal(mask, ~hidden)


def test_random_holes_lie_within_the_image_and_have_their_size(x):
    for seed in range(50):
        hidden = ~RandomHoles(1, 0.25)(x, np.random.default_rng(seed)).mask
        assert hidden.sum(0).max() == hidden.sum(1).max() == 16 and hidden.sum() == 16**2


@pytest.mark.parametrize("step", [CentreHole(0.3), RandomHoles(4, 0.2)])
def test_what_is_hidden_is_zero_and_the_rest_is_untouched(step, x):
    degraded = step(x, np.random.default_rng(0))
    np.testing.assert_array_equal(degraded.y[degraded.mask], x[degraded.mask])
    assert not degraded.y[~degraded.mask].any() and not degraded.mask.all()
