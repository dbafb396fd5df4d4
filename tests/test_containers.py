"""What pictures come in: torch tensors and Pillow's pictures are restored as the array is, and come back as such."""

import numpy as np
import pytest
import torch
from PIL import Image

import diip_jax as dj
from diip_jax.containers import unpacked

SHORT = {"max_iterations": 2}


@pytest.fixture(scope="module")
def photos():
    return np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def restored(prior, photos):
    return dj.restore(dj.DIIP(prior, **SHORT), photos, samples=2)


def test_torch_tensors_come_back_as_torch_tensors(prior, photos, restored):
    given = torch.from_numpy(photos).permute(0, 3, 1, 2)
    solution = dj.restore(dj.DIIP(prior, **SHORT), given, samples=2)
    assert solution.images.dtype == torch.uint8 and solution.images.shape == given.shape
    np.testing.assert_array_equal(solution.images.permute(0, 2, 3, 1), restored.images)
    np.testing.assert_array_equal(solution.samples.permute(0, 1, 3, 4, 2), restored.samples)


def test_torch_tensors_in_floats_come_back_as_such(prior, photos):
    given = torch.from_numpy(photos).permute(0, 3, 1, 2) / 127.5 - 1
    array = np.ascontiguousarray(given.permute(0, 2, 3, 1).numpy())
    ours, theirs = (dj.restore(dj.DIIP(prior, **SHORT), one).images for one in (array, given))
    assert theirs.dtype == torch.float32 and not theirs.requires_grad
    np.testing.assert_array_equal(theirs.permute(0, 2, 3, 1), ours)
    with pytest.raises(ValueError, match="Tensor is no array for NumPy"):
        dj.restore(dj.DIIP(prior, **SHORT), given.requires_grad_())


def test_pictures_of_pillow_come_back_as_such(prior, photos, restored):
    solution = dj.restore(dj.DIIP(prior, **SHORT), [Image.fromarray(photo) for photo in photos], samples=2)
    np.testing.assert_array_equal(np.stack([np.asarray(one) for one in solution.images]), restored.images)
    np.testing.assert_array_equal(np.asarray(solution.samples[1][0]), restored.samples[1, 0])


def test_one_grey_picture_is_a_list_of_one():
    values = np.arange(64, dtype=np.uint8).reshape(8, 8)
    array, back = unpacked(Image.fromarray(values))
    np.testing.assert_array_equal(array, values[None, :, :, None])
    (picture,) = back(array)
    assert picture.mode == "L"
    np.testing.assert_array_equal(np.asarray(picture), values)


@pytest.mark.parametrize(
    "pictures, found",
    [
        ([Image.new("RGB", (8, 4)), Image.new("RGB", (8, 8))], "RGB 8x4, RGB 8x8"),
        ([Image.new("RGBA", (8, 8))], "RGBA 8x8"),
        ([Image.new("RGB", (8, 8)), Image.new("L", (8, 8))], "L 8x8, RGB 8x8"),
    ],
)
def test_pictures_that_are_no_batch_are_refused(pictures, found):
    with pytest.raises(ValueError, match=rf"^pictures are {found}: expected RGB, or L"):
        unpacked(pictures)


def test_other_arrays_are_passed_through():
    k_space = np.ones((1, 4, 4), np.complex64)
    array, back = unpacked(k_space)
    assert array is k_space and back(array) is k_space
    tensor = torch.arange(6.0).reshape(1, 2, 3)  # not four axes: an observation of an operator of one's own
    array, back = unpacked(tensor)
    np.testing.assert_array_equal(array, tensor.numpy())
    assert torch.equal(back(array), tensor)
