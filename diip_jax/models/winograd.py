"""A 3x3 convolution with half the multiplications: Winograd's F(4, 3) along the height (Lavin and Gray, 2016).

Four output rows are linear in the six input rows that they see; F(4, 3) makes them out of six products of rows and
kernel rows instead of twelve,

    Y = A^T [(G g) (B^T d)],

where a product is here a convolution along the width, over all channels.
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


def _combination(weights: Sequence[float], arrays: Sequence[Array]) -> Array:
    terms = [weight * array for weight, array in zip(weights, arrays, strict=True) if weight]
    return sum(terms[1:], terms[0])
