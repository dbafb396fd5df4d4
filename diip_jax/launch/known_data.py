"""What a user knows of the degradation, from files: a mask for each image, a kernel for all."""

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from diip_jax.images import ImageError, LoadedImage, fit_to_size, read_image
from diip_jax.launch.plan import KernelFile, file_sha256

# Of the range -1 (black) to 1 (white): above it a pixel of a mask is white. Where a mask was scaled, pixels on the rim
# of what is hidden lie between.
_WHITE = 0.9


def read_kernel(path: Path) -> KernelFile:
    """A kernel from an .npy file of a square array, or from a square picture (black is 0), divided by its sum.

    Raises:
        ImageError: the file cannot be read, is not square, of even size, or holds a negative value or only zeros.
    """
    if path.suffix.lower() == ".npy":
        try:
            values = np.load(path, allow_pickle=False).astype(np.float64)
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ImageError(path, f"holds no array of numbers that can be read ({error})") from error
    else:
        values = (read_image(path).rgb.mean(axis=-1, dtype=np.float64) + 1) / 2
    if values.ndim != 2 or values.shape[0] != values.shape[1] or values.shape[0] % 2 == 0:
        size = "x".join(map(str, values.shape))
        raise ImageError(path, f"is {size}, expected a square kernel of odd size; pad it with zeros (black)")
    if not np.isfinite(values).all() or values.min() < 0 or not values.any():
        raise ImageError(path, "holds negative values or only zeros, expected a blur kernel: values of at least 0")
    return KernelFile(path, (values / values.sum()).astype(np.float32), file_sha256(path))


def read_mask(path: Path, image: LoadedImage, height: int, width: int, resize: str) -> Bool[np.ndarray, "h w"]:
    """The mask of an image, brought to [height, width] like the image itself: true where it is white and opaque.

    Raises:
        ImageError: the file cannot be read, has not the image's size, or is white nowhere or everywhere.
    """
    mask = read_image(path, (height, width))
    if mask.size != image.size:
        ours, theirs = ("x".join(map(str, size)) for size in (mask.size, image.size))
        raise ImageError(path, f"is {ours} (height x width), expected {theirs}, the size of {image.path}")
    if mask.alpha is not None:  # on black: a mask may be drawn by its transparency alone
        opaque = (mask.rgb + 1) * mask.alpha[..., None] - 1
        mask = dataclasses.replace(mask, rgb=opaque, alpha=None)
    shown = fit_to_size(mask, height, width, resize).rgb.mean(axis=-1) > _WHITE
    if not shown.any():
        raise ImageError(path, f"is white nowhere, which hides all of {image.path}; white is what is known")
    if shown.all():
        raise ImageError(path, f"is white everywhere, which hides nothing of {image.path}; black is what is unknown")
    return shown
