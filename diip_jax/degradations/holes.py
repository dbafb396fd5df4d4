"""Missing parts, whose place is known: inpainting."""

import dataclasses

import numpy as np

from diip_jax.degradations.degraded import Degraded, Picture


@dataclasses.dataclass(frozen=True)
class CentreHole:
    """y = m ⊙ x, m = 0 on a centred square.

    BIRD's released code cuts out 80 x 80 of 256 x 256 pixels.

    Attributes:
        side: of the square, as a share of the image's shorter side.
    """

    side: float

    def __call__(self, x: Picture, rng: np.random.Generator) -> Degraded:
        height, width, _ = x.shape
        side = _side(self.side, x)
        top, left = (height - side) // 2, (width - side) // 2
        return _without(x, [(top, left, side)])


@dataclasses.dataclass(frozen=True)
class RandomHoles:
    """y = m ⊙ x, m = 0 on squares at random places, uniform over all that lie within the image.

    Attributes:
        count: number of squares; they may overlap.
        side: of each square, as a share of the image's shorter side.
    """

    count: int
    side: float

    def __call__(self, x: Picture, rng: np.random.Generator) -> Degraded:
        side = _side(self.side, x)
        places = rng.integers(0, (x.shape[0] - side, x.shape[1] - side), (self.count, 2), endpoint=True)
        return _without(x, [(top, left, side) for top, left in places.tolist()])


def _side(share: float, x: Picture) -> int:
    return max(1, round(share * min(x.shape[:2])))


def _without(x: Picture, squares: list[tuple[int, int, int]]) -> Degraded:
    mask = np.ones(x.shape[:2], bool)
    for top, left, side in squares:
        mask[top : top + side, left : left + side] = False
    return Degraded(np.where(mask[..., None], x, 0.0), mask=mask)
