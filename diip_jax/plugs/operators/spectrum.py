"""What the power spectrum of a picture says of its blur: a Gaussian's covariance, told nothing, in closed arithmetic.

The power spectrum of natural pictures falls as |f|^-alpha (Field, 1987). A blur by a Gaussian of covariance S
multiplies it by exp(-4 pi^2 f^T S f), white noise adds a constant:

    P(f) = A |f|^-alpha exp(-4 pi^2 f^T (S + S_0) f) + N,

S_0 = 0.35^2 px^2 being what lens and sensor do to pictures that nobody would call blurred. The unknowns are fitted to
the logarithm of the periodogram of the Hann-windowed picture, averaged over the channels and over rings and sectors of
frequencies: a maximum a posteriori estimate in which the model's own error, not the periodogram's, is what keeps a bin
from being believed. Motion along a line has a spectrum that falls across it, so that S is long along it.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from diip_jax.array_types import Any, Array, Float, Observed, Scalar

# Edges of the rings in cycles per pixel, and by how much natural spectra differ from the power law in each (standard
# deviation of the logarithm of a sector's power). What compression and resampling do is in the outermost ones.
_RINGS = (0.028, 0.05, 0.08, 0.12, 0.17, 0.22, 0.28, 0.34, 0.42, 0.5)
_MISFIT = (0.5, 0.4, 0.35, 0.3, 0.3, 0.3, 0.3, 0.5, 0.8)
_SECTORS = 8
_LENS = 0.35
# alpha of a picture: mean and standard deviation. Faces of 64x64 have 2.8, photographs of 481x321 have 2.4.
_ALPHA = (2.6, 0.2)
# How much more or less contrast than on average a picture has in a sector at all frequencies (hair falls, horizons
# lie): standard deviation of its logarithm. A blur shows in how power falls, not in how much there is.
_DIRECTIONS = 0.8
# A blur is a claim that needs evidence: weight of the trace of S in the cost, and the trace in px^2 of a blur that
# needs half the most that any does. Below a variance of so many px^2 an axis of S is taken for the picture's own
# direction rather than a blur.
_PRIOR, _WIDE, _DOUBT = 2.0, 3.0, 0.2
_ITERATIONS = 400


class SpectralFit(NamedTuple):
    """What was found in a picture.

    Attributes:
        covariance: S of the blur in px^2, rows first.
        noise_variance: N, of the picture's range squared.
        alpha: the exponent of the picture's own spectrum.
    """

    covariance: Float[Array, "2 2"]
    noise_variance: Scalar
    alpha: Scalar


class _Bins(NamedTuple):
    """The rings' sectors.

    Attributes:
        of: `[h, f]` uint8, which one a frequency lies in, a number above all of them outside.
        frequencies: how many are in each.
        squares, log_frequency: mean f_y^2, f_x^2, f_y f_x `[3, bins]`, and mean log|f|.
        weight: of each in the cost.
    """

    of: np.ndarray
    frequencies: np.ndarray
    squares: np.ndarray
    log_frequency: np.ndarray
    weight: np.ndarray


@lru_cache(maxsize=16)
def _bins(height: int, width: int) -> _Bins:
    f_y, f_x = np.meshgrid(np.fft.fftfreq(height), np.fft.rfftfreq(width), indexing="ij")
    frequency, angle = np.hypot(f_y, f_x), np.mod(np.arctan2(f_y, f_x), np.pi)
    ring = np.digitize(frequency, _RINGS) - 1
    sector = np.minimum((angle / np.pi * _SECTORS).astype(int), _SECTORS - 1)
    inside = (ring >= 0) & (ring < len(_MISFIT))
    bins = len(_MISFIT) * _SECTORS
    of = np.where(inside, ring * _SECTORS + sector, bins).astype(np.uint8)
    count = np.maximum(_sums(of, np.ones(of.shape)), 1)
    squares = [_sums(of, values) / count for values in (f_y**2, f_x**2, f_y * f_x)]
    log_frequency = _sums(of, np.log(np.maximum(frequency, 1e-3))) / count
    # The logarithm of a mean of n exponentially distributed powers has variance 1 / n.
    variance = np.repeat(np.square(_MISFIT), _SECTORS) + 1 / count
    weight = np.where(np.isin(np.arange(bins), of), 1 / variance, 0) * 2 / _SECTORS
    return _Bins(of, *(np.asarray(a, np.float32) for a in (count, np.stack(squares), log_frequency, weight)))


def _sums(of: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of the values at the frequencies of every bin."""
    bins = len(_MISFIT) * _SECTORS
    return np.bincount(of.reshape(-1), values.reshape(-1), bins + 1)[:bins]


def fit_spectrum(y: Observed) -> SpectralFit:
    """The blur and the noise that a picture `[h, w, C]` in [-1, 1] shows, see the module.

    A picture of few pixels shows none. Blurs are told apart from sharp pictures from about 0.5 px on.
    """
    bins = _bins(*y.shape[:2])
    # Row by row: a matrix of frequencies by bins would take dozens of times the memory of the picture.
    nothing = jnp.zeros(len(bins.frequencies) + 1, y.dtype)
    sums = jax.lax.map(lambda row: nothing.at[row[0]].add(row[1]), (jnp.asarray(bins.of), _periodogram(y)))
    powers = jnp.log(sums.sum(axis=0)[:-1] / bins.frequencies + 1e-9)

    def cost(p: Float[Array, " 14"]) -> Scalar:
        variances = jnp.stack([p[2] ** 2, p[3] ** 2 + p[4] ** 2, 2 * p[2] * p[3]]) + _LENS**2 * jnp.array([1, 1, 0])
        amplitude = p[0] + jnp.tile(p[6:], len(_MISFIT))
        signal = amplitude - p[1] * (bins.log_frequency - np.log(0.1)) - 4 * np.pi**2 * variances @ bins.squares
        misfit = jnp.sum(bins.weight * (powers - jnp.logaddexp(signal, p[5])) ** 2)
        trace = jnp.sum(p[2:5] ** 2)
        return (
            misfit
            + ((p[1] - _ALPHA[0]) / _ALPHA[1]) ** 2
            + _PRIOR * trace / (1 + trace / _WIDE)
            + jnp.sum(p[6:] ** 2) / _DIRECTIONS**2
        )

    at = powers.reshape(-1, _SECTORS).mean(axis=1)
    adam = optax.adam(optax.cosine_decay_schedule(0.08, _ITERATIONS))

    def descend(sigma: Scalar) -> tuple[Array, Scalar]:
        """From an isotropic blur of so many pixels: (p, its cost); the cost has a valley each for blur and noise."""
        first = jnp.stack([at[3], jnp.float32(_ALPHA[0]), sigma, jnp.float32(0), sigma, at[-1] - 1])
        first = jnp.concatenate([first, jnp.zeros(_SECTORS)]).astype(jnp.float32)

        def step(_: Any, state: tuple[Array, optax.OptState]) -> tuple[Array, optax.OptState]:
            update, moments = adam.update(jax.grad(cost)(state[0]), state[1])
            return state[0] + update, moments

        p, _ = jax.lax.fori_loop(0, _ITERATIONS, step, (first, adam.init(first)))
        return p, cost(p)

    found, costs = jax.vmap(descend)(jnp.array([0.3, 1.0, 1.8, 3.0], jnp.float32))
    p = found[jnp.argmin(costs)]
    factor = jnp.array([[p[2], 0], [p[3], p[4]]])
    return SpectralFit(_doubted(factor @ factor.T), jnp.exp(p[5]), p[1])


def _periodogram(y: Observed) -> Float[Array, "h f"]:
    """Power at every frequency of the half plane, mean over the channels."""
    window = np.outer(*(np.hanning(side + 2)[1:-1] for side in y.shape[:2])).astype(np.float32)[..., None]
    centred = (y - jnp.sum(y * window, axis=(0, 1)) / window.sum()) * window
    return jnp.mean(jnp.abs(jnp.fft.rfft2(centred, axes=(0, 1))) ** 2, axis=-1) / np.square(window).sum()


def _doubted(covariance: Float[Array, "2 2"]) -> Float[Array, "2 2"]:
    """Each principal variance v becomes v^2 / (v + doubt): small ones vanish, large ones stay."""
    # Closed form of the symmetric eigenproblem: eigh has no fast path for many 2x2 matrices.
    mean = (covariance[0, 0] + covariance[1, 1]) / 2
    half, off = (covariance[0, 0] - covariance[1, 1]) / 2, covariance[0, 1]
    radius = jnp.sqrt(half**2 + off**2 + 1e-12)
    large, small = (v**2 / (v + _DOUBT) for v in (mean + radius, jnp.maximum(mean - radius, 0)))
    direction = jnp.array([[half, off], [off, -half]]) / radius
    return (large + small) / 2 * jnp.eye(2) + (large - small) / 2 * direction
