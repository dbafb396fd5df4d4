"""Whether a picture is the enlargement of a smaller one, of which one, and what that says of the picture behind it.

Interpolation makes every row and column of an enlarged picture a combination of a few of the small one's. What is left
of y when it is brought into the span of such combinations is then the rounding to 8 bits, and of any other picture its
finest details. Interpolations are those of Pillow, OpenCV and torch: nearest, linear, cubic, Lanczos.

The small picture is taken for what a camera or a reduction would make it: means over areas. y says these means of x,
exactly, and nothing else: they are the rows and columns of a projection P, P x = P x_seen.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.array_types import Array, Float, Image, Observed, Scalar

# Sides of pictures that are looked at: of fewer pixels too little is left, of more the projections cost as much
# memory as the picture.
_LEAST_SIDE, _MOST_SIDE = 32, 256
# Times that a side may have been enlarged. What passes for more is smooth, and may be anything.
_FACTORS = (2.0, 8.0)
_INTERPOLATIONS = ("nearest", "linear", "cubic, a = -0.5", "cubic, a = -0.75", "Lanczos, three lobes")
_REPEATS = 3
# Up to this side every number of pixels is tried, above it whole factors.
_EVERY_NUMBER = 64
# Root mean square of what is left, in grey levels, below which it counts as rounding, which is 0.29; single pixels,
# such as those beside clipped ones, count as two levels at most.
_LEFT, _MOST_LEFT = 0.5, 2.0
_STEPS = 40  # of conjugate gradients, at most: 10 to 25 suffice
# How often what was cut off at black or white is filled in with what the rest says.
_CUT_OFF = 2
# Of an enlargement that Gaussian has at most 0.51 of its factor, of a blurred picture that passes for one 0.6 to 1.
_NO_WIDER = 0.55


class Enlargement(NamedTuple):
    """What was found.

    Attributes:
        factor: sides of y over those of the small picture; 1 where y is none.
        rows, columns: `[H, H]`, `[W, W]`, the projection P: P x = rows x columns^T.
        seen: `[H, W, C]`, the image of least norm that has the small picture's values as its means.
    """

    factor: Scalar
    rows: Float[Array, "H H"]
    columns: Float[Array, "W W"]
    seen: Image


def looked_for(shape: tuple[int, ...]) -> bool:
    """Whether pictures `[H, W, C]` of this size are looked at."""
    fits = min(shape[:2]) >= _LEAST_SIDE and max(shape[:2]) <= _MOST_SIDE
    return fits and len(_candidates(*shape[:2])) > 0


def find_enlargement(y: Observed, blur: Scalar) -> Enlargement:
    """The smallest picture `[h, w, C]` that y `[H, W, C]` in [-1, 1] can be an enlargement of.

    Args:
        blur: standard deviation in pixels of the Gaussian that y's spectrum shows.

    Raises:
        ValueError: pictures of this size are not looked at, see `looked_for`.
    """
    if not looked_for(y.shape):
        sides = f"{_LEAST_SIDE} to {_MOST_SIDE} pixels, above {_EVERY_NUMBER} with a common factor of 2 to 8"
        raise ValueError(f"y is {y.shape[0]}x{y.shape[1]}: expected sides of {sides}")
    height, width = y.shape[:2]
    candidates, *spans = _tried(height, width)
    inside = jnp.abs(y) < 1 - 0.5 / 127.5

    def whole(rows: Array, columns: Array) -> tuple[Image, Image]:
        """(y as it was before what overshot black or white was cut off, that in the span)."""
        full, spanned = y, project(rows, y, columns)
        for _ in range(_CUT_OFF):
            full = jnp.where(inside, y, jnp.where(y > 0, jnp.maximum(spanned, y), jnp.minimum(spanned, y)))
            spanned = project(rows, full, columns)
        return full, spanned

    def left(spans: tuple[Array, Array]) -> Scalar:
        full, spanned = whole(*spans)
        off = (127.5 * jnp.abs(full - spanned)).clip(0, _MOST_LEFT)
        return jnp.sqrt(jnp.mean(off**2))

    errors = jax.lax.map(left, tuple(map(jnp.asarray, spans)))
    # The fewest pixels, and of the interpolations the one that leaves least.
    order = jnp.where(errors < _LEFT, candidates[:, 0] + errors, jnp.inf)
    index = jnp.argmin(order)
    n_rows, n_columns, kind = jnp.asarray(candidates)[index]
    factor = height / n_rows
    found = jnp.isfinite(order.min()) & (factor <= _FACTORS[1]) & (blur < _NO_WIDER * factor) & inside.any()
    rows, back_rows = _means(height, n_rows, kind)
    columns, back_columns = _means(width, n_columns, kind)
    full, _ = whole(*(jnp.asarray(each)[index] for each in spans))
    eye = [jnp.eye(side, dtype=y.dtype) for side in (height, width)]
    return Enlargement(
        factor=jnp.where(found, factor, 1.0).astype(y.dtype),
        rows=jnp.where(found, rows, eye[0]),
        columns=jnp.where(found, columns, eye[1]),
        seen=jnp.where(found, project(back_rows, full, back_columns), y),
    )


def project(rows: Float[Array, "H H"], x: Image, columns: Float[Array, "W W"]) -> Image:
    """P x, see `Enlargement`."""
    return jnp.einsum("hi,ijc,wj->hwc", rows, x, columns, precision="highest")


@lru_cache(maxsize=8)
def _tried(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(the candidates, for each the projections onto what enlargements are, of rows and of columns).

    Constants of the program: they are the same for all pictures of a size.
    """
    candidates = _candidates(height, width)
    with jax.ensure_compile_time_eval():
        spans = jax.jit(jax.vmap(_span, in_axes=(None, 0, 0)), static_argnums=0)
        rows = np.asarray(spans(height, candidates[:, 0], candidates[:, 2]))
        columns = rows if height == width else np.asarray(spans(width, candidates[:, 1], candidates[:, 2]))
    return candidates, rows, columns


def _candidates(height: int, width: int) -> np.ndarray:
    """`[n, 3]` int32: pixels of the small picture's sides, and the interpolation; a few are below the least number."""
    fewest, most = (int(np.ceil(height / _FACTORS[1])), int(height / _FACTORS[0]))
    if max(height, width) <= _EVERY_NUMBER:
        numbers = np.arange(max(fewest - 2, 2), most + 1)
    else:
        factors = np.arange(_FACTORS[0], _FACTORS[1] + 3)
        numbers = np.unique([round(height / factor) for factor in factors if height % factor == 0 == width % factor])
    pairs = np.stack([numbers, np.maximum(np.round(numbers * width / height), 2)], axis=1)
    return np.concatenate([np.insert(pairs, 2, kind, axis=1) for kind in range(len(_INTERPOLATIONS))]).astype(np.int32)


def _interpolation(side: int, n: Array, kind: Array) -> Float[Array, "side m"]:
    """The matrix that enlarges n pixels to a side; columns from n on are 0.

    Args:
        kind: index into `_INTERPOLATIONS`. Beyond the outermost pixels a cubic with a = -0.75 repeats them, as OpenCV's
            and torch's do; the others know nothing of what is there, as Pillow's.
    """
    m = _most_pixels(side)
    centre = (jnp.arange(side) + 0.5)[:, None] * n / side - 0.5
    at = jnp.arange(-3, m + 3)
    distance = jnp.abs(at - centre)

    def cubic(a: float) -> Array:
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = ((distance - 5) * distance + 8) * distance * a - 4 * a
        return jnp.where(distance < 1, near, jnp.where(distance < 2, far, 0))

    lanczos = jnp.where(distance < 3, jnp.sinc(distance) * jnp.sinc(distance / 3), 0)
    nearest = (at == jnp.floor(centre + 0.5)).astype(distance.dtype)
    weights = jnp.stack([nearest, jnp.maximum(1 - distance, 0), cubic(-0.5), cubic(-0.75), lanczos])[kind]
    folded = weights @ (jnp.clip(at, 0, n - 1)[:, None] == jnp.arange(m)).astype(weights.dtype)
    known = jnp.where((at >= 0) & (at < n), weights, 0)[:, 3 : m + 3]
    return jnp.where(kind == _REPEATS, folded, known / known.sum(axis=1, keepdims=True))


def _most_pixels(side: int) -> int:
    return int(side / _FACTORS[0]) + 1


def _areas(side: int, n: Array) -> Float[Array, "m side"]:
    """The matrix of means over n equal parts of a side; rows from n on are 0."""
    j = jnp.arange(_most_pixels(side))[:, None]
    i = jnp.arange(side)
    step = side / n
    overlap = jnp.minimum((j + 1) * step, i + 1) - jnp.maximum(j * step, i)
    return jnp.where(j < n, jnp.maximum(overlap, 0) / step, 0)


def _inverse(matrix: Float[Array, "a b"]) -> Float[Array, "b a"]:
    """The pseudoinverse of a matrix whose columns are independent, or 0."""
    normal = lambda v: matrix.T @ (matrix @ v)  # noqa: E731
    solved, _ = jax.scipy.sparse.linalg.cg(normal, matrix.T, tol=1e-6, maxiter=_STEPS)
    return solved


def _span(side: int, n: Array, kind: Array) -> Float[Array, "side side"]:
    """The projection onto what enlargements of n pixels are."""
    enlarge = _interpolation(side, n, kind)
    return enlarge @ _inverse(enlarge)


def _means(side: int, n: Array, kind: Array) -> tuple[Float[Array, "side side"], Float[Array, "side side"]]:
    """(the projection onto means over areas, from y to the image of least norm with the small picture's values)."""
    areas = _areas(side, n)
    back = _inverse(areas.T).T  # of a matrix with independent rows
    return back @ areas, back @ _inverse(_interpolation(side, n, kind))
