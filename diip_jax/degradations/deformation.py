"""Non-uniform deformation: a smooth random displacement and a blur that differs from place to place."""

import dataclasses

import numpy as np
import scipy
from jaxtyping import Float64

from diip_jax.degradations.degraded import Degraded, Picture

_LEVELS = 4  # The blur at a place is interpolated between this many blurred images and the one without blur.


@dataclasses.dataclass(frozen=True)
class Deformation:
    """y(p) = sum_i w_i(p) (G_i * r)(p), r(p) = x(p + shift f(p)).

    As through moving air. f = (f_1, f_2) is a smooth random field of root mean square 1 in each component: white noise
    under a Gaussian of standard deviation `length`. G_i, i = 0 .. 4, is a Gaussian of standard deviation i / 4 of
    `blur` (G_0 * r = r), and w(p) interpolates linearly between the two nearest to blur Phi(f_3(p)), with f_3 a third
    such field and Phi the normal distribution function: all blurs from none to `blur` are about equally frequent.
    x is continued by mirroring, between its pixels by cubic splines.

    Attributes:
        shift: root mean square of each component of the displacement.
        blur: the strongest blur.
        length: how far displacement and blur reach. All three are shares of the image's shorter side.
    """

    shift: float
    blur: float
    length: float = 0.06

    def __call__(self, x: Picture, rng: np.random.Generator) -> Degraded:
        side = min(x.shape[:2])
        down, right, f3 = (smooth_field(x.shape[0], x.shape[1], self.length * side, rng) for _ in range(3))
        r = displaced(x, self.shift * side * np.stack([down, right]))
        level = _LEVELS * scipy.special.ndtr(f3)
        y = np.zeros_like(x)
        for i in range(_LEVELS + 1):
            sigma = i / _LEVELS * self.blur * side
            weight = np.maximum(1 - np.abs(level - i), 0)[..., None]
            y += weight * scipy.ndimage.gaussian_filter(r, (sigma, sigma, 0), mode="mirror")
        return Degraded(y)


def smooth_field(height: int, width: int, length: float, rng: np.random.Generator) -> Float64[np.ndarray, "H W"]:
    """White noise under a Gaussian of standard deviation `length` pixels, of root mean square 1."""
    field = scipy.ndimage.gaussian_filter(rng.standard_normal((height, width)), length, mode="wrap")
    return field / np.sqrt(np.mean(field**2))


def displaced(x: Picture, displacement: Float64[np.ndarray, "2 H W"]) -> Picture:
    """x(p + d(p)) with d (down, right) in pixels: cubic splines, borders mirrored about the outermost pixel."""
    places = np.indices(x.shape[:2]) + displacement
    channels = [scipy.ndimage.map_coordinates(x[..., c], places, order=3, mode="mirror") for c in range(x.shape[-1])]
    return np.stack(channels, axis=-1)
