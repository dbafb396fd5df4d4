"""Colours to sRGB and back: what a file says is followed, or noted."""

import struct

import numpy as np
import pytest
from picture_files import cmyk_profile, grey_profile, littlecms, p3_profile, png
from PIL import Image, ImageCms

from diip_jax.image_colours import from_srgb, is_srgb
from diip_jax.image_reading import read_image

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (5, 7, 3), np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def as_float(values):
    return np.asarray(values, np.float32) / np.float32(127.5) - np.float32(1)


def photo(path, *chunks):
    rows = b"".join(b"\0" + row.tobytes() for row in PHOTO)
    path.write_bytes(png(7, 5, 8, 2, rows, *chunks))
    return path


def gamma(value):
    return b"gAMA", struct.pack(">I", round(value * 100000))


@pytest.mark.parametrize("value", [1.0, 0.5, 1 / 1.8])
def test_gamma_of_a_png_is_followed_and_noted(tmp_path, value):
    image = read_image(photo(tmp_path / "a.png", gamma(value)))
    light = (PHOTO / 255) ** (1 / value)
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose((image.rgb + 1) / 2, expected, atol=2e-5)
    assert image.notes == (f"converted from gamma {round(value, 5):g} to sRGB",)


@pytest.mark.parametrize(
    "chunks",
    [
        [gamma(1 / 2.2)],
        [(b"sRGB", b"\0"), gamma(1.0)],
        [(b"cICP", bytes((1, 13, 0, 1))), gamma(1.0)],
        [(b"cICP", bytes((1, 13, 0, 1))), (b"sRGB", b"\0")],
    ],
)
def test_what_says_srgb_leaves_every_pixel_alone(tmp_path, chunks):
    image = read_image(photo(tmp_path / "a.png", *chunks))
    np.testing.assert_array_equal(image.rgb, as_float(PHOTO))
    assert image.notes == ()


PRIMARIES = (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046)  # BT.2020


@pytest.mark.parametrize(
    ("chunk", "says"),
    [
        ((b"cICP", bytes((9, 16, 0, 1))), "cICP says colours (9, 16, 0, 1), which are not converted"),
        ((b"cHRM", struct.pack(">8I", *(round(v * 1e5) for v in PRIMARIES))), "its primaries (cHRM) are not read"),
    ],
)
def test_what_is_not_followed_is_noted(tmp_path, chunk, says):
    image = read_image(photo(tmp_path / "a.png", chunk))
    np.testing.assert_array_equal(image.rgb, as_float(PHOTO))
    [note] = image.notes
    assert note.startswith(says) and "taken as sRGB" in note


def test_adobe_rgb_by_exif_alone_is_noted(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 2
    exif[0x8769] = {0xA001: 2}
    Image.fromarray(PHOTO).save(tmp_path / "a.png", exif=exif)
    [note] = read_image(tmp_path / "a.png").notes
    assert note.startswith("EXIF says Adobe RGB")


def test_lab_is_converted(tmp_path):
    lab = np.zeros((4, 4, 3), np.uint8)
    lab[..., 0] = 200
    Image.fromarray(lab, "LAB").save(tmp_path / "a.tif")
    rgb = read_image(tmp_path / "a.tif").rgb
    assert np.ptp(rgb, -1).max() < 0.02 and 0.4 < rgb.mean() < 0.8  # a neutral light grey


@pytest.mark.parametrize("profile", [p3_profile(), SRGB], ids=["P3", "sRGB"])
def test_grey_of_an_rgb_profile_is_grey(tmp_path, profile):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for image in (Image.fromarray(levels), Image.fromarray(levels[..., None].repeat(3, -1))):
        image.save(tmp_path / "a.png", icc_profile=profile)
        assert np.ptp(read_image(tmp_path / "a.png").rgb, -1).max() == 0


@pytest.mark.parametrize("seed", range(4))
def test_to_a_profile_and_back(seed):
    """Of colours that sRGB has, within the rounding of 8 bits."""
    rgb = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    there = from_srgb(Image.fromarray(rgb), p3_profile())
    assert np.abs(np.asarray(there, int) - rgb).max() > 5
    assert np.abs(littlecms(there, p3_profile()).astype(int) - rgb).mean() < 1.5


def test_grey_to_profiles():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    grey = from_srgb(Image.fromarray(levels), grey_profile(1.8))
    assert grey.mode == "L"
    assert np.abs(littlecms(grey, grey_profile(1.8)).astype(int)[..., 0] - levels)[8:].max() <= 2
    coloured = from_srgb(Image.fromarray(levels), p3_profile())
    assert coloured.mode == "RGB" and np.ptp(np.asarray(coloured, int), -1).max() == 0


def test_a_profile_that_is_as_good_as_srgb_changes_nothing():
    assert is_srgb(SRGB) and not is_srgb(p3_profile())
    np.testing.assert_array_equal(np.asarray(from_srgb(Image.fromarray(PHOTO), SRGB)), PHOTO)


@pytest.mark.parametrize("profile", [b"rubbish", cmyk_profile(), grey_profile(1.8), p3_profile()[:200]])
def test_where_no_way_leads_back_there_is_none(profile):
    assert from_srgb(Image.fromarray(PHOTO), profile) is None
