"""16-bit PNG against another reader's bytes: a decoder of 16 bits written out here."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from diip_jax.png_encoding import encoded_16_bits, has_sound_chunks

RNG = np.random.default_rng(0)


def chunks(data):
    at, found = 8, []
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(name + body)
        found.append((name, body))
        at += 12 + length
    return found


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_value_is_there(channels):
    values = RNG.integers(0, 65536, (6, 9, channels), np.uint16)
    data = encoded_16_bits(values, icc=None, exif=None, xmp=None, software="x")
    parts = dict(chunks(data))
    assert parts[b"IHDR"] == struct.pack(">IIBBBBB", 9, 6, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(6, -1)
    assert (rows[:, 0] == 2).all()
    plain = np.cumsum(rows[:, 1:].astype(np.int64), axis=0).astype(np.uint8)  # the filter Up, undone
    np.testing.assert_array_equal(np.ascontiguousarray(plain).view(">u2").reshape(6, 9, channels), values)
    Image.open(io.BytesIO(data)).load()  # Pillow accepts it


def test_profile_facts_and_text():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0110] = "camera"
    data = encoded_16_bits(
        np.zeros((1, 1, 3), np.uint16), icc=srgb, exif=exif.tobytes(), xmp="<x>é</x>".encode(), software="me"
    )
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.info["icc_profile"] == srgb and image.info["Software"] == "me" and image.getexif()[0x0110] == "camera"
    assert [name for name, _ in chunks(data)] == [b"IHDR", b"iCCP", b"eXIf", b"tEXt", b"iTXt", b"IDAT", b"IEND"]
    assert image.info["xmp"] == "<x>é</x>".encode()
    plain = encoded_16_bits(np.zeros((1, 1, 3), np.uint16), icc=None, exif=None, xmp=None, software="me")
    assert [name for name, _ in chunks(plain)] == [b"IHDR", b"sRGB", b"tEXt", b"IDAT", b"IEND"]


def test_a_png_is_whole_or_not():
    data = encoded_16_bits(np.arange(60, dtype=np.uint16).reshape(4, 5, 3), icc=None, exif=None, xmp=None, software="x")
    assert has_sound_chunks(data) and has_sound_chunks(data + b"more")
    assert not any(has_sound_chunks(data[:length]) for length in range(8, len(data)))
    for at in range(8, len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1
        assert not has_sound_chunks(bytes(damaged)), at
