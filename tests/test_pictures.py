import io
import zipfile

import numpy as np
import pytest
from command_line import picture
from networks import uint8_images
from PIL import Image

from diip_jax.image_reading import ImageError, read_image
from diip_jax.pixels import to_uint8
from diip_jax.train.pictures import open_pictures


def png(values):
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_folder_gives_all_that_is_in_it_sorted(tmp_path):
    paths = [picture(tmp_path / name, n) for n, name in enumerate(["b.png", "a/c.jpg", "a.png", ".hidden/d.png"])]
    (tmp_path / "notes.txt").write_text("no picture")
    pictures = open_pictures(tmp_path)
    assert pictures.names == [str(tmp_path / name) for name in ("a/c.jpg", "a.png", "b.png")]
    np.testing.assert_array_equal(pictures.read(2).rgb, read_image(paths[0]).rgb)
    assert pictures.of([2, 0]).names == [pictures.names[2], pictures.names[0]]
    np.testing.assert_array_equal(pictures.of([2, 0]).read(0).rgb, pictures.read(2).rgb)


def test_a_zip_gives_its_pictures(tmp_path):
    images = uint8_images(2)
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("x/b.png", png(images[1]))
        archive.writestr("x/a.png", png(images[0]))
        archive.writestr("__MACOSX/x/a.png", b"")
        archive.writestr("readme.md", b"")
    pictures = open_pictures(tmp_path / "p.zip")
    assert [name.rpartition(".zip/")[2] for name in pictures.names] == ["x/a.png", "x/b.png"]
    for n in range(2):
        np.testing.assert_array_equal(to_uint8(pictures.read(n).rgb), images[n])


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_an_npz_gives_its_images(tmp_path, channels):
    images = uint8_images(3)
    stored = images[..., 0] if channels is None else images[..., :channels]
    np.savez(tmp_path / "p.npz", images=stored)
    pictures = open_pictures(tmp_path / "p.npz")
    assert len(pictures.names) == 3 and "image 2" in pictures.names[2]
    expected = images[1] if channels == 3 else images[1][..., :1].repeat(3, axis=-1)
    np.testing.assert_array_equal(to_uint8(pictures.read(1).rgb), expected)


def test_what_holds_no_pictures_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "p.tar").write_bytes(b"x")
    (tmp_path / "broken.zip").write_bytes(b"x")
    np.savez(tmp_path / "floats.npz", images=np.zeros((2, 4, 4, 3)))
    np.savez(tmp_path / "other.npz", pictures=np.zeros((2, 4, 4, 3), np.uint8))
    np.savez(tmp_path / "none.npz", images=np.zeros((0, 4, 4, 3), np.uint8))
    for name, message in {
        "missing": "no such folder or file",
        "empty": "holds no picture",
        "p.tar": "neither a folder nor a .zip nor an .npz",
        "broken.zip": "no zip that can be read",
        "floats.npz": r"`images` is \(2, 4, 4, 3\) float64, expected",
        "other.npz": "holds no array `images`",
        "none.npz": "holds no picture",
    }.items():
        with pytest.raises(ImageError, match=message) as caught:
            open_pictures(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_unreadable_pictures_are_errors_that_name_them(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "b.png").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("c.png", b"x")
    (tmp_path / "p.zip").write_bytes(
        (tmp_path / "p.zip").read_bytes().replace(b"\x78", b"\x79")
    )  # its checksum is wrong
    pictures = open_pictures(tmp_path)
    with pytest.raises(ImageError, match=r"a\.png: is not an image"):
        pictures.read(0)
    with pytest.raises(ImageError, match=r"b\.png: is empty"):
        pictures.read(1)
    with pytest.raises(ImageError, match=r"p\.zip/c\.png: cannot be unpacked"):
        open_pictures(tmp_path / "p.zip").read(0)
    (tmp_path / "a.png").unlink()
    with pytest.raises(ImageError, match=r"a\.png: cannot be opened"):
        pictures.read(0)
