"""Files in and out: what a picture becomes, what is said about one that cannot be read, that outputs are whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from picture_files import P3, cmyk_profile, grey_profile, littlecms, p3_profile, png
from PIL import Image, ImageCms

from diip_jax.images import (
    ImageError,
    LoadedImage,
    check_writable,
    find_images,
    fit_to_size,
    placed,
    read_image,
    to_uint8,
    unfit,
    write_image,
    write_json,
    write_text,
)

pytestmark = pytest.mark.filterwarnings("error")
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (5, 7, 3), np.uint8)


def as_float(values):
    return np.asarray(values, np.float32) / np.float32(127.5) - np.float32(1)


def saved(image, path, **options):
    image.save(path, **options)
    return path


def loaded(rgb, alpha=None):
    return LoadedImage(Path("x.png"), np.asarray(rgb, np.float32), alpha, "RGB")


# --- reading --------------------------------------------------------------------------------------------------------


def test_rgb_is_read_exactly_and_to_uint8_gives_every_level_back(tmp_path):
    image = read_image(saved(Image.fromarray(PHOTO), tmp_path / "a.png"))
    assert image.rgb.dtype == np.float32 and image.size == (5, 7) and image.mode == "RGB"
    assert image.alpha is None and image.notes == ()
    np.testing.assert_array_equal(image.rgb, as_float(PHOTO))
    np.testing.assert_array_equal(to_uint8(as_float(np.arange(256))), np.arange(256))


UPRIGHT = {  # EXIF 2.32, table of Orientation, written with NumPy
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_exif_orientation_turns_colours_and_alpha_upright(tmp_path, orientation, suffix):
    stored = np.concatenate([PHOTO, np.arange(1, 36, dtype=np.uint8).reshape(5, 7, 1) * 7], axis=-1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    image = read_image(saved(Image.fromarray(stored), tmp_path / f"a.{suffix}", exif=exif, **options))
    expected = UPRIGHT[orientation](stored)
    np.testing.assert_array_equal(image.rgb, as_float(expected[..., :3]))
    np.testing.assert_array_equal(image.alpha, expected[..., 3].astype(np.float32) / 255)


def test_an_icc_profile_is_converted_as_littlecms_and_colorimetry_say(tmp_path):
    profile = p3_profile()
    image = read_image(saved(Image.fromarray(PHOTO), tmp_path / "a.png", icc_profile=profile))
    np.testing.assert_array_equal(image.rgb, as_float(littlecms(Image.fromarray(PHOTO), profile)))
    assert image.notes == ("converted from the ICC profile 'Test' to sRGB",)
    # From the definitions: linear light, to XYZ (D50), to linear sRGB, its transfer curve.
    srgb_to_xyz = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
    linear = (PHOTO / 255) ** 2.2 @ np.array(list(P3.values())) @ np.linalg.inv(srgb_to_xyz).T
    linear = linear.clip(0, 1)
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose((image.rgb + 1) / 2, expected, atol=2 / 255)
    assert np.abs(image.rgb - as_float(PHOTO)).max() > 0.05


def test_an_srgb_profile_leaves_every_pixel_alone(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = read_image(saved(Image.fromarray(PHOTO), tmp_path / "a.png", icc_profile=srgb))
    np.testing.assert_array_equal(image.rgb, as_float(PHOTO))
    assert image.notes == ()


@pytest.mark.parametrize(
    "profile", [b"not a profile", p3_profile()[:200], grey_profile(1.8)], ids=["rubbish", "cut", "for grey"]
)
def test_a_profile_that_cannot_be_used_is_ignored_and_noted(tmp_path, profile):
    image = read_image(saved(Image.fromarray(PHOTO), tmp_path / "a.png", icc_profile=profile))
    np.testing.assert_array_equal(image.rgb, as_float(PHOTO))
    assert len(image.notes) == 1 and image.notes[0].startswith("ICC profile ignored (")


def test_icc_keeps_alpha(tmp_path):
    stored = np.concatenate([PHOTO, PHOTO[..., :1]], axis=-1)
    image = read_image(saved(Image.fromarray(stored), tmp_path / "a.png", icc_profile=p3_profile()))
    np.testing.assert_array_equal(image.rgb, as_float(littlecms(Image.fromarray(PHOTO), p3_profile())))
    np.testing.assert_array_equal(image.alpha, PHOTO[..., 0].astype(np.float32) / 255)


@pytest.mark.parametrize("profile", [grey_profile(1.8), p3_profile()], ids=["grey profile", "RGB profile"])
def test_icc_of_grey_images_of_8_and_16_bits_agree(tmp_path, profile):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    shallow = read_image(saved(Image.fromarray(levels), tmp_path / "8.png", icc_profile=profile))
    deep = read_image(saved(Image.fromarray(levels.astype(np.uint16) * 257), tmp_path / "16.png", icc_profile=profile))
    source = Image.fromarray(levels)
    if profile == p3_profile():
        source = source.convert("RGB")
    np.testing.assert_array_equal(shallow.rgb, as_float(littlecms(source, profile)))
    np.testing.assert_allclose(deep.rgb, shallow.rgb, atol=1e-6)
    assert np.abs(shallow.rgb[..., 0] - as_float(levels)).max() > 0.01


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_keeps_all_its_levels(tmp_path, suffix):
    values = RNG.integers(0, 65536, (6, 9), np.uint16)
    values[0, :3] = 0, 1, 65535
    image = read_image(saved(Image.fromarray(values), tmp_path / f"a.{suffix}"))
    assert image.mode == "I;16"
    np.testing.assert_allclose(image.rgb, np.repeat((values / 32767.5 - 1)[..., None], 3, -1), atol=1e-7)
    np.testing.assert_array_equal(np.rint((image.rgb[..., 0].astype(np.float64) + 1) * 32767.5), values)


def test_integer_and_float_grey_follow_their_stated_range(tmp_path):
    image = read_image(saved(Image.fromarray(np.array([[0, 20000, 65535]], np.int32)), tmp_path / "i.tif"))
    np.testing.assert_allclose(image.rgb[0, :, 1], [-1, 20000 / 32767.5 - 1, 1], atol=1e-6)
    image = read_image(saved(Image.fromarray(np.array([[0, 0.25, 1]], np.float32)), tmp_path / "f.tif"))
    np.testing.assert_allclose(image.rgb[0, :, 1], [-1, -0.5, 1], atol=1e-6)
    for name, values in {
        "I": np.array([[-5, 70000]], np.int32),
        "F": np.array([[0, 255]], np.float32),
        "nan": np.array([[0, np.nan]], np.float32),
    }.items():
        path = saved(Image.fromarray(values), tmp_path / f"{name}.tif")
        with pytest.raises(ImageError, match=r"holds values from .* to .*, expected 0 to (65535|1); rescale it"):
            read_image(path)


def test_grey_black_and_white_and_palette(tmp_path):
    grey = PHOTO[..., 0]
    image = read_image(saved(Image.fromarray(grey), tmp_path / "l.png"))
    np.testing.assert_array_equal(image.rgb, np.repeat(as_float(grey)[..., None], 3, -1))
    bits = read_image(saved(Image.fromarray(grey > 127), tmp_path / "1.png"))
    assert bits.mode == "1"
    np.testing.assert_array_equal(bits.rgb[..., 2], np.where(grey > 127, 1, -1))
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "L")
    palette = palette.convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image = read_image(saved(palette, tmp_path / "p.png"))
    assert image.mode == "P" and image.alpha is None
    np.testing.assert_array_equal(image.rgb[0], as_float([[10, 20, 30], [40, 50, 60], [70, 80, 90]]))


@pytest.mark.parametrize(("transparency", "alpha"), [(1, [255, 0, 255]), (b"\x00\x80", [0, 128, 255])])
def test_transparency_of_a_palette_becomes_alpha(tmp_path, transparency, alpha):
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "L").convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image = read_image(saved(palette, tmp_path / "p.png", transparency=transparency))
    np.testing.assert_array_equal(image.alpha[0], np.array(alpha, np.float32) / 255)
    np.testing.assert_array_equal(image.rgb[0, 2], as_float([70, 80, 90]))


def test_alpha_of_grey_and_key_colours(tmp_path):
    la = np.stack([PHOTO[..., 0], PHOTO[..., 1]], -1)
    image = read_image(saved(Image.fromarray(la, "LA"), tmp_path / "la.png"))
    assert image.mode == "LA"
    np.testing.assert_array_equal(image.alpha, la[..., 1].astype(np.float32) / 255)
    np.testing.assert_array_equal(image.rgb[..., 0], as_float(la[..., 0]))
    rgb = read_image(saved(Image.fromarray(PHOTO), tmp_path / "rgb.png", transparency=tuple(map(int, PHOTO[2, 3]))))
    deep = np.arange(6, dtype=np.uint16).reshape(2, 3) * 9000
    grey = read_image(saved(Image.fromarray(deep), tmp_path / "16.png", transparency=18000))
    assert rgb.alpha[2, 3] == 0 and rgb.alpha.sum() == 34
    np.testing.assert_array_equal(grey.alpha, [[1, 1, 0], [1, 1, 1]])


def test_cmyk_goes_through_its_profile_or_says_that_it_has_none(tmp_path):
    inks = np.broadcast_to(np.array([0, 60, 200, 120], np.uint8), (16, 16, 4))
    image = Image.fromarray(np.ascontiguousarray(inks), "CMYK")
    with_profile = read_image(saved(image, tmp_path / "a.tif", icc_profile=cmyk_profile()))
    np.testing.assert_array_equal(with_profile.rgb, as_float(littlecms(image, cmyk_profile())))
    assert with_profile.notes == ("converted from the ICC profile 'Test' to sRGB",)
    without = read_image(saved(image, tmp_path / "b.tif"))
    # Pillow's formula: (255 - ink) * (255 - black) / 255
    np.testing.assert_allclose(without.rgb[0, 0], as_float((255 - inks[0, 0, :3]) * (135 / 255)), atol=1 / 127)
    assert without.notes == ("CMYK without a usable ICC profile: converted by the plain formula",)
    jpeg = read_image(saved(image, tmp_path / "c.jpg", quality=100, icc_profile=cmyk_profile()))
    np.testing.assert_allclose(jpeg.rgb, with_profile.rgb, atol=4 / 127)


@pytest.mark.parametrize("suffix", ["gif", "tif"])
def test_the_first_of_several_frames_is_used_and_noted(tmp_path, suffix):
    frames = [Image.new("L", (4, 3), level) for level in (200, 100)]
    image = read_image(saved(frames[0], tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:]))
    np.testing.assert_array_equal(image.rgb, np.full((3, 4, 3), as_float(200)))
    assert image.notes == ("several frames or pages: the first is used",)


# --- errors ---------------------------------------------------------------------------------------------------------


def error_of(call, *arguments):
    with pytest.raises(ImageError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text and text.startswith(str(arguments[0]) + ": ") and ("; " in text)
    return text


def test_each_bad_file_has_its_own_line(tmp_path):
    whole = saved(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)), tmp_path / "whole.png").read_bytes()
    jpeg = saved(Image.fromarray(PHOTO.repeat(9, 0).repeat(9, 1)), tmp_path / "whole.jpg").read_bytes()
    files = {
        "empty.png": b"",
        "text.png": b"hello",
        "cut.png": whole[: len(whole) // 2],
        "cut.jpg": jpeg[:-200],
        "flipped.png": whole[:2000] + bytes(500) + whole[2500:],
        "drawing.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert "no such file" in error_of(read_image, tmp_path / "missing.png")
    assert "is a folder" in error_of(read_image, tmp_path)
    assert "is empty (zero bytes)" in error_of(read_image, tmp_path / "empty.png")
    assert "is not an image of a known format" in error_of(read_image, tmp_path / "text.png")
    assert "is not an image of a known format" in error_of(read_image, tmp_path / "drawing.eps")
    for name in ("cut.png", "cut.jpg", "flipped.png"):
        assert "it is truncated or damaged" in error_of(read_image, tmp_path / name)


@pytest.mark.parametrize("limit", [10, 30])  # far beyond the limit Pillow raises, a little beyond it only warns
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path, monkeypatch, limit):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(7, 5, 8, 2, b"no pixels at all"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert f"has 35 pixels, more than the limit of {limit} " in error_of(read_image, path)


def test_a_file_without_read_permission(tmp_path, monkeypatch):
    path = saved(Image.fromarray(PHOTO), tmp_path / "a.png")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)  # the rights themselves do not bind root
    assert "no permission to read it" in error_of(read_image, path)


def test_find_images_expands_in_order_once_and_reports_what_leads_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("d/b.JPG", "d/a.png", "d/notes.txt", "d/.hidden.png", "d/deep/c.webp", "x[1].png", "raw", "e/no.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    paths, errors = find_images(["raw", "x[1].png", "gone.png", "d", "e", "d/**/*", "./d/a.png", "*.bmp"])
    assert [str(p) for p in paths] == ["raw", "x[1].png", "d/a.png", "d/b.JPG", "d/deep/c.webp"]
    assert [str(e).split(";")[0] for e in errors[:1]] == ["gone.png: no such file or folder"]
    assert str(errors[1]).startswith("e: holds no image file; expected files ending in .apng, .avif")
    assert str(errors[2]).startswith("*.bmp: matches no image file;")
    assert "cannot be looked up (File name too long)" in str(find_images(["x" * 5000])[1][0])


# --- size -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["fit", "crop", "error"])
def test_the_right_size_passes_through_bit_exactly(policy):
    image = loaded(RNG.uniform(-1, 1, (6, 4, 3)), RNG.uniform(0, 1, (6, 4)).astype(np.float32))
    fitted = fit_to_size(image, 6, 4, policy)
    assert fitted.rgb.tobytes() == image.rgb.tobytes() and fitted.alpha.tobytes() == image.alpha.tobytes()
    assert unfit(fitted.rgb, fitted).tobytes() == image.rgb.tobytes()


@pytest.mark.parametrize(
    ("size", "content"),
    [
        ((37, 91), (19, 0, 26, 64)),
        ((91, 37), (0, 19, 64, 26)),
        ((1, 500), (31, 0, 1, 64)),
        ((500, 1), (0, 31, 64, 1)),
        ((1, 1), (0, 0, 64, 64)),
        ((640, 641), (0, 0, 64, 64)),
        ((2, 64), (31, 0, 2, 64)),
        ((5, 3), (0, 13, 64, 38)),
    ],
)
def test_fit_keeps_the_whole_image_and_unfit_returns_it(size, content):
    image = loaded(RNG.uniform(-1, 1, (*size, 3)), np.ones(size, np.float32))
    fitted = fit_to_size(image, 64, 64, "fit")
    assert fitted.content == content and fitted.rgb.shape == (64, 64, 3) and fitted.rgb.dtype == np.float32
    assert np.abs(fitted.rgb).max() <= 1 and (fitted.alpha == 1).all()
    assert unfit(fitted.rgb, fitted).shape == (*content[2:], 3) and unfit(fitted.alpha, fitted).shape == content[2:]


@pytest.mark.parametrize("with_alpha", [False, True])
def test_placed_enlarges_and_adds_a_margin_that_unfit_cuts_off(with_alpha):
    rgb = RNG.uniform(-1, 1, (4, 8, 3)).astype(np.float32)
    alpha = RNG.uniform(0, 1, (4, 8)).astype(np.float32) if with_alpha else None
    fitted = fit_to_size(loaded(rgb, alpha), 8, 8, "fit")
    same = placed(fitted, 1, 0)
    np.testing.assert_array_equal(same.rgb, fitted.rgb)
    assert same.content == fitted.content == (2, 0, 4, 8)
    large = placed(fitted, 2, 3)
    assert large.rgb.shape == (22, 22, 3) and large.content == (7, 3, 8, 16)
    plane = Image.fromarray(np.ascontiguousarray(fitted.rgb[..., 1])).resize((16, 16), Image.Resampling.BICUBIC)
    enlarged = np.asarray(plane).clip(-1, 1)
    if with_alpha:  # weighted by it
        planes = [np.ascontiguousarray(one) for one in (fitted.alpha, (fitted.rgb[..., 1] + 1) * fitted.alpha)]
        weight, mixed = (np.asarray(Image.fromarray(p).resize((16, 16), Image.Resampling.BICUBIC)) for p in planes)
        enlarged = np.where(weight > 1e-3, (mixed / np.maximum(weight, 1e-3) - 1).clip(-1, 1), enlarged)
    np.testing.assert_allclose(unfit(large.rgb, large)[..., 1], enlarged[4:12], atol=1e-6)
    np.testing.assert_allclose(large.rgb[..., 1], np.pad(enlarged, 3, mode="reflect"), atol=1e-6)
    assert (large.alpha is None) == (alpha is None) and (alpha is None or large.alpha.shape == (22, 22))


def test_the_margin_is_a_reflection_then_the_edge():
    image = loaded(np.arange(12).reshape(3, 4, 1).repeat(3, -1) / 12)
    fitted = fit_to_size(image, 9, 4, "fit")
    rows = [0, 2, 2, 2, 1, 0, 1, 2, 1, 0, 0, 0][2:-1]  # 3 above and 3 below: two reflected, one repeated
    np.testing.assert_array_equal(fitted.rgb, image.rgb[rows])
    np.testing.assert_array_equal(unfit(fitted.rgb, fitted), image.rgb)


def test_crop_takes_the_centre_of_the_target_aspect():
    wide = RNG.uniform(-0.5, 0.5, (6, 10, 3))
    np.testing.assert_allclose(fit_to_size(loaded(wide), 6, 4, "crop").rgb, wide[:, 3:7], atol=1e-6)
    # A horizontal ramp: the crop is centred, so its mean is the ramp's and its span that of the region.
    ramp = np.broadcast_to(np.linspace(-0.9, 0.9, 300)[None, :, None], (40, 300, 3))
    fitted = fit_to_size(loaded(ramp), 16, 32, "crop")
    assert fitted.content == (0, 0, 16, 32) and abs(fitted.rgb.mean()) < 1e-4
    np.testing.assert_allclose(fitted.rgb[8, -1, 0] - fitted.rgb[8, 0, 0], 1.8 / 299 * 80 * 31 / 32, rtol=1e-2)


def test_scaling_is_antialiased_and_not_rounded_to_8_bits():
    checks = np.indices((64, 64)).sum(0)[..., None].repeat(3, -1) % 2 * 2.0 - 1
    assert np.abs(fit_to_size(loaded(checks), 16, 16, "fit").rgb[3:-3, 3:-3]).max() < 0.02
    flat = fit_to_size(loaded(np.full((64, 64, 3), 0.001234)), 16, 16, "fit").rgb
    np.testing.assert_allclose(flat, 0.001234, rtol=1e-4)


@pytest.mark.parametrize("policy", ["fit", "crop"])
@pytest.mark.parametrize("hidden", [-1.0, 1.0, 0.3])
def test_what_is_invisible_gives_no_colour(policy, hidden):
    """White on transparent black stays white, at every size, to the rim."""
    seen = np.hypot(*(np.indices((90, 70)) - 40)) < 25
    rgb = np.where(seen[..., None], np.array([1.0, 0.5, -0.2], np.float32), np.float32(hidden))
    image = loaded(rgb, seen.astype(np.float32))
    fitted = fit_to_size(image, 32, 32, policy)
    for scaled in (fitted, placed(fitted, 2, 3)):
        shown = scaled.alpha > 0.01
        assert 0 < shown.mean() < 1
        np.testing.assert_allclose(scaled.rgb[shown], np.broadcast_to([1.0, 0.5, -0.2], (shown.sum(), 3)), atol=0.01)
    opaque = fit_to_size(loaded(rgb, np.ones_like(image.alpha)), 32, 32, policy)
    np.testing.assert_array_equal(opaque.rgb, fit_to_size(loaded(rgb), 32, 32, policy).rgb)
    np.testing.assert_array_equal(fitted.alpha, fit_to_size(loaded(rgb, image.alpha), 32, 32, policy).alpha)


@pytest.mark.parametrize("size", [(5, 7), (16, 16), (1, 1), (16, 3)])
def test_keep_fills_up_at_the_end_and_unfit_returns_the_picture(size):
    rgb = RNG.uniform(-1, 1, (*size, 3)).astype(np.float32)
    alpha = RNG.uniform(0, 1, size).astype(np.float32)
    fitted = fit_to_size(LoadedImage(Path("x"), rgb, alpha, "RGBA"), 16, 16, "keep")
    assert fitted.rgb.shape == (16, 16, 3) and fitted.content == (0, 0, *size)
    np.testing.assert_array_equal(unfit(fitted.rgb, fitted), rgb)
    np.testing.assert_array_equal(unfit(fitted.alpha, fitted), alpha)
    if size == (5, 7):
        np.testing.assert_array_equal(fitted.rgb[5], fitted.rgb[3])  # mirrored about the last row
    with pytest.raises(ValueError, match="picture is 5x7, expected at most 4x16"):
        fit_to_size(LoadedImage(Path("x"), rgb[:1, :1].repeat(5, 0).repeat(7, 1), None, "RGB"), 4, 16, "keep")


def test_wrong_sizes_and_policies_are_refused():
    image = loaded(np.zeros((80, 100, 3)))
    with pytest.raises(ImageError, match=r"^x\.png: is 80x100 \(height x width\), expected 64x64; use --resize=fit"):
        fit_to_size(image, 64, 64, "error")
    with pytest.raises(ValueError, match="resize policy is 'stretch', expected 'fit', 'crop', 'keep' or 'error'"):
        fit_to_size(image, 64, 64, "stretch")
    with pytest.raises(ValueError, match="target size is 0x64"):
        fit_to_size(image, 0, 64, "fit")
    with pytest.raises(ValueError, match=r"values have shape \(3, 3\), expected \(64, 64\)"):
        unfit(np.zeros((3, 3)), fit_to_size(image, 64, 64, "fit"))


# --- writing --------------------------------------------------------------------------------------------------------


def test_to_uint8_rounds_half_to_even_and_clips():
    np.testing.assert_array_equal(to_uint8(np.array([-5.0, 5.0])), [0, 255])
    np.testing.assert_array_equal(to_uint8(np.array([0.0])), [128])  # 127.5 goes to the even neighbour
    np.testing.assert_array_equal(to_uint8(as_float(np.array([99.7, 100.3]))), [100, 100])
    with pytest.raises(ValueError, match="NaN or infinity"):
        to_uint8(np.array([np.nan]))
    with pytest.raises(ValueError, match="dtype int64, expected uint8 or float"):
        to_uint8(np.array([1, 2]))


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7)])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_what_is_written_is_read_back_and_marked_srgb(tmp_path, shape, with_alpha):
    pixels = RNG.integers(0, 256, shape, np.uint8)
    alpha = RNG.integers(0, 256, shape[:2], np.uint8) if with_alpha else None
    for name, rgb, a in (
        ("u.png", pixels, alpha),
        ("f.png", as_float(pixels), None if alpha is None else alpha.astype(np.float32) / 255),
    ):
        write_image(tmp_path / name, rgb, a)
        image = read_image(tmp_path / name)
        expected = pixels if pixels.ndim == 3 else pixels[..., None].repeat(3, -1)
        np.testing.assert_array_equal(image.rgb, as_float(expected))
        np.testing.assert_array_equal(image.alpha, alpha if alpha is None else alpha.astype(np.float32) / 255)
        with Image.open(tmp_path / name) as png_file:
            assert "srgb" in png_file.info


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7)])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_16_bits_are_written_and_read_back(tmp_path, shape, with_alpha):
    values = RNG.integers(0, 65536, shape)
    alpha = RNG.integers(0, 65536, shape[:2]) / 65535 if with_alpha else None
    write_image(tmp_path / "a.png", values / 32767.5 - 1, alpha, bits=16)
    image = read_image(tmp_path / "a.png")
    expected = values if values.ndim == 3 else values[..., None]
    np.testing.assert_allclose(image.rgb, np.broadcast_to(expected / 32767.5 - 1, (5, 7, 3)), atol=1e-7)
    assert image.bits == 16 and image.grey == (values.ndim == 2)
    assert (image.alpha is None) == (alpha is None)
    if with_alpha:
        np.testing.assert_allclose(image.alpha, alpha, atol=1e-6)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_profile_and_facts_are_written(tmp_path, bits):
    exif = Image.Exif()
    exif[0x0110] = "camera"
    facts = {"exif": exif.tobytes(), "xmp": "<x>é</x>".encode()}
    write_image(tmp_path / "a.png", as_float(PHOTO), bits=bits, icc=p3_profile(), **facts)
    with Image.open(tmp_path / "a.png") as file:
        assert file.info["icc_profile"] == p3_profile() and "srgb" not in file.info
        assert file.getexif()[0x0110] == "camera" and file.info["xmp"] == facts["xmp"]
    # Colours that sRGB has come back, but for the rounding in the profile's space.
    assert np.abs(read_image(tmp_path / "a.png").rgb - as_float(PHOTO)).mean() < 1 / 127.5
    write_image(tmp_path / "b.png", as_float(PHOTO), bits=bits, icc=cmyk_profile())
    with Image.open(tmp_path / "b.png") as file:
        assert "icc_profile" not in file.info and "srgb" in file.info


def test_write_image_refuses_what_is_not_an_image(tmp_path):
    for shape in ((2, 5, 7, 3), (5, 7, 4), (0, 7, 3), (5,)):
        with pytest.raises(ValueError, match=r"expected \[H, W, 3\] or \[H, W\]"):
            write_image(tmp_path / "a.png", np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=r"alpha has shape \(5, 6\), expected \(5, 7\)"):
        write_image(tmp_path / "a.png", PHOTO, np.ones((5, 6)))
    assert "end the name in .png" in error_of(write_image, tmp_path / "a.jpg", PHOTO)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["os.fsync", "os.replace"])
@pytest.mark.parametrize("crash", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize(("write", "value"), [(write_image, PHOTO), (write_text, "new"), (write_json, {"new": 1})])
def test_a_crash_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, crash, write, value):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(*_):
        raise crash

    monkeypatch.setattr(step, fail)
    with pytest.raises(ImageError if isinstance(crash, OSError) else KeyboardInterrupt) as caught:
        write(path, value)
    if isinstance(crash, OSError):
        assert str(caught.value).startswith(f"{path}: cannot be written (No space left on device); ")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_write_text_and_a_missing_folder(tmp_path):
    write_text(tmp_path / "a.txt", "ä\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa4\n"
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode  # not private to the user
    assert "cannot be written (No such file" in error_of(write_text, tmp_path / "none" / "a.txt", "")


def test_json_is_strict_and_float32_stays_short(tmp_path):
    trace = np.array([0.1, np.nan, 1e-9, np.inf, 16777217.0, 1 / 3], np.float32)
    value = {
        "trace": trace,
        "k": np.int64(3),
        "ok": np.bool_(True),
        "path": tmp_path,
        "nested": {"nan": float("nan")},
        "pair": (1, 2.5),
        "scalar": np.float32(0.0015),
        "empty": {},
        "name": "ä",
        "none": None,
    }
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    back = json.loads(text, parse_constant=refuse)
    assert back == {
        "trace": [0.1, None, 1e-9, None, 16777216.0, 0.33333334],
        "k": 3,
        "ok": True,
        "path": str(tmp_path),
        "nested": {"nan": None},
        "pair": [1, 2.5],
        "scalar": 0.0015,
        "empty": {},
        "name": "ä",
        "none": None,
    }
    finite = np.isfinite(trace)
    np.testing.assert_array_equal(np.array([v for v in back["trace"] if v is not None], np.float32), trace[finite])
    assert '  "trace": [0.1, null, 1e-09' in text  # a trace is one line
    with pytest.raises(TypeError):
        write_json(tmp_path / "b.json", {"a": {1, 2}})
    assert not (tmp_path / "b.json").exists()


def test_a_name_that_is_no_utf_8_is_written_and_read_back(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    write_json(tmp_path / "a.json", {"file": name, name: Path(name)})
    back = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert back == {"file": name, name: name} and os.fsencode(back["file"]) == b"caf\xe9.png"
    write_text(tmp_path / "a.txt", name)
    assert (tmp_path / "a.txt").read_bytes() == rb"caf\udce9.png"
    assert str(ImageError(tmp_path / name, "is bad")) == rf"{tmp_path}/caf\xe9.png: is bad"


def test_check_writable_creates_the_folder_or_says_why_not(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    assert "outputs cannot be written here (File exists)" in error_of(check_writable, tmp_path / "file")
    assert "(Not a directory)" in error_of(check_writable, tmp_path / "file" / "x")


def test_importing_loads_nothing_heavy():
    code = (
        "import sys, diip_jax; before = set(sys.modules); import diip_jax.images, diip_jax.report; "
        "print([m for m in ('jax', 'torch', 'matplotlib') if m in set(sys.modules) - before])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
