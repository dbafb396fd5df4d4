import jax
import numpy as np
import pytest
from diip_jax.compiled_loop import compile_loop
from diip_jax.operators import Known
from networks import TINY, images, tiny_prior

from diip_jax.methods import BIRD, DIIP
from diip_jax.prior import param_shapes

FOUR_STEPS = DIIP(stride=250, stopping="budget", max_iterations=2)
SHAPE = (16, 16, 3)


def test_it_runs_the_loop_and_knows_its_memory():
    programs = [compile_loop(tiny_prior(), FOUR_STEPS, SHAPE, images(n)) for n in (1, 2)]
    parameters = 4 * sum(leaf.size for leaf in jax.tree.leaves(param_shapes(TINY)))
    for program in programs:
        program.iterate()
        assert program.compile_seconds > 0 and program.devices == 1
        assert program.memory_bytes > parameters
    assert programs[1].memory_bytes > programs[0].memory_bytes


def test_the_full_gradient_needs_memory_for_its_activations():
    full = DIIP(stride=250, gradient="full", remat="none", max_iterations=2)
    detached, through = (compile_loop(tiny_prior(), each, SHAPE, images(1)) for each in (FOUR_STEPS, full))
    assert through.memory_bytes > 2 * detached.memory_bytes


def test_a_method_is_given_what_its_operator_needs():
    hole = BIRD(degradation="mask", stride=500, max_iterations=2)
    compile_loop(tiny_prior(), hole, SHAPE, images(3), Known(mask=np.ones((3, 16, 16), bool))).iterate()
    small = BIRD(degradation="downsample", scale=4, kernel_size=1, stride=500, max_iterations=2)
    compile_loop(tiny_prior(), small, SHAPE, images(1, side=4)).iterate()
    with pytest.raises(TypeError):
        compile_loop(tiny_prior(), small, SHAPE, images(1))
