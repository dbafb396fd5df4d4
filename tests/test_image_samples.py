"""Sample values are tones only after the format's rules."""

import io
import struct

import numpy as np
import pytest
import tifffile
from picture_files import grey_profile, p3_profile, png, png_16
from PIL import Image

from diip_jax.image_reading import ImageError, read_image

RNG = np.random.default_rng(0)


def values_of(*shape):
    values = RNG.integers(0, 65536, shape, np.uint16)
    values.reshape(-1)[:3] = 0, 1, 65535
    return values


def as_float(values, white=65535):
    return np.asarray(values, np.float64) / white * 2 - 1


def tiff(path, values, **options):
    tifffile.imwrite(path, values, **options)
    return path


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_of_every_kind_of_png_are_kept(tmp_path, channels):
    values = values_of(5, 7, channels)
    (tmp_path / "a.png").write_bytes(png_16(values))
    image = read_image(tmp_path / "a.png")
    assert (image.bits, image.grey, image.notes) == (16, channels < 3, ())
    colours = values[..., : 1 if channels < 3 else 3]
    np.testing.assert_allclose(image.rgb, np.broadcast_to(as_float(colours), (5, 7, 3)), atol=1e-7)
    if channels in (2, 4):
        np.testing.assert_allclose(image.alpha, values[..., -1] / 65535, atol=1e-7)
    else:
        assert image.alpha is None


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_of_tiff_are_kept(tmp_path, byteorder, compression, channels):
    values = values_of(5, 7, channels)
    options = {"photometric": "rgb" if channels > 1 else "minisblack"}
    if channels == 4:
        options["extrasamples"] = ["unassalpha"]
    given = values if channels > 1 else values[..., 0]
    image = read_image(tiff(tmp_path / "a.tif", given, byteorder=byteorder, compression=compression, **options))
    assert image.bits == 16 and image.notes == ()
    np.testing.assert_allclose(image.rgb, np.broadcast_to(as_float(values[..., :3]), (5, 7, 3)), atol=1e-7)
    assert (image.alpha is None) == (channels < 4)
    if channels == 4:
        np.testing.assert_allclose(image.alpha, values[..., 3] / 65535, atol=1e-7)


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_16_bits_are_turned_upright(tmp_path, orientation):
    values = values_of(5, 7, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a.png").write_bytes(png_16(values, (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))))
    upright = {1: values, 3: values[::-1, ::-1], 6: np.rot90(values, -1), 7: values[::-1, ::-1].swapaxes(0, 1)}
    image = read_image(tmp_path / "a.png")
    np.testing.assert_allclose(image.rgb, as_float(upright[orientation]), atol=1e-7)
    assert image.size == image.rgb.shape[:2]


@pytest.mark.parametrize(
    ("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)], ids=["8", "16", "float"]
)
@pytest.mark.parametrize("byteorder", "<>")
def test_where_white_is_zero_the_picture_is_no_negative(tmp_path, dtype, white, byteorder):
    if dtype == np.uint16 and byteorder == ">":
        pytest.skip("Pillow does not open it")
    values = (RNG.random((6, 9)) * white).astype(dtype)
    path = tiff(tmp_path / "a.tif", values, photometric="miniswhite", byteorder=byteorder)
    np.testing.assert_allclose(read_image(path).rgb[..., 1], -as_float(values, white), atol=1e-6)


def test_12_bits_are_not_16(tmp_path):
    """Two values in three bytes; Pillow unpacks them to 0..4095."""
    values = np.array([[0, 4095], [2048, 1]], np.uint16)
    packed = b"".join(struct.pack(">I", int(a) << 12 | int(b))[1:] for a, b in values)
    entries = [
        (256, 3, 2),
        (257, 3, 2),
        (258, 3, 12),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 134),
        (277, 3, 1),
        (278, 3, 2),
    ]
    entries.append((279, 4, len(packed)))
    body = b"".join(struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in entries)
    data = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + body + bytes(4)
    data += bytes(134 - len(data)) + packed
    (tmp_path / "a.tif").write_bytes(data)
    np.testing.assert_allclose(read_image(tmp_path / "a.tif").rgb[..., 0], as_float(values, 4095), atol=1e-6)


def test_few_of_the_levels_in_use_are_noted(tmp_path):
    Image.fromarray(np.array([[0, 4095]], np.uint16)).save(tmp_path / "a.png")
    [note] = read_image(tmp_path / "a.png").notes
    assert note == "its values reach 4095 of 65535: dark; rescale it if it has fewer bits than it says"
    Image.fromarray(np.array([[0, 9000]], np.uint16)).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png").notes == ()


@pytest.mark.parametrize("maximum", [255, 1023, 65535])
def test_the_largest_value_of_a_pgm_is_white(tmp_path, maximum):
    values = np.array([[0, maximum // 3, maximum]], ">u2" if maximum > 255 else np.uint8)
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 %d\n" % maximum + values.tobytes())
    np.testing.assert_allclose(
        read_image(tmp_path / "a.pgm").rgb[0, :, 0], as_float([0, 1, 3], 3)[[0, 1, 2]], atol=2e-3
    )


def test_planes_of_16_bits_are_refused(tmp_path):
    path = tiff(tmp_path / "a.tif", values_of(3, 5, 7), photometric="rgb", planarconfig="separate")
    with pytest.raises(ImageError, match="plane by plane with 16 bits, which Pillow misreads; save it interleaved"):
        read_image(path)


@pytest.mark.parametrize(("bits", "key"), [(1, 1), (2, 2), (4, 9), (8, 200), (16, 40000)])
def test_the_key_colour_of_grey_is_found_at_every_depth(tmp_path, bits, key):
    levels = np.arange(2**bits if bits < 8 else 16) if bits < 16 else np.array([0, 40000, 40001, 65535])
    if bits == 8:
        levels = np.array([0, 199, 200, 255])
    packed = np.unpackbits(levels.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, 16 - bits :]
    rows = b"\0" + np.packbits(packed.reshape(-1)).tobytes()
    (tmp_path / "a.png").write_bytes(png(len(levels), 1, bits, 0, rows, (b"tRNS", struct.pack(">H", key))))
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image.alpha[0], levels != key)
    np.testing.assert_allclose(image.rgb[0, :, 0], as_float(levels, 2**bits - 1), atol=1e-6)


def test_the_key_colour_of_16_bit_rgb_is_found(tmp_path):
    values = values_of(4, 5, 3)
    (tmp_path / "a.png").write_bytes(png_16(values, (b"tRNS", values[2, 3].astype(">u2").tobytes())))
    alpha = read_image(tmp_path / "a.png").alpha
    assert alpha[2, 3] == 0 and alpha.sum() == 19


def test_a_profile_takes_colours_of_16_bits_to_8_and_says_so(tmp_path):
    Image.new("RGB", (1, 1)).save(buffer := io.BytesIO(), "PNG", icc_profile=p3_profile())
    values = values_of(5, 7, 3)
    profile = buffer.getvalue()
    at = profile.index(b"iCCP")
    length = struct.unpack(">I", profile[at - 4 : at])[0]
    (tmp_path / "a.png").write_bytes(png_16(values, (b"iCCP", profile[at + 4 : at + 4 + length])))
    image = read_image(tmp_path / "a.png")
    assert image.bits == 8 and "16 bits a channel, reduced to 8 to convert the colours" in image.notes
    eight = (values >> 8).astype(np.uint8)
    Image.fromarray(eight).save(tmp_path / "b.png", icc_profile=p3_profile())
    np.testing.assert_array_equal(image.rgb, read_image(tmp_path / "b.png").rgb)


def test_a_grey_profile_keeps_16_bits_of_grey(tmp_path):
    Image.fromarray(values_of(6, 9)).save(tmp_path / "a.png", icc_profile=grey_profile(1.8))
    image = read_image(tmp_path / "a.png")
    assert image.bits == 16 and len(np.unique(image.rgb)) > 40
