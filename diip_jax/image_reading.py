"""Image files to float RGB in [-1, 1]: orientation, colour profile, alpha and bit depth are settled here, once.

What Pillow cannot do: it has no RGB mode deeper than 8 bits, so 16-bit RGB files lose their low byte (in PNG and TIFF
this is noted in `LoadedImage.notes`; 16-bit grey keeps its precision), and the key colour that stands for transparency
in 16-bit RGB and 2- and 4-bit grey PNGs is not found, so these come out opaque.
"""

import contextlib
import glob
import io
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from diip_jax.pixels import from_uint8

# Only decoders of plain raster formats: Pillow would hand an EPS file to Ghostscript, which runs programs.
FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm"),
    "JPEG2000": (".jp2",),
    "AVIF": (".avif",),
    "TGA": (".tga",),
}
EXTENSIONS = frozenset(extension for extensions in FORMATS.values() for extension in extensions)

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DEEP_GREY = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I", "F"})
_PROFILE_SPACE = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}


class ImageError(ValueError):
    """One line for the user: which path, what is wrong with it, what to do."""

    def __init__(self, path: str | os.PathLike[str], problem: str):
        super().__init__(f"{os.fspath(path)}: {' '.join(problem.split())}")


@dataclass(frozen=True)
class LoadedImage:
    """One image as read: upright, in sRGB.

    rgb: float32 [H, W, 3] in [-1, 1], not premultiplied. alpha: float32 [H, W] in [0, 1], None where the file has none.
    mode: Pillow's mode of the file ("RGB", "P", "I;16", ...). notes: what reading changed or ignored.
    """

    path: Path
    rgb: NDArray[np.float32]
    alpha: NDArray[np.float32] | None
    mode: str
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the upright image."""
        return self.rgb.shape[0], self.rgb.shape[1]


def find_images(patterns: Sequence[str | os.PathLike[str]]) -> tuple[list[Path], list[ImageError]]:
    """Expand files, folders and globs (`**` too) to image paths, in the order given, each once.

    A file is taken whatever its name; a folder gives the files with an image extension directly in it, sorted; a glob
    gives those it matches, sorted. Hidden files are taken only when named. Returns (paths, errors): an item that leads
    to nothing becomes an `ImageError` in `errors` and does not stop the others.
    """
    paths: dict[str, Path] = {}  # by absolute path, so that `a.png` and `./a.png` are one
    errors: list[ImageError] = []
    for pattern in patterns:
        try:
            found = _expand(Path(pattern).expanduser())
        except ImageError as error:
            errors.append(error)
        except (OSError, RuntimeError) as error:  # RuntimeError: no home directory for `~name`
            errors.append(ImageError(pattern, f"cannot be looked up ({reason(error)}); check the path and its rights"))
        else:
            for path in found:
                paths.setdefault(os.path.abspath(path), path)
    return list(paths.values()), errors


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        candidates = sorted(path.iterdir())
    elif path.exists():  # before the glob: a file may be called `photo[1].png`
        return [path]
    elif glob.has_magic(str(path)):
        candidates = sorted(map(Path, glob.glob(str(path), recursive=True)))
    else:
        raise ImageError(path, "no such file or folder; check the path")
    found = [p for p in candidates if p.suffix.lower() in EXTENSIONS and not p.name.startswith(".") and p.is_file()]
    if not found:
        what = "holds" if path.is_dir() else "matches"
        raise ImageError(path, f"{what} no image file; expected files ending in {', '.join(sorted(EXTENSIONS))}")
    return found


def read_image(path: str | os.PathLike[str]) -> LoadedImage:
    """Read the first frame of an image file: upright, in sRGB, float32 in [-1, 1] (see `LoadedImage`).

    - 8-bit value v is v / 127.5 - 1; 16-bit grey is v / 32767.5 - 1; modes I and F must hold 0..65535 and 0..1.
    - An embedded ICC profile is converted to sRGB by LittleCMS (relative colorimetric, black point compensation). One
      that is sRGB within 1/255 is left alone, so such files are read bit-exactly; a broken one is ignored, noted.
    - CMYK without a usable profile goes through Pillow's plain formula, noted.

    Not thread-safe: it collects Pillow's warnings into the notes through `warnings.catch_warnings`.
    Raises ImageError: missing file, folder, no access, empty, not an image, truncated, more than
    `PIL.Image.MAX_IMAGE_PIXELS` pixels (found before decoding), I or F values outside their range.
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
                mode, rgb, alpha = _decode(file, notes)
    notes += [f"Pillow: {' '.join(str(warning.message).split())}" for warning in caught]
    return LoadedImage(path, rgb, alpha, mode, tuple(notes))


def decode_image(file: io.BufferedIOBase, name: str | os.PathLike[str]) -> LoadedImage:
    """`read_image` of an open file that can seek, for threads: what Pillow warns of goes where warnings go.

    A caller turns `PIL.Image.DecompressionBombWarning` into an error, once for the whole process.
    """
    notes: list[str] = []
    with _image_errors(name):
        mode, rgb, alpha = _decode(file, notes)
    return LoadedImage(Path(name), rgb, alpha, mode, tuple(notes))


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
    except (_EmptyError, _RangeError) as error:
        raise ImageError(path, str(error)) from error
    except Exception as error:  # Pillow's decoders raise anything from SyntaxError to struct.error on damaged data
        raise ImageError(
            path,
            f"cannot be decoded ({reason(error)}); it is truncated or damaged, get a whole copy of it or convert it to "
            "PNG",
        ) from error


class _EmptyError(ValueError):
    """No byte at all."""


class _RangeError(ValueError):
    """Pixel values whose black and white are not known."""


def _decode(file: io.BufferedIOBase, notes: list[str]) -> tuple[str, NDArray[np.float32], NDArray[np.float32] | None]:
    """Mode, rgb in [-1, 1] and alpha of the first frame of an open file."""
    if not file.read(1):
        raise _EmptyError("is empty (zero bytes); get a whole copy of it")
    file.seek(0)
    Image.init()
    with Image.open(cast(IO[bytes], file), formats=[name for name in FORMATS if name in Image.OPEN]) as image:
        mode = image.mode
        if getattr(image, "is_animated", False):
            notes.append("several frames or pages: the first is used")
        if mode not in _DEEP_GREY and any(";16" in str(tile.args) for tile in image.tile):
            notes.append("16 bits a channel, reduced to 8 by Pillow")
        image.load()
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)  # after load(): Pillow turns TIFF files upright itself
        upright = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
        icc = image.info.get("icc_profile")
        if mode in _DEEP_GREY:
            rgb, alpha = _deep_grey(upright, icc, notes)
        else:
            colour, alpha = _split_alpha(upright)
            rgb = from_uint8(np.asarray(_to_srgb(colour, icc, notes)))
    return mode, rgb, alpha


def _split_alpha(image: Image.Image) -> tuple[Image.Image, NDArray[np.float32] | None]:
    """The colours as L, RGB or CMYK, and alpha in [0, 1], also where it is a palette entry or a key colour."""
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        image = image.convert("LA" if grey else "RGBA")
        alpha = np.asarray(image.getchannel("A"), np.float32) / 255.0
    else:
        alpha = None
    if image.mode != "CMYK":
        image = image.convert("L" if grey else "RGB")
    return image, alpha


def _deep_grey(
    image: Image.Image, icc: bytes | None, notes: list[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """16-bit, integer and float grey to rgb in [-1, 1], without passing through 8 bits."""
    values = np.asarray(image)
    white = 1.0 if image.mode == "F" else 65535.0
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= white):  # also true for NaN
        raise _RangeError(
            f"mode {image.mode} holds values from {low:g} to {high:g}, expected 0 to {white:g}; "
            "rescale it, or save it as 16-bit grey"
        )
    key = image.info.get("transparency")
    alpha = None if key is None else (values != key).astype(np.float32)
    # float64 up to here: 65535 levels in float32 steps of 2^-24 are then rounded once.
    levels = values.astype(np.float64) / white * 255.0
    # LittleCMS writes 8 bits only. Its curve at 256 levels, interpolated, keeps the levels in between apart.
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    curve = np.asarray(_to_srgb(ramp, icc, notes), np.float64)[0]
    rgb = np.stack([np.interp(levels, np.arange(256), curve[:, c]) for c in range(3)], axis=-1)
    return (rgb / 127.5 - 1.0).astype(np.float32), alpha


def _to_srgb(colour: Image.Image, icc: bytes | None, notes: list[str]) -> Image.Image:
    """An L, RGB or CMYK image to sRGB, through its ICC profile where that is usable."""
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            name = ImageCms.getProfileDescription(profile).strip() or "unnamed"
            space = profile.profile.xcolor_space.strip()
            if colour.mode == "L" and space == "RGB":  # grey saved by an RGB workflow
                colour = colour.convert("RGB")
            if space != _PROFILE_SPACE[colour.mode]:
                raise ImageCms.PyCMSError(f"a profile for {space} in a {colour.mode} image")
            transform = ImageCms.buildTransform(
                profile,
                ImageCms.createProfile("sRGB"),
                colour.mode,
                "RGB",
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            if _changes_nothing(transform, colour.mode):
                return colour.convert("RGB")
            converted = transform.apply(colour)
            notes.append(f"converted from the ICC profile {name!r} to sRGB")
            return converted
        except (ImageCms.PyCMSError, OSError) as error:
            notes.append(f"ICC profile ignored ({reason(error)}): the colours are taken as sRGB")
    if colour.mode == "CMYK":
        notes.append("CMYK without a usable ICC profile: converted by the plain formula")
    return colour.convert("RGB")


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """True if the profile is sRGB within LittleCMS's own rounding, measured on a grid of colours."""
    if mode == "CMYK":
        return False
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    probe = Image.fromarray(grid if mode == "RGB" else np.arange(256, dtype=np.uint8)[None])
    before, after = (np.asarray(i, np.int16) for i in (probe.convert("RGB"), transform.apply(probe)))
    return bool(np.abs(before - after).max() <= 1)


def reason(error: Exception) -> str:
    """What an exception says, without the path that OSError repeats."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
