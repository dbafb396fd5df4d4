"""Large pictures for small results: memory, and what stays the same."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diip_jax import image_reading, image_samples
from diip_jax.image_reading import ImageError, read_image
from diip_jax.images import fit_to_size
from diip_jax.pixels import to_uint8, to_uint16

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def small_is_large(monkeypatch):
    """Reduction as of very large pictures, from 2000 pixels on, in strips of few rows."""
    monkeypatch.setattr(image_samples, "LARGE", 2000)
    monkeypatch.setattr(image_reading, "LARGE", 2000)
    monkeypatch.setattr(image_reading, "_STRIP", 1000)


def smooth(mode, size=(301, 203), seed=0):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (9, 9, 4), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    if mode == "I;16":
        return Image.fromarray(np.asarray(small.convert("L"), np.uint16) * 257)
    return small.convert(mode)


def close(ours, theirs):
    """Means of blocks, and a filter of what is left, against the filter of the whole."""
    difference = np.abs(ours - theirs)
    assert difference.mean() < 0.015 and difference.max() < 0.12


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "1", "CMYK", "I;16"])
@pytest.mark.parametrize("policy", ["fit", "crop"])
def test_a_picture_that_is_reduced_while_it_is_read_becomes_the_same(tmp_path, monkeypatch, mode, policy):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    smooth(mode).save(path)
    whole = read_image(path)
    with monkeypatch.context() as patch:
        patch.setattr(image_reading, "LARGE", 2000)
        patch.setattr(image_reading, "_STRIP", 1000)
        reduced = read_image(path, (12, 12))
        assert read_image(path).rgb.shape == whole.rgb.shape  # nothing is to become small
    assert reduced.scale == 4 and reduced.rgb.shape == (51, 76, 3)
    assert reduced.size == whole.size == (203, 301) and reduced.bits == whole.bits
    assert reduced.notes[-1] == "read at a reduced size, 4 pixels to one along each side"
    ours, theirs = fit_to_size(reduced, 12, 12, policy), fit_to_size(whole, 12, 12, policy)
    assert ours.content == theirs.content
    seen = np.ones((12, 12), bool) if theirs.alpha is None else theirs.alpha > 0.1
    close(ours.rgb[seen], theirs.rgb[seen])
    assert (ours.alpha is None) == (theirs.alpha is None)
    if theirs.alpha is not None:
        close(ours.alpha, theirs.alpha)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_is_decoded_at_a_reduced_size(tmp_path, small_is_large, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth("RGB", (640, 481)).save(tmp_path / "a.jpg", quality=95, exif=exif)
    reduced = read_image(tmp_path / "a.jpg", (20, 20))
    assert reduced.size == ((481, 640) if orientation == 1 else (640, 481))
    # Of one that is to be turned all is decoded.
    assert max(reduced.rgb.shape) == (160 if orientation == 1 else 107) and reduced.scale == (
        4 if orientation == 1 else 6
    )
    with Image.open(tmp_path / "a.jpg") as file:
        plain = np.asarray(file.resize((20, 15), Image.Resampling.LANCZOS), np.float32) / 127.5 - 1
    fitted = fit_to_size(reduced, 20, 20, "fit")
    ours = fitted.rgb[2:17] if orientation == 1 else np.rot90(fitted.rgb[:, 2:17])
    close(ours, plain)


def test_strips_change_nothing(tmp_path, monkeypatch):
    for mode in ("RGBA", "I;16", "RGB"):
        smooth(mode).save(tmp_path / "a.png")
        whole = read_image(tmp_path / "a.png")
        monkeypatch.setattr(image_reading, "_STRIP", 700)
        strips = read_image(tmp_path / "a.png")
        monkeypatch.undo()
        np.testing.assert_array_equal(strips.rgb, whole.rgb)
        np.testing.assert_array_equal(strips.alpha, whole.alpha)


@pytest.mark.parametrize("where", ["PIL.ImageFile.ImageFile.load", "diip_jax.image_reading._reduced"])
def test_what_does_not_fit_into_memory_is_too_large_and_not_damaged(tmp_path, monkeypatch, where):
    smooth("RGB").save(tmp_path / "a.png")

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(where, full)
    with pytest.raises(ImageError, match="is too large: its pixels do not fit into the free memory; make it smaller"):
        read_image(tmp_path / "a.png")


def test_a_large_picture_takes_little_more_memory_than_its_pixels(tmp_path):
    """49 million pixels of 16-bit grey, 98 MB, for a 64x64 result."""
    Image.fromarray(np.zeros((7000, 7000), np.uint16)).save(tmp_path / "a.tif")
    code = (
        "import resource, sys\nfrom diip_jax.image_reading import read_image\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "image = read_image(sys.argv[1], (64, 64))\nassert image.size == (7000, 7000) and image.bits == 16\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.tif")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "" and int(done.stdout) < 500_000  # kilobytes


def test_to_uint16_rounds_and_clips():
    np.testing.assert_array_equal(to_uint16(np.array([-5.0, -1.0, 0.0, 1.0, 5.0])), [0, 0, 32768, 65535, 65535])
    values = np.arange(65536)
    np.testing.assert_array_equal(to_uint16(values / 32767.5 - 1), values)
    for wrong in (np.array([np.nan]), np.array([1, 2]), np.array([3], np.uint8)):
        with pytest.raises(ValueError, match=r"NaN or infinity|expected uint8 or float"):
            to_uint16(wrong)
    assert to_uint8(np.array([3], np.uint8)) == 3
