"""What DIIP and BIRD share: here, how the full gradient's memory is chosen."""

import jax
import jax.numpy as jnp
import pytest
from networks import tiny_prior

from diip_jax.methods import BIRD, DIIP
from diip_jax.methods.inversion import activation_bytes

SHAPE = (16, 16, 3)


def test_activation_bytes_grow_with_the_image():
    small, large = (activation_bytes(tiny_prior(), (side, side, 3)) for side in (16, 32))
    # At least the first convolution's output, 8 channels of float32; all but the attention is in proportion to pixels.
    assert small > 16 * 16 * 8 * 4
    assert 3 * small < large < 16 * small


@pytest.mark.parametrize("method", [DIIP, BIRD])
def test_auto_is_the_first_that_fits_into_a_quarter_of_the_memory(method):
    prior = tiny_prior()
    kept = 3 * activation_bytes(prior, SHAPE)  # three images at once
    full = method(gradient="full", stride=250)  # four steps

    def choice(memory):
        return full.fitted(prior, SHAPE, 3, memory).remat

    assert [choice(4 * 4 * kept), choice(4 * 4 * kept - 1), choice(4 * kept), choice(4 * kept - 1)] == [
        "none",
        "step",
        "step",
        "block",
    ]
    assert choice(None) == "auto"


def test_what_was_asked_for_stays():
    asked = DIIP(gradient="full", remat="block", stride=250)
    assert asked.fitted(tiny_prior(), SHAPE, 1, 10**12) == asked
    assert DIIP().fitted(tiny_prior(), SHAPE, 1, 10**12) == DIIP()


def test_remat_reaches_the_gradient():
    """More is kept where nothing is computed again: the program with "none" needs more memory than with "step"."""

    def temporary_bytes(remat):
        def energy(z, prior):
            problem = DIIP(gradient="full", remat=remat, stride=250).problem(prior, SHAPE)
            return jnp.sum(problem.generator.apply(z, jax.random.key(1)) ** 2)

        program = jax.jit(jax.grad(energy)).lower(jnp.zeros(SHAPE), tiny_prior()).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert temporary_bytes("none") > 1.5 * temporary_bytes("step")
