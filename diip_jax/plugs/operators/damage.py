"""What a picture shows of what happened to it: blur, noise, impulses and JPEG's blocks, told nothing.

Four measurements, each of something that undamaged pictures do not have. The blur is in the spectrum
(`diip_jax.plugs.operators.spectrum`); of a JPEG, in that of what the prior makes of it, because the noise in which a
blur shows is what the compression leaves out. Noise is what the spectrum's floor, the finest details' median and the
prior all call noise: fine texture fools the first two, but not a network that has learned it. Impulses have much power
in few pixels, so that the floor is far above the median. What the prior takes for error in a JPEG lies on the borders
of the 8x8 blocks, and the quantisation of such a file is in its picture still
(`diip_jax.plugs.operators.quantisation`).
"""

from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.array_types import Any, Array, Bool, Count, Flag, Float, Image, Observed, Scalar
from diip_jax.plugs.noise_levels import at_noise_level
from diip_jax.plugs.operators.enlargement import Enlargement, find_enlargement, looked_for
from diip_jax.plugs.operators.quantisation import near_quantised, quality_of, quantisation_scale
from diip_jax.plugs.operators.spectrum import fit_spectrum

_LEVEL = 1 / 127.5  # a grey level of 255
# Levels at which the prior is asked what it takes for error: for noise, and for blocks, which are finer.
_ASKED = (5 * _LEVEL, 2.5 * _LEVEL)
# Of the network: these two, and the picture without its noise.
LEAST_EVALUATIONS = len(_ASKED) + 1
# Share of the level asked from which on the prior's error counts as noise. Of undamaged faces it is 0.47 .. 0.55, of
# photographs 0.25 .. 0.4, of noise of 10 levels at least 0.9.
_NOISY = 0.7
# The median looks away from what is far from usual: of noise that is stronger in some places than in others, as where
# it grows with brightness, it is too low. What the prior takes for error tells by how much: its root mean square over
# what its median would say of white Gaussian noise, to this power. Of that noise it is 0.96 to 1.04, of the catalogue's
# mixed noise 1.1 to 1.35; of the powers 0 to 3 this one gained most in the mean.
_UNEVEN = 1.5
_MEDIAN_OF_GAUSSIAN = 0.6745
# How often the floor's standard deviation exceeds the median's where there are impulses, and the least floor.
_IMPULSES, _LEAST_IMPULSES = 3.0, 8 * _LEVEL
# Share of the level asked from which on the prior's error in the pixels that are far from those around counts as
# impulses in a reduced picture. Where they are 1 to 30 % of the pixels it is 1.1 to 2.9, else 0.45 to 0.92.
_TAKEN = 1.0
# Blocks: power of the error's jumps across borders over that elsewhere. Undamaged pictures have 0.6 .. 1.3, quality 90
# has about 2, quality 10 has 4 (faces) to 5.5 (photographs). Per unit of it, the noise level that gains at every
# quality from 5 to 95 without ever losing, where the quantisation is not seen.
BLOCKS, _PER_BLOCKS = 1.5, 2 * _LEVEL
# The level that gains most where it is seen: at the standard's steps, and how it grows with them, up to quality 10.
_AT_STANDARD, _GROWTH, _MOST = 8 * _LEVEL, 0.6, 22 * _LEVEL
# There one estimate follows another: at these levels, of that one, and each brought within that share of a step of what
# the picture has. Of three to eight levels from 3 to 0.1 and shares from 0.2 to 0.5 none gained more on faces 0 .. 11.
_REFINED, _NEAR = (1.4, 0.6, 0.25), 0.25
# Standard deviation in pixels below which a blur is not told from a sharp picture, or from one that was deformed.
_LEAST_BLUR = 0.7
# Of a JPEG less is enough, because the prior has taken the most of what looks like it, but coarse steps leave one
# direction less than another: the trace of the covariance in px^2, what the narrower direction has of it, and the
# variance of one direction that is enough without that.
_LEAST_OF_JPEG, _NARROWER, _WIDE = 0.57, 0.1, 1.2
# The spectrum's floor of a picture that has white noise of its own, but not much. Rounding to 8 bits is 0.3 levels, and
# that of a picture that was enlarged afterwards, whatever its noise was, 0.3 to 0.75.
_WHITE = (0.8 * _LEVEL, 5 * _LEVEL)
# Root mean square width in pixels of a blur from which on that is looked at: a narrower one may be no blur at all.
_BELIEVED_BLUR = 0.8


class Damage(NamedTuple):
    """What was found in a picture.

    Attributes:
        covariance: of the Gaussian blur in px^2, rows first; 0 where none was found.
        noise: standard deviation of noise, of the range [-1, 1], which the prior's estimate at that level removes; for
            a JPEG the level that serves best.
        believed: whether the blur is to be believed to be the Gaussian: it is no narrow one, and there is a little
            white noise, so that nothing has resampled the picture since.
        resampled: whether there is less white noise than any camera's picture has, as after an enlargement: the
            Gaussian then stands for what was averaged and interpolated. A picture that is reduced is none.
        impulses: whether there are pixels that have nothing to do with the picture.
        hidden: `[H, W]`, which pixels these are.
        blocks: power of jumps across the borders of 8x8 blocks over that elsewhere; 1 without JPEG, from `BLOCKS` on it
            counts as one.
        jpeg_quality: libjpeg's, of the standard's steps that are nearest to those seen; 0 where no quantisation is.
        estimate: `[H, W, C]`, the picture without its noise, E[x_0 | y] of the prior (Tweedie's formula), and with the
            median of those around in the place of a hidden pixel. Blur is still in it. Of a JPEG whose quantisation is
            seen, E[x_0 | .] at lower and lower levels, each brought to what was quantised.
        evaluations: of the network: three (`LEAST_EVALUATIONS`), or six of a JPEG whose quantisation is seen.
        enlargement: of which smaller picture it is one. What there may be of other damage is in that: none of the above
            is told then, and the estimate is the image of least norm that has the small picture's values as its means.
            None where it is not looked for: of a picture that is too small or too large for that, or reduced, where a
            blur or noise is known, and with a prior that knows details alone (`Prior.local`).
    """

    covariance: Float[Array, "2 2"]
    noise: Scalar
    believed: Flag
    resampled: Flag
    impulses: Flag
    hidden: Bool[Array, "H W"]
    blocks: Scalar
    jpeg_quality: Scalar
    estimate: Image
    evaluations: Scalar
    enlargement: Enlargement | None


def find_damage(
    prior: Any,
    y: Observed,
    *,
    blur: Scalar | float | None = None,
    noise: Scalar | float | None = None,
    reduced: bool = False,
) -> Damage:
    """The damage that a picture `[H, W, C]` in [-1, 1] shows, with three evaluations of the prior, or six.

    Args:
        blur: standard deviation in pixels of an isotropic Gaussian blur that is known; 0: there is none.
        noise: that of noise that is known, of the range [-1, 1], or for a JPEG the level to take out; 0: there is none.
        reduced: it is the means of blocks of a larger one. What has become of its edges lies in few pixels, too: then
            the prior also has to take it for error, or it counts as no impulses.
    """
    spectrum = fit_spectrum(y)
    enlargement = None
    if asked_for_enlargement(prior, y.shape, blur, noise, reduced=reduced):
        enlargement = find_enlargement(y, jnp.sqrt(jnp.trace(spectrum.covariance) / 2))
    floor, median = jnp.sqrt(spectrum.noise_variance), _median_noise(y)
    # One after the other: side by side they take twice the memory, and compile twice.
    for_noise, for_blocks = jax.lax.map(lambda level: y - at_noise_level(prior, y, level), jnp.array(_ASKED, y.dtype))
    noisy = jnp.sqrt(jnp.mean(for_noise**2)) > _NOISY * _ASKED[0]
    steps = quantisation_scale(y)
    quantised = steps > 0
    median_of_nine, far = _median_of_nine(y)
    # Of the finest details, which the median is of, a JPEG has left little.
    impulses = ~quantised & (floor > _IMPULSES * (median + 2 * _LEVEL)) & (floor > _LEAST_IMPULSES)
    if reduced:
        power = jnp.sum(jnp.where(far[..., None], for_noise, 0) ** 2) / jnp.maximum(far.sum() * y.shape[-1], 1)
        impulses &= jnp.sqrt(power) > _TAKEN * _ASKED[0]
    blocks = block_ratio(for_blocks)
    seen = jnp.minimum(_AT_STANDARD * jnp.maximum(steps, 1e-3) ** _GROWTH, _MOST)
    jpeg = (blocks > BLOCKS) | quantised
    if noise is None:
        noise = jnp.where(noisy & ~impulses, jnp.minimum(floor, median) * _unevenness(for_noise) ** _UNEVEN, 0)
        noise = jnp.where(jpeg, jnp.where(quantised, seen, _PER_BLOCKS * blocks), noise)
    noise = jnp.asarray(noise, y.dtype)
    hidden = impulses & far
    cleaned = jnp.where(hidden[..., None], median_of_nine, y)
    levels = noise * jnp.array((1.0, *_REFINED), y.dtype)

    def estimated(n: Count, last: tuple[Image, Image]) -> tuple[Image, Image]:
        once, x = last
        x = at_noise_level(prior, jnp.where(n > 1, x, cleaned), levels[n])
        return jnp.where(n > 0, once, x), near_quantised(x, cleaned, steps, _NEAR)

    # In one loop, so that one program of the network is compiled.
    evaluations = jnp.where(quantised, len(levels), 1)
    once, several = jax.lax.fori_loop(0, evaluations, estimated, (cleaned, cleaned))
    once = jnp.where(noise > 0, once, cleaned)
    estimate = jnp.where(quantised & (noise > 0), several, once)
    # Whether a JPEG was blurred shows best in the better estimate, how much in the one that is made as others are.
    covariance, evidence = jax.lax.cond(
        jpeg,
        lambda: jax.lax.map(lambda x: fit_spectrum(x).covariance, jax.lax.stop_gradient(jnp.stack([once, estimate]))),
        lambda: jnp.stack([spectrum.covariance] * 2),
    )
    largest, trace = _largest_variance(evidence), jnp.trace(evidence)
    of_jpeg = (trace > _LEAST_OF_JPEG) & ((trace - largest > _NARROWER) | (largest > _WIDE))
    blurred = jnp.where(jpeg, of_jpeg, largest > _LEAST_BLUR**2)
    covariance = jnp.where(blurred, covariance, 0)
    if blur is not None:
        covariance = jnp.square(jnp.asarray(blur, covariance.dtype)) * jnp.eye(2)
    found = Damage(
        covariance=covariance,
        noise=noise,
        believed=(floor > _WHITE[0]) & (floor < _WHITE[1]) & ~jpeg & (jnp.trace(covariance) > 2 * _BELIEVED_BLUR**2),
        resampled=(floor <= _WHITE[0]) & ~jpeg & (not reduced),
        impulses=impulses,
        hidden=hidden,
        blocks=blocks,
        jpeg_quality=quality_of(steps),
        estimate=estimate,
        evaluations=(len(_ASKED) + evaluations).astype(jnp.float32),
        enlargement=enlargement,
    )
    if enlargement is None:
        return found
    nothing = jax.tree.map(jnp.zeros_like, found)._replace(
        blocks=jnp.ones_like(blocks),
        estimate=enlargement.seen,
        evaluations=found.evaluations,
        enlargement=enlargement,
    )
    return jax.tree.map(lambda a, b: jnp.where(enlargement.factor > 1, a, b), nothing, found)


def asked_for_enlargement(prior: Any, shape: tuple[int, ...], blur: Any, noise: Any, *, reduced: bool) -> bool:
    """Whether `find_damage` looks for an enlargement in pictures of this size, see `Damage.enlargement`."""
    local = getattr(prior, "local", False)
    return blur is None and noise is None and not (reduced or local) and looked_for(shape)


def block_ratio(error: Image) -> Scalar:
    """Mean square of jumps across the borders of 8x8 blocks over that of jumps elsewhere; 1 of a picture of few pixels.

    A jump is the difference of neighbours less the mean of the differences on its two sides. Blocks begin at the first
    pixel, as in a JPEG that nobody has cropped.
    """
    luma = error.mean(axis=-1)
    if min(luma.shape) < 16:
        return jnp.ones(())

    def powers(rows: Array) -> Float[Array, "2"]:
        step = rows[:, 1:] - rows[:, :-1]
        jump = (step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2) ** 2
        border = (np.arange(jump.shape[1]) + 2) % 8 == 0
        return jnp.stack([jump[:, border].mean(), jump[:, ~border].mean()])

    across, elsewhere = powers(luma) + powers(luma.T)
    return (across + 1e-9) / (elsewhere + 1e-9)


def _median_noise(y: Observed) -> Scalar:
    """sigma from the median of the finest diagonal Haar coefficients (Donoho and Johnstone, 1994)."""
    height, width = (side - side % 2 for side in y.shape[:2])
    if not height or not width:
        return jnp.zeros(())
    a, b, c, d = (y[i:height:2, j:width:2] for i in (0, 1) for j in (0, 1))
    return jnp.median(jnp.abs(a - b - c + d)) / 2 / _MEDIAN_OF_GAUSSIAN


def _unevenness(error: Image) -> Scalar:
    """The root mean square over what the median says of white Gaussian noise; at least 1."""
    spread = jnp.median(jnp.abs(error)) / _MEDIAN_OF_GAUSSIAN
    return jnp.maximum(jnp.sqrt(jnp.mean(error**2)) / jnp.maximum(spread, 1e-6), 1)


def _largest_variance(covariance: Float[Array, "2 2"]) -> Scalar:
    mean = jnp.trace(covariance) / 2
    return mean + jnp.hypot((covariance[0, 0] - covariance[1, 1]) / 2, covariance[0, 1])


def _median_of_nine(y: Observed) -> tuple[Image, Bool[Array, "H W"]]:
    """(the median of the 3x3 pixels around each one, whether it is far from that)."""
    padded = jnp.pad(y, ((1, 1), (1, 1), (0, 0)), "reflect" if min(y.shape[:2]) > 1 else "edge")
    around = [padded[i : i + y.shape[0], j : j + y.shape[1]] for i in range(3) for j in range(3)]
    median = _median([_sorted_three(around[row : row + 3]) for row in (0, 3, 6)])
    off = jnp.max(jnp.abs(y - median), axis=-1)
    return median, jax.lax.stop_gradient(off > jnp.maximum(6 * 1.4826 * jnp.median(off), 20 * _LEVEL))


def _median(rows: list[list[Array]]) -> Array:
    """The median of nine pictures, in sorted threes: of the largest least, the median one and the least largest.

    Elementwise, so that no array of all nine is sorted.
    """
    least, middle, largest = zip(*rows, strict=True)
    candidates = [
        reduce(jnp.maximum, least),
        _sorted_three(list(middle))[1],
        reduce(jnp.minimum, largest),
    ]
    return _sorted_three(candidates)[1]


def _sorted_three(values: list[Array]) -> list[Array]:
    a, b, c = values
    low, high = jnp.minimum(a, b), jnp.maximum(a, b)
    return [jnp.minimum(low, c), jnp.maximum(low, jnp.minimum(high, c)), jnp.maximum(high, c)]
