"""Precision of products, and plain convolutions: on accelerators, and where forward mode is asked for."""

import collections
import dataclasses

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from networks import images, tiny_prior, unchecked

from diip_jax.prior import Prior

T = jnp.array([500.0])


def evaluate(prior, x):
    return prior.denoise(x, T).eps


def gradient(prior, x):
    return jax.grad(lambda x: (evaluate(prior, x) ** 2).sum())(x)


def lowered(function, prior, platform):
    return jax.export.export(jax.jit(function), platforms=[platform])(prior, images(1)).mlir_module()


@pytest.mark.parametrize("precision, name", [("highest", "HIGHEST"), ("high", "HIGH"), ("default", "DEFAULT")])
def test_every_product_of_the_network_has_the_precision(precision, name):
    text = lowered(evaluate, dataclasses.replace(tiny_prior(), precision=precision), "tpu")
    products = [
        line for line in text.splitlines() if "= stablehlo.convolution" in line or "= stablehlo.dot_general" in line
    ]
    # What says nothing has the default precision.
    named = [f"precision {name}" in line or f"precision = [{name}" in line for line in products]
    silent = ["precision" not in line for line in products]
    assert products and all(a or (b and name == "DEFAULT") for a, b in zip(named, silent, strict=True))


@pytest.mark.parametrize("function", [evaluate, gradient])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_an_accelerators_program_holds_plain_convolutions_and_their_own_gradients(platform, function):
    def windows(convolutions):
        text = lowered(function, dataclasses.replace(tiny_prior(), convolutions=convolutions), platform)
        lines = [line for line in text.splitlines() if "stablehlo.convolution" in line]
        return collections.Counter(line.partition("window =")[2].partition(":")[0] for line in lines)

    assert windows("fast") == windows("plain") != collections.Counter()


def test_plain_convolutions_have_the_same_values_and_gradients():
    fast, plain, x = tiny_prior(), dataclasses.replace(tiny_prior(), convolutions="plain"), images(1)
    np.testing.assert_allclose(evaluate(fast, x), evaluate(plain, x), atol=1e-5)
    ours, theirs = gradient(fast, x), gradient(plain, x)
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_plain_convolutions_differentiate_forwards():
    plain, x, v = dataclasses.replace(tiny_prior(), convolutions="plain"), images(1), images(1, seed=5)
    tangent = jax.jvp(lambda x: evaluate(plain, x), (x,), (v,))[1]
    w = images(1, seed=6)
    transposed = jax.vjp(lambda x: evaluate(plain, x), x)[1](w)[0]
    assert float(jnp.vdot(w, tangent)) == pytest.approx(float(jnp.vdot(transposed, v)), rel=1e-3)
    hessian_vector = jax.jvp(lambda x: gradient(plain, x), (x,), (v,))[1]
    near = (gradient(plain, x + 1e-3 * v) - gradient(plain, x - 1e-3 * v)) / 2e-3
    np.testing.assert_allclose(hessian_vector, near, atol=0.02 * np.abs(near).max())
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: evaluate(tiny_prior(), x), (x,), (v,))


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"precision": "low"}, "precision='low': expected one of highest, high, default"),
        ({"convolutions": "slow"}, "convolutions='slow': expected one of fast, plain"),
    ],
)
def test_other_settings_are_refused(setting, message):
    defaults = {field.name: getattr(tiny_prior(), field.name) for field in dataclasses.fields(Prior)}
    with pytest.raises(ValueError, match=message):
        unchecked(Prior, **(defaults | setting))
