"""What is taken for a picture, and that nothing is left out without a word."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diip_jax import image_files
from diip_jax.image_files import find_images, left_out
from diip_jax.image_reading import read_image


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()


FORM = {"jpe": "JPEG", "jfif": "JPEG", "JFIF": "JPEG", "dib": "DIB", "apng": "PNG", "j2k": "JPEG2000", "pnm": "PPM"}
FORM |= {"avif": "AVIF", "heic": "HEIF", "heif": "HEIF", "jxl": "JXL", "vst": "TGA"}


@pytest.mark.parametrize("suffix", FORM)
def test_a_folder_gives_pictures_of_every_format_that_can_be_read(tmp_path, suffix):
    image_files.readable_formats()  # registers the plugins
    rgb = np.asarray(Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)).resize((64, 48)))
    Image.fromarray(rgb).save(tmp_path / f"a.{suffix}", FORM[suffix])
    paths, errors = find_images([tmp_path])
    assert [path.name for path in paths] == [f"a.{suffix}"] and not errors and left_out([tmp_path]) is None
    image = read_image(paths[0])
    assert image.size == (48, 64) and np.abs((image.rgb + 1) * 127.5 - rgb).mean() < 8


def test_what_cannot_be_read_is_named_in_one_line(tmp_path):
    touch(tmp_path / "d", "a.png", "b.NEF", "c.nef", "d.psd", ".hidden.nef", "notes.txt", "e.json")
    (tmp_path / "d" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "d" / "folder.nef").mkdir()
    says = "left out, as they cannot be read here: 2 .nef, 1 .psd, 1 dangling link, such as "
    for given in ([tmp_path / "d"], [tmp_path / "d", tmp_path / "d"], [f"{tmp_path}/d/*"]):
        line = left_out(given)
        assert line.startswith(says) and line.endswith(f"{tmp_path / 'd' / 'b.NEF'}; convert them to PNG")
    assert left_out([tmp_path / "d" / "a.png", "gone", "~nobody-here", "x" * 5000]) is None


def test_what_an_extra_reads_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "EXTENSIONS", image_files.EXTENSIONS - {".heic", ".jxl"})
    monkeypatch.setattr(image_files, "_EXTRA", {".heic": "heif", ".jxl": "jxl"})
    touch(tmp_path / "d", "a.heic", "b.jxl", "c.svg")
    assert left_out([tmp_path / "d"]).endswith('a.heic; run: pip install "diip_jax[heif,jxl]"')
    paths, [error] = find_images([tmp_path / "d"])
    assert paths == [] and "holds no image file" in str(error)


def test_a_file_is_taken_whatever_its_name():
    path = Path(__file__)
    assert find_images([path]) == ([path], []) and left_out([path]) is None
