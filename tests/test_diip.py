import dataclasses
import inspect

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from diip_jax.methods.inversion import Inversion, NoiseInversion
from diip_jax.stopping import Observation
from networks import images, tiny_prior, unchecked

import diip_jax
from diip_jax import loop
from diip_jax.methods.diip import DIIP, PAPER


def test_the_printed_numbers_are_there():
    assert (PAPER.learning_rate, PAPER.k_min, PAPER.eps, PAPER.stride) == (0.0015, 100, 0.001, 100)
    assert PAPER.rule().names == ("laplacian_variance", "loss_slope")


@pytest.mark.parametrize(
    "stopping, names",
    [
        ("paper", ("laplacian_variance", "loss_slope")),
        ("robust", ("laplacian_variance", "loss_slope")),
        ("laplacian_variance", ("laplacian_variance",)),
        ("loss_slope", ("loss_slope",)),
        ("wmv", ("wmv",)),
        ("emv", ("emv",)),
        ("discrepancy", ("discrepancy",)),
        ("averaged", ("laplacian_variance", "loss_slope", "budget")),
        ("combined", ("sharpness", "explained_variance", "emv")),
        ("budget", ("budget",)),
    ],
)
def test_stopping_names_its_rules(stopping, names):
    assert DIIP(stopping=stopping).rule().names == names


def _stop(method, loss, sharpness):
    """(k at which the method's rule fires, selected k) on given curves."""
    rule = method.rule()
    state = rule.init(jnp.zeros((1, 1, 3)), jnp.zeros((1, 1, 3)))
    for k, (e, lv) in enumerate(zip(loss, sharpness, strict=True)):
        seen = Observation(jnp.int32(k), jnp.float32(e), jnp.float32(lv), jnp.zeros((1, 1, 3)))
        state, verdict = rule.update(state, seen)
        if verdict.stop:
            return k, int(verdict.selected)
    return None


# The loss falls by 5 % an iteration but for a single plateau at k = 3, and by 0.02 % from k = 40 on. The Laplacian
# variance rises to k = 30 but for a dip at k = 12, and falls from there.
_K = np.arange(60)
_LOSS = np.exp(-0.05 * np.minimum(_K, 40) - 0.0002 * np.maximum(_K - 40, 0))
_LOSS[3:] = np.append(_LOSS[2], _LOSS[3:-1])
_SHARP = np.where(_K == 12, 0.05, 3 - np.abs(_K - 30) / 10)


@pytest.mark.parametrize(
    "settings, stop",
    [
        ({"stopping": "paper", "k_min": 5}, (3, 3)),
        ({"stopping": "laplacian_variance", "k_min": 5}, (12, 11)),
        ({"stopping": "laplacian_variance", "k_min": 20}, (31, 30)),
        ({"stopping": "loss_slope"}, (3, 3)),
        ({"stopping": "loss_slope", "eps": 1e-9}, (3, 3)),
        ({"stopping": "robust", "k_min": 20, "smoothing": 0.0, "patience": 4}, (34, 30)),
        ({"stopping": "robust", "k_min": 20, "smoothing": 0.0, "patience": 8}, (38, 30)),
        ({"stopping": "robust", "k_min": 45, "smoothing": 0.0, "patience": 1}, (46, 46)),
        ({"stopping": "robust", "k_min": 45, "smoothing": 0.0, "patience": 1, "robust_eps": 1e-5}, (47, 46)),
    ],
)
def test_every_setting_reaches_its_rule(settings, stop):
    assert _stop(DIIP(**settings), _LOSS, _SHARP) == stop


def test_smoothing_reaches_the_robust_rule():
    settings = {"stopping": "robust", "k_min": 20, "patience": 4}
    assert _stop(DIIP(**settings, smoothing=0.8), _LOSS, _SHARP)[1] > 30


@pytest.mark.parametrize("gradient", ["detached", "full"])
def test_first_step_follows_the_chosen_gradient(gradient):
    """One step of Adam moves every element of z by the learning rate against the sign of its gradient."""
    prior, y = tiny_prior(), images(1)
    method = DIIP(gradient=gradient, stride=250, learning_rate=0.01, project=False, max_iterations=2, stopping="budget")
    problem = method.problem(prior, (16, 16, 3))
    state = loop.start(problem, y, jax.random.split(jax.random.key(0), 1))
    moved = loop.advance(problem, y, state, jnp.int32(1))
    gradients = jax.grad(lambda z: jnp.mean((diip_jax.reverse(prior, z, 250, gradient=gradient) - y) ** 2))(state.u)
    step = np.asarray(moved.u - state.u)
    clear = np.abs(gradients) > 1e-6
    assert clear.mean() > 0.1
    np.testing.assert_allclose(step[clear], -0.01 * np.sign(gradients)[clear], rtol=0.05)


def test_loss_falls_with_either_gradient():
    prior, y = tiny_prior(), np.asarray(images(2))
    for gradient in ("detached", "full"):
        traces = diip_jax.restore(
            prior, y, gradient=gradient, stride=250, learning_rate=0.02, max_iterations=15, stopping="budget"
        ).traces["loss"]
        assert (traces[..., -1] < 0.95 * traces[..., 0]).all()


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"stopping": "never"}, "stopping='never': expected one of paper, robust, laplacian_variance, "),
        ({"learning_rate": 0.0}, "learning_rate=0.0: expected above 0"),
        ({"max_iterations": 0}, "max_iterations=0: expected at least 1"),
        ({"k_min": -1}, "k_min=-1: expected at least 0"),
        ({"stopping": "robust", "patience": 0}, "patience=0: expected at least 1"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        unchecked(DIIP, **setting)


def test_every_setting_is_documented():
    for field in dataclasses.fields(DIIP):
        assert field.name in inspect.getdoc(Inversion) + inspect.getdoc(NoiseInversion)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("gradient", ["detached", "full"])
def test_a_restoration_is_one_program_that_lowers_for_accelerators(platform, dtype, gradient):
    """Lowered without one: convolutions compute in the dtype asked for, nothing in float64, nothing on the host."""
    prior = tiny_prior().with_dtype(dtype)
    method = DIIP(stride=250, gradient=gradient, max_iterations=5)

    def run(prior, y, keys):
        problem = method.problem(prior, (16, 16, 3))
        return loop.advance(problem, y, loop.start(problem, y, keys), jnp.int32(5)).verdict.image

    keys = jax.random.split(jax.random.key(0), 2)
    program = jax.export.export(jax.jit(run), platforms=[platform])(prior, jnp.zeros((2, 16, 16, 3)), keys)
    lines = program.mlir_module().splitlines()
    element = {"float32": "xf32>", "bfloat16": "xbf16>"}[dtype]
    convolutions = [line for line in lines if "stablehlo.convolution" in line]
    assert convolutions and all(element in line for line in convolutions)
    assert not any("f64" in line or "callback" in line for line in lines)
    assert sum("stablehlo.while" in line for line in lines) >= 2  # iterations, and DDIM's steps inside
