"""Blur by one kernel: Gaussian, anisotropic Gaussian, and the motion of a camera."""

import dataclasses

import numpy as np
import scipy
from jaxtyping import Complex128, Float64

from diip_jax.degradations.degraded import Degraded, Picture

_CUT = 4  # Gaussian kernels end at this many standard deviations.

# T, and the length 60 of the trajectory, are those of Boracchi and Foi's released code.
_POSITIONS, _LENGTH = 2000, 60.0


@dataclasses.dataclass(frozen=True)
class GaussianBlur:
    """y = k * x, k[j] ~ exp(-|j|^2 / (2 sigma^2)), cut at 4 sigma.

    Attributes:
        sigma: pixels.
    """

    sigma: float

    def __call__(self, x: Picture, rng: np.random.Generator) -> Degraded:
        return blurred(x, gaussian_kernel(self.sigma, self.sigma, 0.0))


@dataclasses.dataclass(frozen=True)
class AnisotropicBlur:
    """y = k * x, k[j] ~ exp(-(a^2 / sigma_long^2 + b^2 / sigma_short^2) / 2), cut at 4 sigma_long.

    (a, b) are the coordinates of j along axes turned by an angle that is uniform in [0, pi).

    Attributes:
        sigma_long, sigma_short: pixels.
    """

    sigma_long: float
    sigma_short: float

    def __call__(self, x: Picture, rng: np.random.Generator) -> Degraded:
        return blurred(x, gaussian_kernel(self.sigma_long, self.sigma_short, rng.uniform(0, np.pi)))


@dataclasses.dataclass(frozen=True)
class MotionBlur:
    """y = k * x, k[j] the share of the exposure that a shaking camera spends at j.

    A random trajectory of Boracchi and Foi, "Modeling the Performance of Image Restoration from Motion Blur" (IEEE
    TIP 21(8), 2012): a particle p that moves with constant speed D = 60 / (T - 1) and changes direction at random,

        v[t+1] = D w / |w|,  w = v[t] + 2 b[t] v[t] e^{i (pi + u[t])} + A D (S (n[t] + i m[t]) - C p[t]),
        p[t+1] = p[t] + v[t+1],  p[0] = 0,  |v[0]| = A (D where A = 0),  t = 0 .. T - 1,  T = 2000,

    A the anxiety, n and m standard normal, u uniform in [-1/2, 1/2), and b[t] = 1 with probability A R, else 0: the
    abrupt turns. The direction of v[0], the inertia C ~ U(0, 0.7), the rate R ~ U(0, 0.2) and the shake S ~ U(0, 10)
    are drawn once. The trajectory is moved and scaled so that its mean lies at the kernel's centre and its farthest
    coordinate on the centre of an outermost pixel; each position is shared linearly among the four nearest pixels.

    Attributes:
        size: side K of the kernel in pixels, odd.
        anxiety: how much the camera shakes: 0 is a straight line, 0.01 a tangle.
    """

    size: int
    anxiety: float = 0.003

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % 2 == 0:
            raise ValueError(f"motion blur of {self.size} px: a kernel has an odd number of pixels, 1 or more")

    def __call__(self, x: Picture, rng: np.random.Generator) -> Degraded:
        return blurred(x, trajectory_kernel(camera_trajectory(self.anxiety, rng), self.size))


def blurred(x: Picture, kernel: Float64[np.ndarray, "K K"]) -> Degraded:
    """k * x as `Degraded` defines it, every channel by the same kernel."""
    return Degraded(scipy.ndimage.convolve(x, kernel[..., None], mode="mirror"), kernel)


def gaussian_kernel(sigma_a: float, sigma_b: float, angle: float) -> Float64[np.ndarray, "K K"]:
    """A Gaussian of standard deviations sigma_a and sigma_b (pixels), of sum 1.

    Args:
        angle: radians, from the rows' direction (x, to the right) to that of sigma_a, counted downwards.
    """
    radius = int(_CUT * max(sigma_a, sigma_b) + 0.5)
    row, column = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    a = column * np.cos(angle) + row * np.sin(angle)
    b = row * np.cos(angle) - column * np.sin(angle)
    kernel = np.exp(-(a**2) / (2 * sigma_a**2) - b**2 / (2 * sigma_b**2))
    return kernel / kernel.sum()


def camera_trajectory(anxiety: float, rng: np.random.Generator) -> Complex128[np.ndarray, " T"]:
    """Where a shaking camera points at T = 2000 equidistant times, as complex numbers in arbitrary units.

    The particle p of `MotionBlur`.
    """
    step = _LENGTH / (_POSITIONS - 1)
    inertia, turns, shake = rng.uniform(0, (0.7, 0.2, 10))
    velocity = (anxiety or step) * np.exp(2j * np.pi * rng.random())
    turned = rng.random(_POSITIONS - 1) < anxiety * turns
    turn = 2 * turned * np.exp(1j * (np.pi + rng.random(_POSITIONS - 1) - 0.5))
    push = shake * (rng.standard_normal(_POSITIONS - 1) + 1j * rng.standard_normal(_POSITIONS - 1))
    positions = np.zeros(_POSITIONS, np.complex128)
    for t in range(_POSITIONS - 1):
        velocity += turn[t] * velocity + anxiety * step * (push[t] - inertia * positions[t])
        velocity *= step / abs(velocity)
        positions[t + 1] = positions[t] + velocity
    return positions


def trajectory_kernel(positions: Complex128[np.ndarray, " T"], size: int) -> Float64[np.ndarray, "K K"]:
    """The kernel `[size, size]` of a trajectory, whose mean is the centre and whose farthest point lies on the edge."""
    radius = size // 2
    from_mean = positions - positions.mean()
    centred = np.stack([from_mean.imag, from_mean.real])
    placed = radius + centred * (radius / np.abs(centred).max())
    kernel = np.zeros((size + 1, size + 1))  # One more row and column: the right neighbours of points on the edge.
    corner = np.floor(placed).astype(int)
    rest = placed - corner
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - rest[0]) * np.abs(1 - right - rest[1])
            np.add.at(kernel, (corner[0] + down, corner[1] + right), weight)
    return kernel[:size, :size] / kernel.sum()
