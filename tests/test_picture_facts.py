"""What goes with a picture, and what does not."""

import io

import numpy as np
import pytest
from PIL import Image

from diip_jax.image_reading import read_image
from diip_jax.picture_facts import kept_exif

DATE, GPS_LATITUDE = 0x9003, 2


def exif_of(**more):
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112], exif[0x0131] = "Maker", "Camera", 6, "Editor"
    exif[0x8769] = {DATE: "2020:01:02 03:04:05", 0xA002: 4000, 0xA003: 3000, 0x927C: b"secret addresses", 0xA001: 2}
    exif[0x8825] = {1: "N", GPS_LATITUDE: (1.0, 2.0, 3.0)}
    return exif


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_date_camera_and_place_are_kept_and_what_is_of_the_old_file_is_not(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    given = Image.Exif()
    given.load(exif_of().tobytes())
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(path, exif=given)
    image = read_image(path)
    assert image.size == (8, 6)
    kept = Image.Exif()
    kept.load(image.exif)
    assert kept[0x0110] == "Camera" and kept[0x010F] == "Maker"
    assert set(kept) <= {0x010F, 0x0110, 0x8769, 0x8825}
    assert kept.get_ifd(0x8769) == {DATE: "2020:01:02 03:04:05"}
    assert kept.get_ifd(0x8825)[GPS_LATITUDE] == (1.0, 2.0, 3.0)


def test_nothing_said_is_nothing_kept():
    assert kept_exif(Image.Exif()) is None
    only = Image.Exif()
    only[0x0112] = 6
    assert kept_exif(only) is None


def test_damaged_facts_are_left_out(tmp_path):
    Image.new("RGB", (4, 4)).save(buffer := io.BytesIO(), "JPEG", exif=exif_of())
    data = bytearray(buffer.getvalue())
    at = data.index(b"Exif\0\0") + 6
    for begin in range(at, at + 200, 5):
        damaged = bytearray(data)
        damaged[begin : begin + 5] = b"\xff" * 5
        (tmp_path / "a.jpg").write_bytes(damaged)
        image = read_image(tmp_path / "a.jpg")
        assert image.exif is None or isinstance(image.exif, bytes)
