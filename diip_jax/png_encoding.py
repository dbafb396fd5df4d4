"""PNG files of 16 bits a channel, which Pillow writes of grey alone, and whether a PNG is whole.

After W3C's specification, third edition.
"""

import struct
import zlib

import numpy as np
from jaxtyping import UInt8, UInt16

XMP_KEYWORD = "XML:com.adobe.xmp"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> grey, grey and alpha, RGB, RGB and alpha


def encoded_16_bits(
    pixels: UInt16[np.ndarray, "H W C"], *, icc: bytes | None, exif: bytes | None, xmp: bytes | None, software: str
) -> bytes:
    """A PNG of 1 to 4 channels, the last of 2 or 4 alpha.

    Args:
        icc: its colour profile; None: it is marked as sRGB.
        exif: with or without the leading `Exif` of a JPEG.
        xmp: a packet, UTF-8.
        software: what its text `Software` says.
    """
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPE[channels], 0, 0, 0)
    colours = _chunk(b"sRGB", b"\0") if icc is None else _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
    facts = b"" if exif is None else _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    text = _chunk(b"tEXt", b"Software\0" + software.encode("latin-1"))
    if xmp is not None:  # uncompressed, as the XMP specification, part 3, asks for; without language and translation
        text += _chunk(b"iTXt", XMP_KEYWORD.encode() + b"\0\0\0\0\0" + xmp)
    data = _chunk(b"IDAT", zlib.compress(_filtered(pixels).tobytes()))
    return PNG_SIGNATURE + _chunk(b"IHDR", header) + colours + facts + text + data + _chunk(b"IEND", b"")


def has_sound_chunks(data: bytes) -> bool:
    """Whether a PNG is there to its last chunk, every chunk with the checksum that it was written with."""
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data) or struct.unpack_from(">I", data, end)[0] != zlib.crc32(data[at + 4 : end]):
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    return False


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _filtered(pixels: UInt16[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "H bytes"]:
    """Rows as the differences to the row above (filter 2, Up), each behind the number of its filter."""
    rows = np.ascontiguousarray(pixels.astype(">u2")).view(np.uint8).reshape(len(pixels), -1)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    return np.hstack([np.full((len(rows), 1), 2, np.uint8), rows - above])
