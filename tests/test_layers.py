"""Layers against torch.nn.functional."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch.nn import functional as F

from diip_jax.models.layers import (
    Attention,
    Conv,
    Dense,
    GroupNorm,
    PixelNorm,
    UpsampleConv,
    timestep_embedding,
    upsample_nearest,
)

F32 = jnp.dtype("float32")


def apply(layer: nn.Module, params: dict, x: np.ndarray) -> np.ndarray:
    return np.asarray(layer.apply({"params": params}, jnp.asarray(x)))


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def nchw(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def nhwc(x: torch.Tensor) -> np.ndarray:
    return x.numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding", "torch_padding", "size"),
    [
        (3, 1, None, (1, 1, 1, 1), (6, 5)),
        (1, 1, None, (0, 0, 0, 0), (3, 4)),
        (3, 2, ((0, 1), (0, 1)), (0, 1, 0, 1), (8, 6)),
        (3, 2, ((0, 1), (0, 1)), (0, 1, 0, 1), (7, 5)),
        (3, 2, ((1, 1), (1, 1)), (1, 1, 1, 1), (8, 6)),
    ],
)
def test_conv(kernel_size, stride, padding, torch_padding, size):
    x, kernel, bias = random(2, *size, 3), random(kernel_size, kernel_size, 3, 4, seed=1), random(4, seed=2)
    given = apply(Conv(4, kernel_size, stride, padding, F32), {"kernel": kernel, "bias": bias}, x)
    weight = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
    expected = F.conv2d(F.pad(nchw(x), torch_padding), weight, torch.from_numpy(bias), stride=stride)
    np.testing.assert_allclose(given, nhwc(expected), rtol=1e-5, atol=1e-5)


def test_dense():
    x, kernel, bias = random(2, 3, 5), random(5, 4, seed=1), random(4, seed=2)
    expected = F.linear(torch.from_numpy(x), torch.from_numpy(kernel.T.copy()), torch.from_numpy(bias))
    np.testing.assert_allclose(
        apply(Dense(4, F32), {"kernel": kernel, "bias": bias}, x), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("groups", [1, 3, 12])
@pytest.mark.parametrize(("offset", "tolerance"), [(0.0, 2e-6), (1e3, 5e-4)])
def test_group_norm(groups, offset, tolerance):
    # With an offset of 1000, E[x^2] - E[x]^2 in float32 has no digit left; the input itself is rounded to 6e-5.
    x = offset + random(2, 4, 6, 12) * np.linspace(0.5, 2, 12, dtype=np.float32)
    scale, bias = 1 + random(12, seed=1), random(12, seed=2)
    given = apply(GroupNorm(groups, 1e-6, F32), {"scale": scale, "bias": bias}, x)
    exact = F.group_norm(nchw(x).double(), groups, torch.tensor(scale).double(), torch.tensor(bias).double(), 1e-6)
    np.testing.assert_allclose(given, nhwc(exact), rtol=tolerance, atol=tolerance)


def test_group_norm_of_a_constant_is_its_bias():
    x = np.full((1, 4, 4, 8), 3.0, np.float32)
    bias = random(8)
    given = apply(GroupNorm(2, 1e-6, F32), {"scale": np.ones(8, np.float32), "bias": bias}, x)
    np.testing.assert_allclose(given, np.broadcast_to(bias, x.shape), atol=1e-6)


def test_pixel_norm():
    x, scale, bias = 3 * random(2, 5, 4, 6) + 1, random(6, seed=1), random(6, seed=2)
    given = apply(PixelNorm(1e-6, F32), {"scale": scale, "bias": bias}, x)
    expected = F.layer_norm(torch.from_numpy(x), (6,), torch.from_numpy(scale), torch.from_numpy(bias), 1e-6)
    np.testing.assert_allclose(given, expected.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention(heads):
    layer = Attention(heads, 2, 1e-6, F32)
    x = random(2, 3, 5, 8)
    keys = iter(jax.random.split(jax.random.key(0), 20))
    shapes = jax.eval_shape(layer.init, jax.random.key(0), jnp.asarray(x))["params"]
    params = jax.tree.map(lambda leaf: jax.random.normal(next(keys), leaf.shape), shapes)
    w = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), params)

    def project(name: str, tokens: torch.Tensor) -> torch.Tensor:
        return F.linear(tokens, w[name]["kernel"].T, w[name]["bias"])

    normed = F.group_norm(nchw(x), 2, w["norm"]["scale"], w["norm"]["bias"], 1e-6)
    tokens = normed.flatten(2).mT
    query, key, value = (
        project(name, tokens).reshape(2, 15, heads, 8 // heads).transpose(1, 2) for name in ("query", "key", "value")
    )
    mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(2, 15, 8)
    expected = x + project("out", mixed).reshape(2, 3, 5, 8).numpy()
    np.testing.assert_allclose(apply(layer, params, x), expected, rtol=1e-4, atol=1e-4)


def test_attention_is_jaxs_own():
    layer = Attention(2, 2, 1e-6, F32)
    x = jnp.asarray(random(2, 3, 5, 8))
    keys = iter(jax.random.split(jax.random.key(0), 20))
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda leaf: jax.random.normal(next(keys), leaf.shape), shapes)

    def dense(name, tokens):
        return Dense(8, F32).apply({"params": params[name]}, tokens)

    normed = GroupNorm(2, 1e-6, F32).apply({"params": params["norm"]}, x).reshape(2, 15, 8)
    heads = [dense(name, normed).reshape(2, 15, 2, 4) for name in ("query", "key", "value")]
    mixed = jax.nn.dot_product_attention(*heads).reshape(2, 3, 5, 8)
    given = layer.apply({"params": params}, x)
    np.testing.assert_allclose(given, x + dense("out", mixed), rtol=1e-5, atol=1e-5)


def test_attention_takes_softmax_in_float32():
    layer = Attention(1, 2, 1e-6, jnp.dtype("bfloat16"))
    x = jnp.ones((1, 2, 2, 4), jnp.bfloat16)
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), jax.eval_shape(layer.init, jax.random.key(0), x))
    program = str(jax.make_jaxpr(layer.apply)(params, x))
    exponentials = [line for line in program.splitlines() if "= exp " in line]
    assert exponentials and all(":f32" in line for line in exponentials)
    assert layer.apply(params, x).dtype == jnp.bfloat16


@pytest.mark.parametrize("cos_first", [False, True])
@pytest.mark.parametrize("freq_shift", [0.0, 1.0])
def test_timestep_embedding(cos_first, freq_shift):
    t = np.array([0, 0.5, 1, 99, 100, 500.25, 900, 999], np.float32)
    given = np.asarray(timestep_embedding(jnp.asarray(t), 32, cos_first=cos_first, freq_shift=freq_shift))
    frequency = 10000 ** (-np.arange(16) / (16 - freq_shift))
    sin, cos = np.sin(t[:, None] * frequency), np.cos(t[:, None] * frequency)
    # An angle of 999 is rounded to 6e-5 in float32, and so is torch's.
    np.testing.assert_allclose(given, np.concatenate([cos, sin] if cos_first else [sin, cos], axis=1), atol=2e-4)
    theirs = get_timestep_embedding(torch.tensor(t), 32, cos_first, freq_shift).numpy()
    np.testing.assert_allclose(given, theirs, atol=2e-4)


def test_timestep_embedding_takes_whole_timesteps():
    whole = timestep_embedding(jnp.array([0, 7, 999]), 8, cos_first=False, freq_shift=1.0)
    np.testing.assert_array_equal(
        whole, timestep_embedding(jnp.array([0.0, 7, 999]), 8, cos_first=False, freq_shift=1.0)
    )


def test_upsample_nearest():
    x = random(2, 3, 5, 4)
    expected = nhwc(F.interpolate(nchw(x), scale_factor=2.0, mode="nearest"))
    np.testing.assert_array_equal(upsample_nearest(jnp.asarray(x)), expected)


@pytest.mark.parametrize("size", [(3, 5), (1, 1), (8, 8)])
def test_upsample_conv(size):
    x, kernel, bias = random(2, *size, 4), random(3, 3, 4, 6, seed=1), random(6, seed=2)
    doubled = F.interpolate(nchw(x), scale_factor=2.0, mode="nearest")
    weight = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
    expected = F.conv2d(doubled, weight, torch.from_numpy(bias), padding=1)
    given = apply(UpsampleConv(6, F32), {"kernel": kernel, "bias": bias}, x)
    np.testing.assert_allclose(given, nhwc(expected), rtol=1e-5, atol=1e-5)
