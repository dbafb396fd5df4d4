"""Raindrops on a window in front of the camera."""

import dataclasses

import numpy as np
import scipy
from jaxtyping import Float64

from diip_jax.degradations.deformation import displaced
from diip_jax.degradations.degraded import Degraded, Picture

_WATER = 1.33  # Refractive index.
_CONTACT_ANGLE = np.pi / 3  # Between the drop's surface and the glass at the rim.


@dataclasses.dataclass(frozen=True)
class Raindrops:
    """y(p) = (1 - alpha(p)) x(p) + alpha(p) (G * r)(p), r(p) = x(p + d(p)), alpha = G * 1[p in a drop].

    Each drop is a spherical cap seen through the glass: an ellipse with centre c uniform in the image, radius (the
    geometric mean of its half-axes) uniform in log between `smallest` and `largest`, and ratio of the axes uniform in
    log in [3/4, 4/3]. With u = (p - c) / half-axis (by axis; |u| < 1 inside), its unit normal (towards the scene) is

        n = (s u_x, s u_y, sqrt(1 - s^2 |u|^2)),  s = sin(contact angle), 60 degrees,

    and the ray through p is deviated as by a thin lens of index 1.33 in front of a scene at the distance D:

        d(p) = -(1.33 - 1) D (n_x, n_y) / n_z.

    A drop shows the scene upside down where 0.33 D s exceeds its radius. Where drops overlap, that with the smallest
    |u| counts. x is continued by mirroring. G is a Gaussian: the camera focuses on the scene, not on the glass.

    Attributes:
        count: number of drops.
        smallest, largest: bounds of the radius.
        distance: D.
        blur: standard deviation of G. All four lengths are shares of the image's shorter side.
    """

    count: int
    smallest: float = 0.04
    largest: float = 0.13
    distance: float = 0.5
    blur: float = 0.012

    def __call__(self, x: Picture, rng: np.random.Generator) -> Degraded:
        side = min(x.shape[:2])
        u = self._coordinates(x.shape[0], x.shape[1], rng)
        squared = np.sum(u**2, axis=0)
        inside = squared < 1
        sine = np.sin(_CONTACT_ANGLE)
        slope = np.where(inside, sine * u / np.sqrt(1 - sine**2 * np.minimum(squared, 1)), 0.0)
        displacement = -(_WATER - 1) * self.distance * side * slope
        sigma = (self.blur * side, self.blur * side)
        refracted = scipy.ndimage.gaussian_filter(displaced(x, displacement), (*sigma, 0), mode="mirror")
        alpha = scipy.ndimage.gaussian_filter(inside.astype(np.float64), sigma, mode="mirror")[..., None]
        return Degraded((1 - alpha) * x + alpha * refracted)

    def _coordinates(self, height: int, width: int, rng: np.random.Generator) -> Float64[np.ndarray, "2 H W"]:
        """u of the drop with the smallest |u| at every pixel, (down, right)."""
        side = min(height, width)
        grid = np.indices((height, width))
        nearest = np.full((2, height, width), np.inf)
        for where, size, stretch in zip(*np.split(rng.random((self.count, 4)), [2, 3], axis=1), strict=True):
            centre = where * (height, width) - 0.5
            radius = side * self.smallest * (self.largest / self.smallest) ** size
            axes = radius * (4 / 3) ** (np.array([1, -1]) * (stretch - 0.5))
            u = (grid - centre[:, None, None]) / axes[:, None, None]
            nearest = np.where(np.sum(u**2, axis=0) < np.sum(nearest**2, axis=0), u, nearest)
        return nearest
