"""What a corruption hands out: the observation, and what made it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import scipy
from jaxtyping import Bool, Float64, UInt8
from PIL import Image

from diip_jax.pixels import to_uint8

Picture: TypeAlias = Float64[np.ndarray, "H W C"]


@dataclasses.dataclass(frozen=True)
class Degraded:
    """An observation y = m ⊙ (D_s(k * x) + n) of a clean image x `[H, W, C]`, with the k, s and m that made it.

    n is what noise, compression, drops and deformation change.

    Attributes:
        y: the observation, `[H / s, W / s, C]`, float64, black to white in [-1, 1], not clipped.
        kernel: k `[K, K]`, K odd, of sum 1, in pixels of x, or None where nothing was blurred by one kernel.
            (k * x)[i] = sum_j k[j] x[i - j] with j counted from the kernel's centre, borders mirrored about the
            outermost pixel: `scipy.ndimage.convolve(x, k, mode="mirror")`.
        scale: s. D_s takes the mean of each block of s x s pixels.
        mask: m, as large as y, true where y shows the image, or None where nothing hides it.
    """

    y: Float64[np.ndarray, "h w C"]
    kernel: Float64[np.ndarray, "K K"] | None = None
    scale: int = 1
    mask: Bool[np.ndarray, "h w"] | None = None

    def observation(self) -> UInt8[np.ndarray, "h w C"]:
        """y as a file holds it: what a method that knows the scale restores."""
        return to_uint8(self.y)

    def picture(self) -> UInt8[np.ndarray, "H W C"]:
        """y at the size of the clean image, enlarged bicubically: what a blind method restores."""
        if self.scale == 1:
            return to_uint8(self.y)
        height, width, channels = self.y.shape
        size = (width * self.scale, height * self.scale)
        planes = [Image.fromarray(self.y[..., c].astype(np.float32)) for c in range(channels)]
        enlarged = [np.asarray(plane.resize(size, Image.Resampling.BICUBIC), np.float64) for plane in planes]
        return to_uint8(np.stack(enlarged, axis=-1))


# One cause of damage: a frozen dataclass of its parameters that maps an image to what is left of it.
Step: TypeAlias = Callable[[Picture, np.random.Generator], Degraded]


def apply_steps(steps: Sequence[Step], x: Picture, rng: np.random.Generator) -> Degraded:
    """The steps one after the other, each on the observation of the one before.

    Raises:
        ValueError: a blur after a down-sampling or a mask, or a down-sampling after a mask: no k, s and m of
            `Degraded` describe that.
    """
    degraded = Degraded(x)
    for step in steps:
        degraded = _join(degraded, step(degraded.y, rng))
    return degraded


def _join(first: Degraded, second: Degraded) -> Degraded:
    masked = first.mask is not None
    if (second.kernel is not None and (masked or first.scale > 1)) or (second.scale > 1 and masked):
        raise ValueError("the order of the steps is blur, down-sampling, mask: see Degraded for the model")
    kernels = [k for k in (first.kernel, second.kernel) if k is not None]
    masks = [m for m in (first.mask, second.mask) if m is not None]
    return Degraded(
        second.y,
        _convolved(*kernels) if len(kernels) == 2 else next(iter(kernels), None),
        first.scale * second.scale,
        np.logical_and.reduce(masks) if masks else None,
    )


def _convolved(a: Float64[np.ndarray, "J J"], b: Float64[np.ndarray, "K K"]) -> Float64[np.ndarray, "L L"]:
    """The kernel of a blur by a and then by b."""
    return scipy.ndimage.convolve(np.pad(a, b.shape[0] // 2), b, mode="constant")
