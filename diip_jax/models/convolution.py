"""Convolutions that XLA compiles well forwards and backwards; images NHWC, kernels `[k, k, C_in, C_out]`.

On a CPU they bring their own gradient with respect to the image. JAX's permutes or dilates the operands instead, and
XLA's CPU backend runs such convolutions more than 10 times slower than plain ones. An accelerator's program holds plain
convolutions and their own gradients.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp

from diip_jax.array_types import Any, Array
from diip_jax.models import winograd
from diip_jax.models.arithmetic import current

# ((top, bottom), (left, right))
Padding = tuple[tuple[int, int], tuple[int, int]]


def precision(dtype: jnp.dtype) -> jax.lax.Precision:
    """The precision of products of this dtype in the network that is being traced.

    "highest" makes them as accurate as the dtype on every platform: without it "float32" is bfloat16 passes on a TPU
    and TF32 on a GPU. bfloat16 is as accurate as it can be anyway.
    """
    name = "default" if jnp.dtype(dtype) == jnp.bfloat16 else current().precision
    return jax.lax.Precision[name.upper()]


def convolution(x: Array, kernel: Array, padding: Padding, stride: int = 1) -> Array:
    """Cross-correlation of `[B, H, W, C_in]` with zero padding of less than the kernel's side; stride 1, or 2
    (side above 1)."""
    exactly = precision(x.dtype)
    if current().convolutions == "plain":
        return _plain(x, kernel, padding, stride, exactly)
    return _convolution(x, kernel, padding, stride, exactly)


def _plain(x: Array, kernel: Array, padding: Padding, stride: int, exactly: jax.lax.Precision) -> Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=exactly
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolution(x: Array, kernel: Array, padding: Padding, stride: int, exactly: jax.lax.Precision) -> Array:
    plain = partial(_plain, padding=padding, stride=stride, exactly=exactly)
    if stride == 1 and padding == ((1, 1), (1, 1)) and winograd.suits(x, kernel):
        # Decided when the program is lowered for its platform: an accelerator's program holds the one convolution.
        return jax.lax.platform_dependent(x, kernel, cpu=winograd.convolution, default=plain)
    return plain(x, kernel)


# The image's values are for the kernel's gradient only. A frozen prior's is not asked for, and tracing it takes longer
# than tracing all the rest; without channels the image still tells its size.
def _forward(
    x: Any, kernel: Any, padding: Padding, stride: int, exactly: jax.lax.Precision
) -> tuple[Array, tuple[Array, Array]]:
    seen = x.value if kernel.perturbed else x.value[..., :0]
    return _convolution(x.value, kernel.value, padding, stride, exactly), (seen, kernel.value)


def _backward(
    padding: Padding, stride: int, exactly: jax.lax.Precision, residuals: tuple[Array, Array], g: Array
) -> tuple[Array, Array | None]:
    x, kernel = residuals
    settings = (padding, stride, exactly)
    kernel_gradient = None
    if x.shape[3] == kernel.shape[2]:
        on_cpu, plain = (partial(f, *settings) for f in (_kernel_gradient_on_cpu, _kernel_gradient))
        kernel_gradient = jax.lax.platform_dependent(x, kernel, g, cpu=on_cpu, default=plain)
    size = (*x.shape[:3], kernel.shape[2])
    by_convolution, plain = (partial(f, *settings, size) for f in (_image_gradient_by_convolution, _image_gradient))
    return jax.lax.platform_dependent(kernel, g, cpu=by_convolution, default=plain), kernel_gradient


_convolution.defvjp(_forward, _backward, symbolic_zeros=True)


def _image_gradient(
    padding: Padding, stride: int, exactly: jax.lax.Precision, size: tuple[int, ...], kernel: Array, g: Array
) -> Array:
    x = jax.ShapeDtypeStruct(size, g.dtype)
    return jax.linear_transpose(lambda x: _plain(x, kernel, padding, stride, exactly), x)(g)[0]


def _image_gradient_by_convolution(
    padding: Padding, stride: int, exactly: jax.lax.Precision, size: tuple[int, ...], kernel: Array, g: Array
) -> Array:
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    if stride == 1:
        rows, columns = kernel.shape[0] - 1, kernel.shape[1] - 1
        (top, bottom), (left, right) = padding
        around = ((rows - top, rows - bottom), (columns - left, columns - right))
        return _convolution(g, turned, around, 1, exactly)
    return _adjoint_of_stride_2(g, turned, padding, exactly, size[1:3])


def _kernel_gradient(
    padding: Padding, stride: int, exactly: jax.lax.Precision, x: Array, kernel: Array, g: Array
) -> Array:
    return jax.linear_transpose(lambda kernel: _plain(x, kernel, padding, stride, exactly), kernel)(g)[0]


# XLA's CPU backend takes the other as a convolution whose window is as large as the image: in a loop an iteration of
# DIP takes 25 times as long. With pixels along one axis the products run at the machine's peak, along three at a third.
def _kernel_gradient_on_cpu(
    padding: Padding, stride: int, exactly: jax.lax.Precision, x: Array, kernel: Array, g: Array
) -> Array:
    """The same as a matrix product for each of the kernel's taps: of what it has seen of the image, and g."""
    if stride == 1 and padding == ((1, 1), (1, 1)) and winograd.suits_gradient(x, kernel):
        return winograd.kernel_gradient(x, g)
    (top, bottom), (left, right) = padding
    padded = jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (top, bottom, 0), (left, right, 0), (0, 0, 0)))
    _, rows, columns, channels = g.shape

    def tap(i: int, j: int) -> Array:
        seen = padded[:, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]
        pixels = seen.reshape(-1, seen.shape[-1]), g.reshape(-1, channels)
        return jnp.einsum("pi,po->io", *pixels, precision=exactly)

    sides = kernel.shape[:2]
    return jnp.stack([tap(i, j) for i in range(sides[0]) for j in range(sides[1])]).reshape(kernel.shape)


def _adjoint_of_stride_2(
    g: Array, turned: Array, padding: Padding, exactly: jax.lax.Precision, size: Sequence[int]
) -> Array:
    """Every other row or column of the image has met the same taps: one convolution of g for each of the four kinds."""
    sides = turned.shape[:2]
    # Along an axis, image position 2 i + parity has met tap k of output i + (parity + before - k) / 2.
    taps = [
        [[k for k in reversed(range(side)) if (parity + before - k) % 2 == 0] for parity in (0, 1)]
        for side, (before, _) in zip(sides, padding, strict=True)
    ]
    halves = [-(-n // 2) for n in size]

    def part(row: int, column: int) -> Array:
        parity, kernel, pads = (row, column), turned, []
        for axis in (0, 1):
            chosen = taps[axis][parity[axis]]
            kernel = jnp.take(kernel, jnp.array([sides[axis] - 1 - k for k in chosen]), axis)
            first = (parity[axis] + padding[axis][0] - chosen[0]) // 2
            pads.append((-first, halves[axis] - g.shape[1 + axis] + first + len(chosen) - 1))
        return _convolution(g, kernel, (pads[0], pads[1]), 1, exactly)

    return interleaved([part(row, column) for row in (0, 1) for column in (0, 1)])[:, : size[0], : size[1]]


def upsampling_convolution(x: Array, kernel: Array) -> Array:
    """Height and width doubled by repeating pixels, then a 3x3 convolution with padding ((1, 1), (1, 1))."""
    exactly = precision(x.dtype)
    if current().convolutions == "plain":
        return _upsampling_plain(x, kernel, exactly)
    return _upsampling(x, kernel, exactly)


def doubled(x: Array) -> Array:
    """Height and width doubled by repeating pixels."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


def _upsampling_plain(x: Array, kernel: Array, exactly: jax.lax.Precision) -> Array:
    return _plain(doubled(x), kernel, ((1, 1), (1, 1)), 1, exactly)


def _upsampling_by_parts(x: Array, kernel: Array, exactly: jax.lax.Precision) -> Array:
    """The doubled image is never made.

    Of the three taps that an output row reads, two fall on the same input row: row 2i is (w_0, w_1 + w_2) on rows
    i - 1, i, and row 2i + 1 is (w_0 + w_1, w_2) on rows i, i + 1. With the columns alike, the output is four 2x2
    convolutions of the input, interleaved: 4/9 of the multiplications.
    """
    return interleaved(
        [
            _convolution(x, part, ((1 - row, row), (1 - column, column)), 1, exactly)
            for row, rows in enumerate(_halves(kernel, axis=0))
            for column, part in enumerate(_halves(rows, axis=1))
        ]
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _upsampling(x: Array, kernel: Array, exactly: jax.lax.Precision) -> Array:
    by_parts, plain = (partial(f, exactly=exactly) for f in (_upsampling_by_parts, _upsampling_plain))
    return jax.lax.platform_dependent(x, kernel, cpu=by_parts, default=plain)


def _upsampling_forward(x: Any, kernel: Any, exactly: jax.lax.Precision) -> tuple[Array, tuple[Array, Array]]:
    seen = x.value if kernel.perturbed else x.value[..., :0]
    return _upsampling(x.value, kernel.value, exactly), (seen, kernel.value)


def _upsampling_backward(
    exactly: jax.lax.Precision, residuals: tuple[Array, Array], g: Array
) -> tuple[Array, Array | None]:
    x, kernel = residuals
    size = (*x.shape[:3], kernel.shape[2])

    def gradients(function: Any, x: Array, kernel: Array, g: Array) -> tuple[Array, ...]:
        # Of the image at zeros: it is linear in each of the two.
        whole = x.shape[3] == kernel.shape[2]
        at = x if whole else jnp.zeros(size, g.dtype)
        if whole:
            return jax.vjp(partial(function, exactly=exactly), at, kernel)[1](g)
        return jax.vjp(lambda x: function(x, kernel, exactly), at)[1](g)

    by_parts, plain = (partial(gradients, f) for f in (_upsampling_by_parts, _upsampling_plain))
    found = jax.lax.platform_dependent(x, kernel, g, cpu=by_parts, default=plain)
    return found[0], found[1] if len(found) > 1 else None


_upsampling.defvjp(_upsampling_forward, _upsampling_backward, symbolic_zeros=True)


def _halves(kernel: Array, axis: int) -> tuple[Array, Array]:
    """The 2-tap kernels along an axis that the even and the odd outputs of a doubled axis see of a 3-tap one."""
    first, middle, last = jnp.split(kernel, 3, axis)
    return jnp.concatenate([first, middle + last], axis), jnp.concatenate([first + middle, last], axis)


def interleaved(parts: Sequence[Array]) -> Array:
    """The image whose (even, even), (even, odd), (odd, even) and (odd, odd) rows and columns are the four parts."""
    b, h, w, c = parts[0].shape
    return jnp.stack(parts, axis=3).reshape(b, h, w, 2, 2, c).swapaxes(2, 3).reshape(b, 2 * h, 2 * w, c)
