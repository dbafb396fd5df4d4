"""How a picture formed, as an animated WebP."""

import io
from collections.abc import Sequence
from math import ceil
from pathlib import Path

from PIL import Image

from diip_jax.images import ImageError, write_bytes

_LEAST_SIDE = 256  # pixels that a frame has at least: small pictures are enlarged, nearest neighbour
_FRAME, _LAST = 80, 1500  # milliseconds


def write_animation(path: Path, frames: Sequence[Path]) -> None:
    """Writes an animation of picture files of one size, without loss; the last one stays for longer.

    Raises:
        ImageError: a frame cannot be read, or the animation not be written.
    """
    pictures = []
    for frame in frames:
        try:
            with Image.open(frame) as opened:
                pictures.append(opened.convert("RGB"))
        except OSError as error:
            raise ImageError(frame, f"cannot be read back ({error}); restore the image again") from error
    factor = ceil(_LEAST_SIDE / min(pictures[0].size))
    width, height = (side * factor for side in pictures[0].size)
    first, *others = (one.resize((width, height), Image.Resampling.NEAREST) for one in pictures)
    buffer = io.BytesIO()
    shown = [_FRAME] * len(others) + [_LAST]
    first.save(buffer, "WEBP", save_all=True, append_images=others, duration=shown, loop=0, lossless=True)
    write_bytes(path, buffer.getvalue())
