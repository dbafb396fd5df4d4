"""Layers shared by the UNets: convolution, dense, group norm, attention, timestep embedding.

Parameters are always float32; `dtype` is the dtype of the arithmetic (float32 or bfloat16). Norm statistics and softmax
are computed in float32 whatever `dtype` is.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from diip_jax import fsdp
from diip_jax.array_types import Any, Array, Float, Num
from diip_jax.models.arithmetic import current
from diip_jax.models.convolution import Padding, convolution, doubled, precision, upsampling_convolution

FLOAT32 = jnp.dtype("float32")


def at_least_float32(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype of statistics and softmax where the arithmetic is in `dtype`."""
    return jnp.dtype(dtype) if jnp.dtype(dtype).itemsize > 4 else FLOAT32


def _in_use(kernel: Any, x: Array, dtype: jnp.dtype) -> tuple[Array, Array]:
    """(kernel, x) as the arithmetic has them."""
    kernel, x = jnp.asarray(kernel, dtype), x.astype(dtype)
    mesh = current().mesh
    return (kernel, x) if mesh is None else fsdp.gathered(kernel, x, mesh)


class Dense(nn.Module):
    """`x @ kernel + bias` over the last axis; kernel `[C_in, features]`. Without `bias`, `x @ kernel`."""

    features: int
    dtype: jnp.dtype = FLOAT32
    bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "... c"]) -> Float[Array, "... f"]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        kernel, x = _in_use(kernel, x, self.dtype)
        y = jnp.matmul(x, kernel, precision=precision(self.dtype))
        if not self.bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return y + bias.astype(self.dtype)


class Conv(nn.Module):
    """Two-dimensional convolution (cross-correlation) of NHWC images; kernel `[k, k, C_in, features]`.

    `padding` is ((top, bottom), (left, right)) zeros; None pads an odd kernel's half side all around. Stride 1 or 2.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: Padding | None = None
    dtype: jnp.dtype = FLOAT32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W c"]) -> Float[Array, "B h w f"]:
        k = self.kernel_size
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (k, k, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        padding = ((k // 2, k // 2), (k // 2, k // 2)) if self.padding is None else self.padding
        kernel, x = _in_use(kernel, x, self.dtype)
        y = convolution(x, kernel, padding, self.stride)
        return y + bias.astype(self.dtype)


class UpsampleConv(nn.Module):
    """Doubles height and width, repeating pixels, then convolves 3x3; kernel `[3, 3, C_in, features]`."""

    features: int
    dtype: jnp.dtype = FLOAT32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W c"]) -> Float[Array, "B h w f"]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = upsampling_convolution(*_in_use(kernel, x, self.dtype)[::-1])
        return y + bias.astype(self.dtype)


class GroupNorm(nn.Module):
    """Group normalisation over (height, width, channels of the group), biased variance (Wu and He, 2018)."""

    groups: int
    eps: float
    dtype: jnp.dtype = FLOAT32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        b, h, w, c = x.shape
        scale = self.param("scale", nn.initializers.ones, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        x, scale, bias = (a.astype(at_least_float32(self.dtype)) for a in (x, scale, bias))

        # Sums over space first, groups second: XLA's CPU backend vectorises over the channels of a plain [HW, C]
        # reduction, but not over a [HW, groups, C / groups] one. Two passes, because E[x^2] - E[x]^2 cancels.
        def group_mean(per_pixel: Array) -> Array:
            sums = per_pixel.sum(axis=(1, 2)).reshape(b, self.groups, c // self.groups).sum(axis=-1)
            return jnp.repeat(sums / (h * w * (c // self.groups)), c // self.groups, axis=-1)[:, None, None, :]

        mean = group_mean(x)
        centred = x - mean
        gain = jax.lax.rsqrt(group_mean(centred * centred) + self.eps) * scale
        return (centred * gain + bias).astype(self.dtype)


class PixelNorm(nn.Module):
    """Layer normalisation of each pixel over its channels, biased variance (Ba et al., 2016).

    Unlike group normalisation it looks at no other pixel: what a convolutional network makes of a place depends neither
    on the picture's size nor on what is far away.
    """

    eps: float
    dtype: jnp.dtype = FLOAT32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        x, scale, bias = (a.astype(at_least_float32(self.dtype)) for a in (x, scale, bias))
        centred = x - x.mean(axis=-1, keepdims=True)
        gain = jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + self.eps)
        return (centred * gain * scale + bias).astype(self.dtype)


class ChannelNorm(nn.Module):
    """Each pixel's channels divided by their root mean square (Zhang and Sennrich, 2019), which is at least
    1e-12 / sqrt(C)."""

    dtype: jnp.dtype = FLOAT32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        c = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (c,))
        x, scale = (a.astype(at_least_float32(self.dtype)) for a in (x, scale))
        # Of the squared norm, whose root has no derivative at 0.
        gain = jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-24)) * c**0.5
        return (x * gain * scale).astype(self.dtype)


class Attention(nn.Module):
    """Residual self-attention over all pixels, softmax in float32, logits scaled by 1/sqrt(C / heads)."""

    heads: int
    norm_groups: int
    norm_eps: float
    dtype: jnp.dtype = FLOAT32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        b, h, w, c = x.shape
        tokens = GroupNorm(self.norm_groups, self.norm_eps, self.dtype, name="norm")(x).reshape(b, h * w, c)
        query, key, value = (
            Dense(c, self.dtype, name=name)(tokens).reshape(b, h * w, self.heads, c // self.heads)
            for name in ("query", "key", "value")
        )
        exactly, wide = precision(self.dtype), at_least_float32(self.dtype)
        # What jax.nn.dot_product_attention does; but it leaves the precision of float32 products to the backend, and
        # takes the softmax of float64 in float32.
        logits = jnp.einsum("bqhd,bkhd->bhqk", query, key, precision=exactly, preferred_element_type=wide)
        weights = nn.softmax(logits / (c // self.heads) ** 0.5, axis=-1).astype(self.dtype)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value, precision=exactly).reshape(b, h, w, c)
        return x + Dense(c, self.dtype, name="out")(mixed)


def upsample_nearest(x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    """Doubles height and width by repeating pixels."""
    return doubled(x)


def timestep_embedding(t: Num[Array, " B"], dim: int, *, cos_first: bool, freq_shift: float) -> Float[Array, "B dim"]:
    """Sinusoidal embedding of the raw timestep: frequencies 10000^(-k / (dim/2 - freq_shift)), k = 0 .. dim/2 - 1.

    DDPM puts the sines first with `freq_shift` 1; ADM the cosines first with `freq_shift` 0. `dim` is even.
    """
    half = dim // 2
    # float32 also where the default float is wider: the networks were trained with it.
    frequency = jnp.exp(jnp.arange(half, dtype=jnp.float32) * (-math.log(10000.0) / (half - freq_shift)))
    angle = t.astype(jnp.float32)[:, None] * frequency[None, :]
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    return jnp.concatenate([cos, sin] if cos_first else [sin, cos], axis=-1)
