"""What a degradation operator is, and the two that have nothing to learn."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from diip_jax.array_types import Any, Array, Count, Flag, Image, PRNGKey
from diip_jax.plug import plug


class Guess(NamedTuple):
    """What an operator makes of an observation before anything is optimised.

    Attributes:
        image: `[H, W, C]`.
        settled: whether that is the restored image: the image then takes no iterations.
    """

    image: Image
    settled: Flag


class Operator:
    """H_eta, how a clean image x becomes the observation y: the base of plugs, see `diip_jax.plug`.

    One of one's own defines `__call__`, and what differs from below. Everything is about one image.
    """

    def init(self, key: PRNGKey, image_shape: tuple[int, int, int]) -> Any:
        """The first eta, the operator's unknown parameters: a pytree of float arrays. Here there are none."""
        return ()

    def start(self, key: PRNGKey, image_shape: tuple[int, int, int], y: Array, args: Any) -> Any:
        """The first eta for an observation y; here `init`, which does not look at it."""
        return self.init(key, image_shape)

    def guess(self, eta: Any, y: Array, args: Any) -> Guess | None:
        """An image to begin from, given the first eta; here none."""
        return None

    def first_evaluations(self, eta: Any) -> Count | int:
        """Network evaluations in the `start` that found this eta, of that of `init` the least; here none."""
        return 0

    def __call__(self, eta: Any, x: Image, args: Any) -> Array:
        """The predicted observation of x `[H, W, C]` in [-1, 1]: of y's shape, dtype and range.

        Args:
            args: what is known of this image beside y; the entry of the pytree that `restore` was given.
        """
        raise NotImplementedError(f"{type(self).__name__} has no __call__(eta, x, args)")

    def image_shape(self, y_shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(H, W, C) of the image whose observation has this shape; here the same."""
        height, width, channels = y_shape
        return (height, width, channels)

    def learned(self, eta: Any) -> Any:
        """What of eta goes with an iterate, and is returned; here all of it.

        Of pictures that were found beforehand and stay as they are, no copy has to be kept beside every image.
        """
        return eta

    def estimates(self, eta: Any) -> dict[str, Array]:
        """What eta, or what `learned` leaves of it, stands for, by name, such as "kernel"; here nothing."""
        return {}

    def visible(self, y: Array, args: Any) -> Array:
        """y with NaN where it shows nothing of the image, for stopping rules; here y itself."""
        return y

    def check(self, y: np.ndarray, args: Any) -> None:
        """Raises ValueError where a batch y `[N, ...]` or its args are not what the operator takes; called once."""


class PictureOperator(Operator):
    """An operator whose observations are pictures `[h, w, C]` in [-1, 1] or near.

    Where y lies on the image x: pixel i of y covers the pixels margin + scale * i .. margin + scale * (i + 1) - 1.
    """

    @property
    def scale(self) -> int:
        """Side of the block of x that a pixel of y covers."""
        return 1

    @property
    def margin(self) -> int:
        """Pixels of x beyond each side of y."""
        return 0

    def image_shape(self, y_shape: tuple[int, ...]) -> tuple[int, int, int]:
        height, width, channels = y_shape
        return (self.scale * height + 2 * self.margin, self.scale * width + 2 * self.margin, channels)

    def y_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(h, w, C) of the observation of an image of shape (H, W, C).

        Raises:
            ValueError: there is no such observation.
        """
        height, width, channels = image_shape
        inner = (height - 2 * self.margin, width - 2 * self.margin)
        if min(inner) < self.scale:
            taken = f"boundary='valid' takes {self.margin} px off all sides of {height}x{width}"
            raise ValueError(f"{taken}, which leaves no block of {self.scale}x{self.scale}: use a smaller kernel_size")
        if any(side % self.scale for side in inner):
            raise ValueError(f"scale={self.scale}: expected a divisor of {inner[0]} and {inner[1]}, the image's sides")
        return (inner[0] // self.scale, inner[1] // self.scale, channels)

    def in_colours_of(self, y: Array, x: Image) -> Image:
        """x as y's colour space allows it: of a picture y whose three channels are equal, grey; else x itself.

        The mean of the channels is the grey picture next to x. Where the clean image is grey, which every operator here
        leaves grey, it is never farther from it than x is. An operator that takes colour away returns x.
        """
        if x.shape[-1] != 3 or y.ndim != 3 or y.shape[-1] != 3:
            return x
        grey = jnp.clip(x, -1, 1).mean(-1, keepdims=True)
        return jnp.where((y == y[..., :1]).all(), grey, x)

    def check(self, y: np.ndarray, args: Any) -> None:
        if y.ndim != 4 or not y.size:
            raise ValueError(f"images have shape {y.shape}: expected [N, H, W, C] with at least one image")
        largest = np.abs(y).max()
        if not largest <= 4:
            raise ValueError(f"images hold values up to {largest:g}: expected float in [-1, 1] (or uint8 for 0..255)")


def given(args: Any, name: str) -> Any:
    """The entry of args. Raises ValueError where there is none."""
    if not isinstance(args, dict) or name not in args:
        raise ValueError(f"args has no {name!r}: give restore(..., args={{{name!r}: ...}}), one for each image")
    return args[name]


@plug()
class Identity(PictureOperator):
    """H(x) = x: DIIP for every degradation, BIRD for JPEG (section 3.1)."""

    def __call__(self, eta: Any, x: Image, args: Any) -> Image:
        return x


@plug()
class Mask(PictureOperator):
    """H(x) = m ⊙ x with a known mask m, `args["mask"]` `[h, w]` bool: inpainting. A hidden pixel is 0, mid-range."""

    def __call__(self, eta: Any, x: Image, args: Any) -> Image:
        return jnp.where(given(args, "mask")[..., None], x, 0)

    def visible(self, y: Array, args: Any) -> Array:
        return jnp.where(given(args, "mask")[..., None], y, jnp.nan)

    def check(self, y: np.ndarray, args: Any) -> None:
        super().check(y, args)
        mask = np.asarray(given(args, "mask"))
        if mask.shape != y.shape[:3]:
            raise ValueError(f"mask: shape {mask.shape}, expected {y.shape[:3]}, one of its size for each image")
        if not (mask.dtype == bool and mask.any((1, 2)).all()):
            raise ValueError(f"mask: {mask.dtype}, expected bool, true at one pixel of each image at least")
