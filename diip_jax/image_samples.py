"""What the sample values of a file stand for: bit depth, which end is white, gamma, ICC profile and transparency.

An open file becomes a `Source`, which gives rows of the upright picture as float32 in sRGB, so that a large one need
never be there as a whole in float.

RGB of 16 bits: Pillow has no such mode, but unpacks either byte of each value, in two readings.
"""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from diip_jax.image_colours import Tone, tone_of
from diip_jax.image_files import readable_formats
from diip_jax.pixels import from_uint8

Floats = NDArray[np.float32]

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
_SIDEWAYS = tuple(_UPRIGHT[orientation] for orientation in (5, 6, 7, 8))
# Pixels beyond which a picture that is to become small is reduced while it is read: 300 MB as float RGB.
LARGE = 25_000_000
GAP = 4  # how many times as large as asked for it is kept: what is left is scaled by a good filter
_DEEP_GREY = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I", "F"})
_GREY = frozenset({"1", "L", "LA", "La"})
# Raw modes of 16 bits that Pillow reduces to their upper byte, and those that give the lower one.
_LOWER = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA", "RGBX")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
}
_LA_16 = "LA;16B"
_PNG_KEY = {"L;2": 85, "L;4": 17}  # PNG raw mode -> what Pillow has multiplied the values, not the key, by
_PHOTOMETRIC, _BITS, _PLANAR, _TRANSFER = 262, 258, 284, 301
_WHITE_IS_ZERO, _PLANE_BY_PLANE = 0, 2


class RangeError(ValueError):
    """Pixel values whose black and white are not known."""


Rows = Callable[[int, int], tuple[Floats, Floats | None]]


@dataclass(frozen=True)
class Source:
    """An open picture, upright.

    Attributes:
        mode: Pillow's mode of the file.
        size: (H, W).
        full_size: that of the picture in the file, where it was decoded at a reduced one.
        rows: of rows `top` to `bottom` the colours, float32 `[h, W, 3]` in [-1, 1], and alpha `[h, W]` in [0, 1] or
            None.
        grey: whether the file has one channel of colour.
        bits: 16 where that many are kept of a channel, else 8.
        icc: the profile that the colours were converted from, or that is as good as sRGB; None where none was usable.
        exif: what the file says of the picture; its orientation is undone.
        xmp: likewise; empty where it says nothing so.
    """

    mode: str
    size: tuple[int, int]
    full_size: tuple[int, int]
    rows: Rows
    grey: bool
    bits: int
    icc: bytes | None
    exif: Image.Exif
    xmp: bytes


def open_source(file: io.BufferedIOBase, reduced_to: tuple[int, int] | None, notes: list[str]) -> Source:
    """The first picture of a file, decoded.

    Args:
        reduced_to: (H, W) that it needs to have at least, whichever way it lies, where the format can be decoded at a
            reduced size (JPEG); None: its own size.
        notes: gets what reading changed or ignored.

    Raises:
        RangeError: integers or floats whose black and white are not known.
        Exception: whatever Pillow raises on damaged data.
    """
    image = Image.open(cast(IO[bytes], file), formats=readable_formats())
    mode = image.mode
    if getattr(image, "is_animated", False):
        notes.append("several frames or pages: the first is used")
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if tags.get(_PLANAR) == _PLANE_BY_PLANE and max(np.atleast_1d(tags.get(_BITS, 8))) > 8:
        raise RangeError("holds its channels plane by plane with 16 bits, which Pillow misreads; save it interleaved")
    full_size = image.height, image.width
    if reduced_to is not None and image.format == "JPEG" and image.width * image.height > LARGE:
        # Where it is turned, what a block of pixels lacks at the edge would come to lie at the beginning.
        if image.getexif().get(_ORIENTATION_TAG, 1) not in _UPRIGHT:
            image.draft("", (GAP * max(reduced_to), GAP * max(reduced_to)))
    upper, lower = _bytes_of_16_bits(file, image, notes)
    exif = image.getexif()
    turn = _UPRIGHT.get(exif.get(_ORIENTATION_TAG, 1))  # after load(): Pillow turns TIFF files upright itself
    if turn is not None:
        upper, lower = upper.transpose(turn), None if lower is None else lower.transpose(turn)
    tone = tone_of(file, image, tags, exif, notes)
    if mode in _DEEP_GREY:
        rows, bits = _deep_grey(upper, tags, tone, notes), 16
    elif lower is not None and tone.exact:
        rows, bits = _deep_colour(upper, lower, image.info.get("transparency"), tone), 16
    else:
        if lower is not None:
            notes.append("16 bits a channel, reduced to 8 to convert the colours")
        rows, bits = _shallow(upper, tone), 8
    grey = mode in _GREY or mode in _DEEP_GREY or upper.mode in _GREY
    if turn in _SIDEWAYS:
        full_size = full_size[::-1]
    packet = image.info.get("xmp", b"")
    xmp = packet if isinstance(packet, bytes) else b""
    return Source(mode, (upper.height, upper.width), full_size, rows, grey, bits, tone.icc, exif, xmp)


def _bytes_of_16_bits(
    file: io.BufferedIOBase, image: ImageFile.ImageFile, notes: list[str]
) -> tuple[Image.Image, Image.Image | None]:
    """The picture, loaded, and where it is a colour picture of 16 bits one of the lower bytes."""
    raw = {_raw_mode(tile.args) for tile in image.tile}
    if len(raw) == 1 and isinstance(image.info.get("transparency"), int) and image.format == "PNG":
        image.info["transparency"] *= _PNG_KEY.get(next(iter(raw)), 1)
    if image.mode in _DEEP_GREY or not any(";16" in name for name in raw):
        image.load()
        return image, None
    if raw == {_LA_16}:  # Pillow has no such mode, but takes its four bytes for those of RGBA
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]
        image.load()
        bands = image.split()
        return Image.merge("LA", bands[::2]), Image.merge("LA", bands[1::2])
    image.load()
    if not raw <= set(_LOWER):
        notes.append("16 bits a channel, reduced to 8 by Pillow")
        return image, None
    file.seek(0)
    lower: ImageFile.ImageFile = Image.open(cast(IO[bytes], file), formats=[str(image.format)])
    lower.tile = [tile._replace(args=_of_lower(tile.args)) for tile in lower.tile]
    lower.load()
    return image, lower


def _raw_mode(args: Any) -> str:
    return args if isinstance(args, str) else str(next(iter(args or ()), ""))


def _of_lower(args: Any) -> Any:
    return _LOWER[args] if isinstance(args, str) else (_LOWER[args[0]], *args[1:])


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Floats | None]:
    """The colours as L, RGB, CMYK or LAB, and alpha in [0, 1], also where it is a palette entry or a key colour."""
    grey = image.mode in _GREY
    if image.has_transparency_data:
        image = image.convert("LA" if grey else "RGBA")
        alpha = np.asarray(image.getchannel("A"), np.float32) / 255.0
    else:
        alpha = None
    if image.mode not in ("CMYK", "LAB"):
        image = image.convert("L" if grey else "RGB")
    return image, alpha


def _strip(image: Image.Image, top: int, bottom: int) -> Image.Image:
    return image if (top, bottom) == (0, image.height) else image.crop((0, top, image.width, bottom))


def _shallow(image: Image.Image, tone: Tone) -> Rows:
    def rows(top: int, bottom: int) -> tuple[Floats, Floats | None]:
        colour, alpha = _split_alpha(_strip(image, top, bottom))
        return tone.of(from_uint8(np.asarray(tone.to_srgb(colour)))), alpha

    return rows


def _deep_colour(upper: Image.Image, lower: Image.Image, key: Any, tone: Tone) -> Rows:
    """16 bits of every channel, where no profile is in the way: LittleCMS takes 8 bits from Pillow."""

    def rows(top: int, bottom: int) -> tuple[Floats, Floats | None]:
        high, low = (np.asarray(_strip(image, top, bottom), np.uint16) for image in (upper, lower))
        values = 256 * high + low
        colours = 1 if upper.mode == "LA" else 3
        alpha = None
        if values.shape[-1] > colours:
            alpha = (values[..., -1] / np.float32(65535)).astype(np.float32)
        elif isinstance(key, tuple):
            alpha = (values != np.array(key, np.uint16)).any(-1).astype(np.float32)
        rgb = (values[..., :colours] / 32767.5 - 1).astype(np.float32)
        return tone.of(np.repeat(rgb, 3, -1) if colours == 1 else rgb), alpha

    return rows


def _deep_grey(image: Image.Image, tags: Any, tone: Tone, notes: list[str]) -> Rows:
    """16-bit, integer and float grey, without passing through 8 bits.

    LittleCMS writes 8 bits only: its curve at 256 levels, interpolated, keeps the levels in between apart.
    """
    bits = tags.get(_BITS, 16)
    bits = bits[0] if isinstance(bits, tuple) else bits
    white = 1.0 if image.mode == "F" else 2.0 ** min(bits, 16) - 1
    height = image.height
    strips = [(top, min(top + 256, height)) for top in range(0, height, 256)]
    ends = [(part.min(), part.max()) for part in (np.asarray(_strip(image, *strip)) for strip in strips)]
    low, high = np.min(ends), np.max(ends)  # NaN wherever one is
    if not (low >= 0 and high <= white):
        raise RangeError(
            f"mode {image.mode} holds values from {low:g} to {high:g}, expected 0 to {white:g}; "
            "rescale it, or save it as 16-bit grey"
        )
    if 0 < high <= white / 15 and image.mode != "F":
        notes.append(f"its values reach {high:g} of {white:g}: dark; rescale it if it has fewer bits than it says")
    key, inverted = image.info.get("transparency"), tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    ramp = np.asarray(tone.to_srgb(Image.fromarray(np.arange(256, dtype=np.uint8)[None])), np.float64)[0]

    def rows(top: int, bottom: int) -> tuple[Floats, Floats | None]:
        values = np.asarray(_strip(image, top, bottom))
        alpha = None if key is None else (values != key).astype(np.float32)
        # float64 up to here: 65535 levels in float32 steps of 2^-24 are then rounded once.
        levels = values.astype(np.float64) / white * 255.0
        levels = 255.0 - levels if inverted else levels
        grey = [np.interp(levels, np.arange(256), ramp[:, c]) for c in range(3 if np.ptp(ramp, -1).any() else 1)]
        rgb = (np.stack(grey, axis=-1) / 127.5 - 1.0).astype(np.float32)
        return tone.of(np.broadcast_to(rgb, (*values.shape, 3))), alpha

    return rows
