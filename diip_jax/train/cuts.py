"""From a picture to an image of the network's size: what is always done to it, and what is done at random."""

import dataclasses

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diip_jax.image_reading import ImageError, LoadedImage
from diip_jax.images import fit_to_size
from diip_jax.pixels import to_uint8

_REC_601 = np.array([0.299, 0.587, 0.114], np.float32)

Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Cut:
    """How an image `[size, size, channels]` is cut out of a picture.

    Attributes:
        size: in pixels; at least as many must be there.
        channels: 3, or 1 for Rec. 601 grey.
        crop: (left, top, right, bottom) in pixels of the picture: what lies outside is cut away first; None for all.
        random_crop: a square of that size anywhere in the picture, instead of its largest centred square scaled down.
        scales: with random_crop, the picture is scaled by one of these first, each as likely as the others where
            enough of the picture is left; at most 1.
        flips: mirrored in one of two cases.
        turns: turned by 0, 90, 180 or 270 degrees, each as likely as the others.
    """

    size: int
    channels: int = 3
    crop: tuple[int, int, int, int] | None = None
    random_crop: bool = False
    scales: tuple[float, ...] = (1.0,)
    flips: bool = True
    turns: bool = False

    def __post_init__(self) -> None:
        if self.crop is not None and not (0 <= self.crop[0] < self.crop[2] and 0 <= self.crop[1] < self.crop[3]):
            given = ",".join(map(str, self.crop))
            raise ValueError(f"crop={given}: expected left,top,right,bottom with 0 <= left < right, 0 <= top < bottom")
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            raise ValueError(f"scales={','.join(map(str, self.scales))}: expected numbers above 0, at most 1")
        if self.scales != (1.0,) and not self.random_crop:
            raise ValueError("scales: has no effect without random_crop; leave it out, or cut at random")

    def prepared(self, picture: LoadedImage, name: str) -> Pixels:
        """What is the same each time: cropped, and scaled unless it is cut at random.

        Raises:
            ImageError: the picture is too small.
        """
        if self.crop is not None:
            left, top, right, bottom = self.crop
            height, width = picture.size
            if right > width or bottom > height:
                raise ImageError(name, f"is {height}x{width} (height x width): --crop reaches beyond it")
            picture = dataclasses.replace(picture, rgb=picture.rgb[top:bottom, left:right], alpha=None)
        height, width = picture.size
        if min(height, width) < self.size:
            raise ImageError(name, f"is {height}x{width} (height x width): smaller than --image_size={self.size}")
        rgb = picture.rgb
        if not self.random_crop:
            rgb = fit_to_size(dataclasses.replace(picture, alpha=None), self.size, self.size, "crop").rgb
        return to_uint8(rgb if self.channels == 3 else (rgb @ _REC_601)[..., None])

    def at_random(self, prepared: Pixels, rng: np.random.Generator) -> Pixels:
        """One of the images that can be cut out of a prepared picture."""
        image = self._random_square(prepared, rng) if self.random_crop else prepared
        if self.flips and rng.random() < 0.5:
            image = image[:, ::-1]
        if self.turns:
            image = np.rot90(image, int(rng.integers(4)))
        return np.ascontiguousarray(image)

    def centred(self, prepared: Pixels) -> Pixels:
        """The image in the middle of a prepared picture, neither scaled nor mirrored nor turned."""
        height, width = prepared.shape[:2]
        top, left = (height - self.size) // 2, (width - self.size) // 2
        return prepared[top : top + self.size, left : left + self.size]

    def _random_square(self, prepared: Pixels, rng: np.random.Generator) -> Pixels:
        height, width = prepared.shape[:2]
        sides = [max(self.size, round(self.size / scale)) for scale in self.scales]
        # Where no scale leaves enough, the picture is large enough at its own: `prepared` has seen to that.
        possible = [side for side in sides if side <= min(height, width)] or [self.size]
        side = possible[rng.integers(len(possible))]
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        square = prepared[top : top + side, left : left + side]
        if side == self.size:
            return square
        planes = [Image.fromarray(np.ascontiguousarray(square[..., c])) for c in range(square.shape[2])]
        scaled = (plane.resize((self.size, self.size), Image.Resampling.LANCZOS) for plane in planes)
        return np.stack([np.asarray(plane) for plane in scaled], axis=-1)
