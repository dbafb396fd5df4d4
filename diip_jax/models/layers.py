"""Layers shared by the UNets: convolution, dense, group norm, attention, timestep embedding.

Parameters are always float32; `dtype` is the dtype of the arithmetic (float32 or bfloat16). Norm statistics and softmax
are computed in float32 whatever `dtype` is.
"""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from diip_jax.array_types import Any, Array, Float, Num
from diip_jax.models import winograd

FLOAT32 = jnp.dtype("float32")
_NHWC = ("NHWC", "HWIO", "NHWC")

# ((top, bottom), (left, right))
Padding = tuple[tuple[int, int], tuple[int, int]]


def _precision(dtype: jnp.dtype) -> jax.lax.Precision:
    # Without it "float32" is bfloat16 passes on a TPU and TF32 on a GPU.
    return jax.lax.Precision.DEFAULT if jnp.dtype(dtype) == jnp.bfloat16 else jax.lax.Precision.HIGHEST


def _at_least_float32(dtype: jnp.dtype) -> jnp.dtype:
    return jnp.dtype(dtype) if jnp.dtype(dtype).itemsize > 4 else FLOAT32


class Dense(nn.Module):
    """`x @ kernel + bias` over the last axis; kernel `[C_in, features]`."""

    features: int
    dtype: jnp.dtype = FLOAT32

    @nn.compact
    def __call__(self, x: Float[Array, "... c"]) -> Float[Array, "... f"]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = jnp.matmul(x.astype(self.dtype), kernel.astype(self.dtype), precision=_precision(self.dtype))
        return y + bias.astype(self.dtype)


class Conv(nn.Module):
    """Two-dimensional convolution (cross-correlation) of NHWC images; kernel `[k, k, C_in, features]`.

    `padding` is "SAME" (zeros) or the explicit pairs ((top, bottom), (left, right)).
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: str | Padding = "SAME"
    dtype: jnp.dtype = FLOAT32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W c"]) -> Float[Array, "B h w f"]:
        k = self.kernel_size
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (k, k, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel = x.astype(self.dtype), jnp.asarray(kernel, self.dtype)
        if self.stride == 1 and self.padding == "SAME" and k % 2:
            y = _conv_stride_1(x, kernel, ((k // 2, k // 2),) * 2)
        else:
            stride = (self.stride, self.stride)
            y = _convolution(x, kernel, stride, self.padding)
        return y + bias.astype(self.dtype)


class UpsampleConv(nn.Module):
    """Height and width doubled by repeating pixels, then a 3x3 convolution ("SAME", zeros); kernel `[3, 3, C_in, f]`.

    The doubled image is never made. Of the three taps that an output row reads, two fall on the same input row: row 2i
    is (w_0, w_1 + w_2) on rows i - 1, i, and row 2i + 1 is (w_0 + w_1, w_2) on rows i, i + 1. With the columns alike,
    the output is four 2x2 convolutions of the input, interleaved: 4/9 of the multiplications.
    """

    features: int
    dtype: jnp.dtype = FLOAT32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W c"]) -> Float[Array, "B h w f"]:
        b, h, w, c = x.shape
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, c, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel = x.astype(self.dtype), jnp.asarray(kernel, self.dtype)
        phases = [
            _conv_stride_1(x, part, ((1 - row, row), (1 - column, column)))
            for row, rows in enumerate(_halves(kernel, axis=0))
            for column, part in enumerate(_halves(rows, axis=1))
        ]
        y = jnp.stack(phases, axis=3).reshape(b, h, w, 2, 2, self.features).swapaxes(2, 3)
        return y.reshape(b, 2 * h, 2 * w, self.features) + bias.astype(self.dtype)


def _halves(kernel: Array, axis: int) -> tuple[Array, Array]:
    """The 2-tap kernels along an axis that the even and the odd outputs of a doubled axis see of a 3-tap one."""
    first, middle, last = jnp.split(kernel, 3, axis)
    return jnp.concatenate([first, middle + last], axis), jnp.concatenate([first + middle, last], axis)


def _convolution(x: Array, kernel: Array, stride: tuple[int, int], padding: Any) -> Array:
    precision = _precision(x.dtype)
    return jax.lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=_NHWC, precision=precision)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv_stride_1(x: Array, kernel: Array, padding: Padding) -> Array:
    """Stride-1 convolution, zero padding given as ((top, bottom), (left, right)), each less than the kernel's side."""

    def direct(x: Array, kernel: Array) -> Array:
        return _convolution(x, kernel, (1, 1), padding)

    if padding == ((1, 1), (1, 1)) and winograd.suits(x, kernel):
        # Decided when the program is lowered for its platform: an accelerator's program holds the one convolution.
        return jax.lax.platform_dependent(x, kernel, cpu=winograd.convolution, default=direct)
    return direct(x, kernel)


def _conv_stride_1_forward(x: Array, kernel: Array, padding: Padding) -> tuple[Array, tuple[Array, Array]]:
    return _conv_stride_1(x, kernel, padding), (x, kernel)


def _conv_stride_1_backward(padding: Padding, residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    # The adjoint in x is the convolution with the turned kernel. Written so, it is the same kind of convolution as the
    # forward one; JAX's own transpose permutes dimension numbers instead, which XLA's CPU backend runs 10 times slower.
    x, kernel = residuals
    (top, bottom), (left, right) = padding
    rows, columns = kernel.shape[0] - 1, kernel.shape[1] - 1
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    (kernel_gradient,) = jax.linear_transpose(lambda k: _convolution(x, k, (1, 1), padding), kernel)(g)
    x_gradient = _conv_stride_1(g, turned, ((rows - top, rows - bottom), (columns - left, columns - right)))
    return x_gradient, kernel_gradient


_conv_stride_1.defvjp(_conv_stride_1_forward, _conv_stride_1_backward)


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
        x, scale, bias = (a.astype(_at_least_float32(self.dtype)) for a in (x, scale, bias))

        # Sums over space first, groups second: XLA's CPU backend vectorises over the channels of a plain [HW, C]
        # reduction, but not over a [HW, groups, C / groups] one. Two passes, because E[x^2] - E[x]^2 cancels.
        def group_mean(per_pixel: Array) -> Array:
            sums = per_pixel.sum(axis=(1, 2)).reshape(b, self.groups, c // self.groups).sum(axis=-1)
            return jnp.repeat(sums / (h * w * (c // self.groups)), c // self.groups, axis=-1)[:, None, None, :]

        mean = group_mean(x)
        centred = x - mean
        gain = jax.lax.rsqrt(group_mean(centred * centred) + self.eps) * scale
        return (centred * gain + bias).astype(self.dtype)


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
        precision, wide = _precision(self.dtype), _at_least_float32(self.dtype)
        logits = jnp.einsum("bqhd,bkhd->bhqk", query, key, precision=precision, preferred_element_type=wide)
        weights = nn.softmax(logits / (c // self.heads) ** 0.5, axis=-1).astype(self.dtype)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value, precision=precision).reshape(b, h, w, c)
        return x + Dense(c, self.dtype, name="out")(mixed)


def upsample_nearest(x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    """Doubles height and width by repeating pixels."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


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
