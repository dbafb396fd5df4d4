"""A 3x3 convolution with half the multiplications: Winograd's F(4, 3) along the height (Lavin and Gray, 2016).

Four output rows are linear in the six input rows that they see; F(4, 3) makes them out of six products of rows and
kernel rows instead of twelve,

    Y = A^T [(G g) (B^T d)],

where a product is here a convolution along the width, over all channels. Y is linear in g, so that the gradient with
respect to the kernel is

    dg = G^T sum over tiles of [(A dY) (B^T d)],

and a product now the three taps' sums over the pixels of a row.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from diip_jax.array_types import Array, Float

# B^T, G and A^T for the points 0, 1, -1, 2, -2 and infinity.
INPUT = (
    (4.0, 0.0, -5.0, 0.0, 1.0, 0.0),
    (0.0, -4.0, -4.0, 1.0, 1.0, 0.0),
    (0.0, 4.0, -4.0, -1.0, 1.0, 0.0),
    (0.0, -2.0, -1.0, 2.0, 1.0, 0.0),
    (0.0, 2.0, -1.0, -2.0, 1.0, 0.0),
    (0.0, 4.0, 0.0, -5.0, 0.0, 1.0),
)
KERNEL = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
OUTPUT = (
    (1.0, 1.0, 1.0, 1.0, 1.0, 0.0),
    (0.0, 1.0, -1.0, 2.0, -2.0, 0.0),
    (0.0, 1.0, 1.0, 4.0, 4.0, 0.0),
    (0.0, 1.0, -1.0, 8.0, -8.0, 1.0),
)


def suits(x: Array, kernel: Array) -> bool:
    """Whether `convolution` takes these arrays and is faster than the direct convolution on a CPU.

    Below 16 rows or 32 channels the transforms cost more than they save; in less than float32 they lose digits.
    """
    narrow = min(kernel.shape[2:]) < 32
    return (
        kernel.shape[:2] == (3, 3) and x.shape[1] % 4 == 0 and x.shape[1] >= 16 and not narrow and x.dtype.itemsize >= 4
    )


def convolution(x: Float[Array, "B H W c"], kernel: Float[Array, "3 3 c f"]) -> Float[Array, "B H W f"]:
    """Stride-1 cross-correlation with one row and column of zeros around x; H is a multiple of 4."""
    b, h, w, _ = x.shape
    # Rows in fours; a tile's last two rows are the first two of the next.
    tiles = jnp.pad(x, ((0, 0), (1, 3), (0, 0), (0, 0))).reshape(b, h // 4 + 1, 4, w, -1)
    rows = [tiles[:, :-1, i] for i in range(4)] + [tiles[:, 1:, i] for i in range(2)]
    products = [
        jax.lax.conv_general_dilated(
            _combination(weights, rows),
            _combination(taps, list(kernel))[None],
            (1, 1),
            ((0, 0), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=jax.lax.Precision.HIGHEST,
        )
        for weights, taps in zip(INPUT, KERNEL, strict=True)
    ]
    return jnp.stack([_combination(weights, products) for weights in OUTPUT], axis=2).reshape(b, h, w, -1)


def suits_gradient(x: Array, kernel: Array) -> bool:
    """Whether `kernel_gradient` takes these arrays and is faster than a product for each of the nine taps on a CPU."""
    return kernel.shape[:2] == (3, 3) and x.shape[1] % 4 == 0 and x.shape[1] >= 8 and x.dtype.itemsize >= 4


def kernel_gradient(x: Float[Array, "B H W c"], g: Float[Array, "B H W f"]) -> Float[Array, "3 3 c f"]:
    """The gradient of `convolution` with respect to its kernel, given the image and the gradient of the output."""
    b, h, _, _ = x.shape
    # One column of zeros ends every row and begins the next, so that a tap to the left or right is a shift by one pixel
    # of all rows in a line: a copy of memory as it lies, where a window of every row is copied number by number.
    x, g = (jnp.pad(a, ((0, 0), (0, 0), (0, 1), (0, 0))) for a in (x, g))
    tiles = jnp.pad(x, ((0, 0), (1, 3), (0, 0), (0, 0))).reshape(b, h // 4 + 1, 4, *x.shape[2:])
    rows = [tiles[:, :-1, i] for i in range(4)] + [tiles[:, 1:, i] for i in range(2)]
    outputs = [g.reshape(b, h // 4, 4, *g.shape[2:])[:, :, i] for i in range(4)]
    products = [
        _taps_along_width(_combination(weights, rows), _combination(shares, outputs))
        for weights, shares in zip(INPUT, zip(*OUTPUT, strict=True), strict=True)
    ]
    return jnp.stack([_combination(taps, products) for taps in zip(*KERNEL, strict=True)])


def _taps_along_width(x: Float[Array, "B h w c"], g: Float[Array, "B h w f"]) -> Float[Array, "3 c f"]:
    """sum_p x[p + j - 1] g[p] for j = 0, 1, 2, where p goes through all pixels in a line."""
    x, g = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    # All three in one product; the operand with fewer channels is the one that is copied.
    if x.shape[1] > g.shape[1]:
        return _product(x, _shifted(g, (1, 0, -1))).reshape(x.shape[1], 3, -1).swapaxes(0, 1)
    return _product(_shifted(x, (-1, 0, 1)), g).reshape(3, x.shape[1], -1)


def _shifted(pixels: Float[Array, "P c"], shifts: Sequence[int]) -> Float[Array, "P d"]:
    """The pixels that lie so far behind each, side by side; beyond the ends there are zeros."""
    padded, count = jnp.pad(pixels, ((1, 1), (0, 0))), len(pixels)
    return jnp.concatenate([padded[1 + shift : 1 + shift + count] for shift in shifts], axis=1)


def _product(x: Float[Array, "P c"], g: Float[Array, "P f"]) -> Float[Array, "c f"]:
    return jnp.einsum("pi,po->io", x, g, precision=jax.lax.Precision.HIGHEST)


def _combination(weights: Sequence[float], arrays: Sequence[Array]) -> Array:
    terms = [weight * array for weight, array in zip(weights, arrays, strict=True) if weight]
    return sum(terms[1:], terms[0])
