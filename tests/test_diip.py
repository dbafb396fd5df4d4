import dataclasses

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from networks import images, tiny_prior, unchecked

import diip_jax as dj
from diip_jax.methods.diip import DIIP
from diip_jax.solve import loop

SHAPE = (16, 16, 3)


def test_the_printed_numbers_are_there():
    paper = DIIP.paper(tiny_prior())
    assert (paper.learning_rate, paper.max_iterations, paper.stride) == (0.0015, 1500, 100)
    assert paper.rule == dj.printed(100, 0.001)
    assert DIIP.paper(tiny_prior(), stride=200, max_iterations=3).max_iterations == 3


@pytest.mark.parametrize("gradient", ["detached", "full"])
def test_first_step_follows_the_chosen_gradient(gradient):
    """One step of Adam moves every element of z by the learning rate against the sign of its gradient."""
    prior, y = tiny_prior(), images(1)
    method = DIIP(prior, dj.Never(), 0.01, 2, gradient=gradient, stride=250, project=False)
    problem = method.problem()
    state = loop.start(problem, SHAPE, y, jax.random.split(jax.random.key(0), 1))
    moved = loop.advance(problem, y, state, jnp.int32(1))
    gradients = jax.grad(lambda z: jnp.mean((dj.reverse(prior, z, 250, gradient=gradient) - y) ** 2))(state.u)
    step = np.asarray(moved.u - state.u)
    clear = np.abs(gradients) > 1e-6
    assert clear.mean() > 0.1
    np.testing.assert_allclose(step[clear], -0.01 * np.sign(gradients)[clear], rtol=0.05)


def test_loss_falls_with_either_gradient():
    prior, y = tiny_prior(), np.asarray(images(2))
    for gradient in ("detached", "full"):
        method = DIIP(prior, dj.Never(), 0.02, 15, gradient=gradient, stride=250)
        losses = dj.restore(method, y, save=("loss",)).traces["loss"]
        assert (losses[..., -1] < 0.95 * losses[..., 0]).all()


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"learning_rate": 0.0}, "learning_rate=0.0: expected above 0"),
        ({"max_iterations": 0}, "max_iterations=0: expected at least 1"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    defaults = {field.name: field.default for field in dataclasses.fields(DIIP)} | {"prior": tiny_prior()}
    with pytest.raises(ValueError, match=message):
        unchecked(DIIP, **(defaults | setting))


def test_a_setting_that_a_rule_does_not_have_cannot_be_given():
    with pytest.raises(TypeError, match="unexpected keyword argument 'window'"):
        dj.robust(window=3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'kernel_size'"):
        DIIP(tiny_prior(), kernel_size=3)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("gradient", ["detached", "full"])
def test_a_restoration_is_one_program_that_lowers_for_accelerators(platform, dtype, gradient):
    """Lowered without one: convolutions compute in the dtype asked for, nothing in float64, nothing on the host."""
    prior = tiny_prior().with_dtype(dtype)
    problem = DIIP(prior, stride=250, gradient=gradient, max_iterations=5).problem()

    def run(problem, y, keys):
        return loop.advance(problem, y, loop.start(problem, SHAPE, y, keys), jnp.int32(5)).chosen.image

    keys = jax.random.split(jax.random.key(0), 2)
    program = jax.export.export(jax.jit(run), platforms=[platform])(problem, jnp.zeros((2, 16, 16, 3)), keys)
    lines = program.mlir_module().splitlines()
    element = {"float32": "xf32>", "bfloat16": "xbf16>"}[dtype]
    convolutions = [line for line in lines if "stablehlo.convolution" in line]
    assert convolutions and all(element in line for line in convolutions)
    assert not any("f64" in line or "callback" in line for line in lines)
    assert sum("stablehlo.while" in line for line in lines) >= 2  # iterations, and DDIM's steps inside
