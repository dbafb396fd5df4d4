"""Image files to float RGB in [-1, 1]: orientation, colour profile, alpha and bit depth are settled here, once."""

import contextlib
import dataclasses
import io
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from diip_jax.image_files import EXTENSIONS, FORMATS, ImageError, find_images, left_out, readable_formats, reason
from diip_jax.image_repair import completed_jpeg
from diip_jax.image_samples import GAP, LARGE, RangeError, Source, open_source
from diip_jax.picture_facts import kept_exif, kept_xmp

__all__ = [
    "EXTENSIONS",
    "ImageError",
    "LoadedImage",
    "decode_image",
    "find_images",
    "left_out",
    "read_image",
    "reason",
]

_STRIP = 4_000_000  # pixels that are there in every intermediate form at once


@dataclass(frozen=True)
class LoadedImage:
    """One image as read: upright, in sRGB.

    Attributes:
        rgb: float32 `[h, w, 3]` in [-1, 1], not premultiplied.
        alpha: float32 `[h, w]` in [0, 1], None where the file has none.
        mode: Pillow's mode of the file ("RGB", "P", "I;16", ...).
        notes: what reading changed or ignored.
        scale: pixels of the file along a side of a pixel of `rgb`; above 1 where a large picture was reduced.
        full_size: (H, W) of the upright picture in the file; None for that of `rgb`.
        grey: whether the file has one channel of colour.
        bits: of a channel that `rgb` holds, 8 or 16.
        icc: the profile that the colours came through, where it was usable.
        exif, xmp: what the file says of the picture, see `diip_jax.picture_facts`; None where it says nothing.
    """

    path: Path
    rgb: NDArray[np.float32]
    alpha: NDArray[np.float32] | None
    mode: str
    notes: tuple[str, ...] = ()
    scale: int = 1
    full_size: tuple[int, int] | None = None
    grey: bool = False
    bits: int = 8
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the upright image in the file."""
        return self.full_size or (self.rgb.shape[0], self.rgb.shape[1])


def read_image(path: str | os.PathLike[str], reduced_to: tuple[int, int] | None = None) -> LoadedImage:
    """Read the first frame of an image file: upright, in sRGB, float32 in [-1, 1] (see `LoadedImage`).

    - 8-bit value v is v / 127.5 - 1, one of 16 bits v / 32767.5 - 1; modes I and F must hold 0..65535 and 0..1. What
      the format says of them comes first: white as 0, 12 bits, gamma. What is said and not followed is noted.
    - An embedded ICC profile is converted to sRGB by LittleCMS (relative colorimetric, black point compensation). One
      that is sRGB within 1/255 is left alone, so such files are read bit-exactly; a broken one is ignored, noted.
    - CMYK without a usable profile goes through Pillow's plain formula, noted.
    - A JPEG that lacks only its end is read, noted.

    Args:
        reduced_to: (H, W) that the picture is to become: one of very many pixels is then read at a reduced size, which
            is still several times as large.

    Not thread-safe: it collects Pillow's warnings into the notes through `warnings.catch_warnings`.

    Raises:
        ImageError: missing file, folder, no access, empty, not an image, truncated, more than
            `PIL.Image.MAX_IMAGE_PIXELS` pixels (found before decoding), more than the memory holds, values outside
            their range.
    """
    path = Path(path)
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with _image_errors(path):
            if path.exists() and not path.is_file():
                kind = "a folder" if path.is_dir() else "not a regular file"
                raise ImageError(path, f"is {kind}; give an image file")
            with path.open("rb") as file:
                image = _decode(path, file, reduced_to, notes)
    notes += [f"Pillow: {' '.join(str(warning.message).split())}" for warning in caught]
    return dataclasses.replace(image, notes=tuple(notes))


def longest_side(path: str | os.PathLike[str]) -> int:
    """In pixels, as the file's header says; 0 of what is no picture, which `read_image` tells of."""
    try:
        with Image.open(path, formats=readable_formats()) as image:
            return max(image.size)
    except Exception:  # Pillow raises anything on damaged data
        return 0


def decode_image(file: io.BufferedIOBase, name: str | os.PathLike[str]) -> LoadedImage:
    """`read_image` of an open file that can seek, for threads: what Pillow warns of goes where warnings go.

    A caller turns `PIL.Image.DecompressionBombWarning` into an error, once for the whole process.
    """
    notes: list[str] = []
    with _image_errors(name):
        image = _decode(Path(name), file, None, notes)
    return dataclasses.replace(image, notes=tuple(notes))


@contextlib.contextmanager
def _image_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever goes wrong inside while an image is read becomes an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(path, "no such file; check the path") from error
    except PermissionError as error:
        raise ImageError(path, "no permission to read it; change its access rights") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            path,
            f"is not an image of a known format ({', '.join(FORMATS)}), or its header is damaged; convert it to PNG",
        ) from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        pixels = re.search(r"\d+", str(error))
        raise ImageError(
            path,
            f"has {pixels[0] if pixels else 'too many'} pixels, more than the limit of {Image.MAX_IMAGE_PIXELS} (a "
            "decompression bomb?); make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS",
        ) from error
    except MemoryError as error:
        raise ImageError(path, "is too large: its pixels do not fit into the free memory; make it smaller") from error
    except (_EmptyError, RangeError) as error:
        raise ImageError(path, str(error)) from error
    except Exception as error:  # Pillow's decoders raise anything from SyntaxError to struct.error on damaged data
        raise ImageError(
            path,
            f"cannot be decoded ({reason(error)}); it is truncated or damaged, get a whole copy of it or convert it to "
            "PNG",
        ) from error


class _EmptyError(ValueError):
    """No byte at all."""


def _decode(path: Path, file: io.BufferedIOBase, reduced_to: tuple[int, int] | None, notes: list[str]) -> LoadedImage:
    """The first frame of an open file."""
    if not file.read(1):
        raise _EmptyError("is empty (zero bytes); get a whole copy of it")
    file.seek(0)
    try:
        source = open_source(file, reduced_to, notes)
    except OSError as error:
        if "truncated" not in str(error):
            raise
        file.seek(0)
        completed, lost = completed_jpeg(file.read())
        if completed is None:
            raise
        del notes[:]
        source = open_source(io.BytesIO(completed), reduced_to, notes)
        notes.append(f"the end of the file is missing, and with it {lost:.1%} of the picture")
    height, width = source.size
    factor = 1
    if reduced_to is not None and height * width > LARGE:
        factor = max(1, min(height // (GAP * reduced_to[0]), width // (GAP * reduced_to[1])))
    scale = factor * round(max(source.full_size) / max(source.size))
    if scale > 1:
        notes.append(f"read at a reduced size, {scale} pixels to one along each side")
    rgb, alpha = _reduced(source, factor)
    return LoadedImage(
        path,
        rgb,
        alpha,
        source.mode,
        scale=scale,
        full_size=source.full_size,
        grey=source.grey,
        bits=source.bits,
        icc=source.icc,
        exif=kept_exif(source.exif),
        xmp=kept_xmp(source.xmp) if source.xmp else None,
    )


def _reduced(source: Source, factor: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Means of blocks of factor x factor pixels, what is cut off at the end the mean of what is there."""
    height, width = source.size
    strip = factor * max(1, _STRIP // (factor * width))
    colours: list[NDArray[np.float32]] = []
    alphas: list[NDArray[np.float32]] = []
    for top in range(0, height, strip):
        rgb, alpha = source.rows(top, min(top + strip, height))
        if factor > 1 and alpha is not None:  # what is invisible has no colour to give
            weight = _block_means(alpha, factor)
            mixed = _block_means((rgb + 1) * alpha[..., None], factor) / np.maximum(weight, 1e-6)[..., None] - 1
            rgb, alpha = np.where(weight[..., None] > 0, mixed, _block_means(rgb, factor)), weight
        elif factor > 1:
            rgb = _block_means(rgb, factor)
        colours.append(rgb.astype(np.float32, copy=False))
        if alpha is not None:
            alphas.append(alpha)
    return _whole(colours), _whole(alphas) if alphas else None


def _whole(strips: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return strips[0] if len(strips) == 1 else np.concatenate(strips)


def _block_means(values: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    for axis in (0, 1):
        begins = np.arange(0, values.shape[axis], factor)
        counts = np.diff([*begins, values.shape[axis]]).astype(np.float32)
        shape = [-1 if n == axis else 1 for n in range(values.ndim)]
        values = (np.add.reduceat(values, begins, axis=axis) / counts.reshape(shape)).astype(np.float32, copy=False)
    return values
