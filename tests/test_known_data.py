"""Kernels and masks from files."""

import numpy as np
import pytest
from command_line import picture
from PIL import Image

from diip_jax.image_reading import read_image
from diip_jax.images import ImageError
from diip_jax.launch.known_data import read_kernel, read_mask

KERNEL = np.outer([1, 2, 1], [0, 3, 1])


def test_a_kernel_is_read_and_divided_by_its_sum(tmp_path):
    np.save(tmp_path / "k.npy", KERNEL)
    Image.fromarray((10 * KERNEL).astype(np.uint8)).save(tmp_path / "k.png")
    for name, exact in (("k.npy", 1e-6), ("k.png", 1e-6)):
        kernel = read_kernel(tmp_path / name)
        np.testing.assert_allclose(kernel.values, KERNEL / 16, atol=exact)
        assert kernel.values.dtype == np.float32 and kernel.path.name == name and len(kernel.sha256) == 64


@pytest.mark.parametrize(
    "values, message",
    [
        (np.ones((4, 4)), "is 4x4, expected a square kernel of odd size; pad it with zeros"),
        (np.ones((3, 5)), "is 3x5, expected a square"),
        (np.ones((3, 3, 3)), "is 3x3x3, expected a square"),
        (np.zeros((3, 3)), "holds negative values or only zeros"),
        (-KERNEL, "holds negative values or only zeros"),
        (np.full((3, 3), np.nan), "holds negative values or only zeros"),
        (np.array([{"a": 1}], dtype=object), "holds no array of numbers that can be read"),
    ],
)
def test_what_is_no_kernel_is_one_line(tmp_path, values, message):
    path = tmp_path / "k.npy"
    np.save(path, values, allow_pickle=True)
    with pytest.raises(ImageError, match=f"^{path}: {message}") as error:
        read_kernel(path)
    assert "\n" not in str(error.value)


def test_a_cut_file_is_one_line(tmp_path):
    np.save(tmp_path / "k.npy", KERNEL)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "k.npy").read_bytes()[:-20])
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("cut.npy", "empty.npy", "none.npy"):
        with pytest.raises(ImageError, match=f"{name}: holds no array of numbers that can be read"):
            read_kernel(tmp_path / name)


def mask_file(path, values):
    Image.fromarray(np.asarray(values, np.uint8)).save(path)
    return path


def test_a_mask_is_true_where_it_is_white(tmp_path):
    image = read_image(picture(tmp_path / "a.png"))
    values = np.full((16, 16), 255)
    values[2:5, 3:9] = 0
    values[8, 8] = 200
    shown = read_mask(mask_file(tmp_path / "m.png", values), image, 16, 16, "fit")
    np.testing.assert_array_equal(shown, values == 255)


def test_a_mask_is_scaled_like_its_image_and_what_it_hides_does_not_shrink(tmp_path):
    image = read_image(picture(tmp_path / "a.png", size=(32, 64)))
    values = np.full((32, 64), 255)
    values[8:16, 24:40] = 0
    path = mask_file(tmp_path / "m.png", values)
    hidden = ~read_mask(path, image, 16, 16, "fit")[4:12]  # the picture is 8x16, with margins of 4 rows
    assert hidden[2:4, 6:10].all() and hidden.sum() <= 4 * 6
    hidden = ~read_mask(path, image, 16, 16, "crop")
    assert hidden[4:8, 4:12].all() and hidden.sum() <= 6 * 10


def test_masks_that_do_not_fit_are_one_line(tmp_path):
    image = read_image(picture(tmp_path / "a.png"))
    other = mask_file(tmp_path / "m.png", np.full((16, 8), 255))
    with pytest.raises(ImageError) as error:
        read_mask(other, image, 16, 16, "fit")
    assert str(error.value) == f"{other}: is 16x8 (height x width), expected 16x16, the size of {image.path}"
    black = mask_file(tmp_path / "black.png", np.zeros((16, 16)))
    with pytest.raises(ImageError, match=r"black\.png: is white nowhere, which hides all of .*a\.png"):
        read_mask(black, image, 16, 16, "fit")


def test_a_mask_may_be_drawn_by_its_transparency(tmp_path):
    image = read_image(picture(tmp_path / "a.png"))
    mask = np.full((16, 16, 4), 255, np.uint8)
    mask[4:9, 4:9, 3] = 0
    shown = read_mask(mask_file(tmp_path / "m.png", mask), image, 16, 16, "fit")
    assert not shown[4:9, 4:9].any() and shown.sum() == 256 - 25
    mask[12:, :, :3] = 0
    shown = read_mask(mask_file(tmp_path / "m.png", mask), image, 16, 16, "fit")
    assert shown.sum() == 256 - 25 - 64


def test_a_mask_that_hides_nothing_is_a_mistake(tmp_path):
    image = read_image(picture(tmp_path / "a.png"))
    for values in (np.full((16, 16), 255), np.full((16, 16, 4), 255)):
        with pytest.raises(ImageError, match=r"m\.png: is white everywhere, which hides nothing of .*a\.png"):
            read_mask(mask_file(tmp_path / "m.png", values), image, 16, 16, "fit")
