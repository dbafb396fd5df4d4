import jax
import numpy as np
import pytest
from networks import TINY, images, tiny_prior

import diip_jax as dj
from diip_jax.prior import param_shapes
from diip_jax.solve.cost import compile_loop, sampler_memory

PARAMETERS = 4 * sum(leaf.size for leaf in jax.tree.leaves(param_shapes(TINY)))


def _four_steps(**settings):
    return dj.DIIP(tiny_prior(), dj.Never(), stride=250, max_iterations=2, **settings).problem()


def test_it_runs_the_loop_and_knows_its_memory():
    programs = [compile_loop(_four_steps(), images(n)) for n in (2, 3)]
    for program in programs:
        program.iterate()
        assert program.compile_seconds > 0 and program.devices == 1
        assert program.memory_bytes > PARAMETERS
    assert programs[1].memory_bytes > programs[0].memory_bytes


def test_the_full_gradient_needs_memory_for_its_activations():
    problems = _four_steps(), _four_steps(gradient="full", remat="none")
    detached, through = (compile_loop(problem, images(1)) for problem in problems)
    assert through.memory_bytes > 2 * detached.memory_bytes


def test_a_problem_is_given_what_its_operator_needs():
    hole = dj.BIRD(tiny_prior(), dj.Mask(), stride=500, max_iterations=2)
    compile_loop(hole.problem(), images(3), {"mask": np.ones((3, 16, 16), bool)}).iterate()
    small = dj.BIRD(tiny_prior(), dj.Downsample(), stride=500, max_iterations=2)
    compile_loop(small.problem(), images(1, side=4)).iterate()
    with pytest.raises(ValueError, match="args has no 'mask'"):
        compile_loop(hole.problem(), images(1))


def test_a_sampler_holds_the_prior():
    assert sampler_memory(dj.DreamClean(tiny_prior(), tau=400, stride=200), np.asarray(images(1))) > PARAMETERS
