"""The convolutions against torch, and their own gradients against those that JAX derives."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from diip_jax.models.convolution import convolution, upsampling_convolution

SAME = ((1, 1), (1, 1))


def random(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def plain(x, kernel, padding, stride):
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=dimensions)


def doubled(x):
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def assert_same_gradients(ours, reference, x, kernel):
    cotangent = random(*jax.eval_shape(reference, x, kernel).shape, seed=9)
    pairs = zip(jax.vjp(ours, x, kernel)[1](cotangent), jax.vjp(reference, x, kernel)[1](cotangent), strict=True)
    for given, expected in pairs:
        np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(6, 5), (1, 1), (8, 8)])
@pytest.mark.parametrize("side", [1, 3, 5])
def test_stride_1(size, side):
    padding = ((side // 2, side // 2), (side // 2, side // 2))
    x, kernel = random(2, *size, 3), random(side, side, 3, 4, seed=1)
    weight = torch.tensor(np.asarray(kernel)).permute(3, 2, 0, 1)
    expected = F.conv2d(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2), weight, padding=side // 2)
    np.testing.assert_allclose(convolution(x, kernel, padding), expected.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-4)
    assert_same_gradients(
        lambda x, kernel: convolution(x, kernel, padding),
        lambda x, kernel: plain(x, kernel, padding, 1),
        x,
        kernel,
    )


@pytest.mark.parametrize("size", [(8, 6), (7, 5), (2, 3)])
@pytest.mark.parametrize("padding", [((0, 1), (0, 1)), SAME, ((1, 0), (0, 1))])
@pytest.mark.parametrize("side", [2, 3])
def test_gradients_at_stride_2(size, padding, side):
    x, kernel = random(2, *size, 3), random(side, side, 3, 4, seed=1)
    assert_same_gradients(
        lambda x, kernel: convolution(x, kernel, padding, 2),
        lambda x, kernel: plain(x, kernel, padding, 2),
        x,
        kernel,
    )


def test_gradients_where_winograd_serves():
    x, kernel = random(1, 16, 5, 32), random(3, 3, 32, 32, seed=1) / 17
    assert_same_gradients(
        lambda x, kernel: convolution(x, kernel, SAME), lambda x, kernel: plain(x, kernel, SAME, 1), x, kernel
    )


@pytest.mark.parametrize("size", [(3, 5), (1, 1), (8, 8)])
def test_upsampling(size):
    x, kernel = random(2, *size, 4), random(3, 3, 4, 6, seed=1)
    image = F.interpolate(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2), scale_factor=2.0, mode="nearest")
    expected = F.conv2d(image, torch.tensor(np.asarray(kernel)).permute(3, 2, 0, 1), padding=1)
    np.testing.assert_allclose(upsampling_convolution(x, kernel), expected.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-4)
    assert_same_gradients(upsampling_convolution, lambda x, kernel: plain(doubled(x), kernel, SAME, 1), x, kernel)


@pytest.mark.parametrize(("platform", "convolutions"), [("cpu", 6), ("cuda", 1), ("tpu", 1)])
def test_an_accelerator_gets_the_one_direct_convolution(platform, convolutions):
    """An accelerator's convolution is faster than its memory: six of them and the transforms would slow it down."""
    program = jax.export.export(jax.jit(lambda x, kernel: convolution(x, kernel, SAME)), platforms=[platform])(
        jax.ShapeDtypeStruct((1, 16, 16, 32), jnp.float32), jax.ShapeDtypeStruct((3, 3, 32, 32), jnp.float32)
    )
    assert program.mlir_module().count("stablehlo.convolution") == convolutions
