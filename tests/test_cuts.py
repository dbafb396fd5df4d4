from pathlib import Path

import numpy as np
import pytest
from networks import unchecked
from PIL import Image

from diip_jax.image_reading import ImageError, LoadedImage
from diip_jax.train.cuts import Cut


def loaded(values):
    rgb = values.astype(np.float32) / 127.5 - 1
    return LoadedImage(Path("p.png"), rgb, None, "RGB")


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_crops_and_scales_as_pillow_does():
    values = np.asarray(Image.fromarray(noise(9, 7)).resize((89, 109), Image.Resampling.BICUBIC))
    expected = Image.fromarray(values).crop((4, 18, 85, 99)).resize((64, 64), Image.Resampling.LANCZOS)
    given = Cut(64, crop=(4, 18, 85, 99)).prepared(loaded(values), "p")
    assert np.abs(given.astype(int) - np.asarray(expected)).max() <= 1  # Pillow rounds between its two passes


def test_the_largest_centred_square_is_scaled():
    values = np.zeros((20, 40, 3), np.uint8)
    values[:, 10:30] = 255
    given = Cut(10).prepared(loaded(values), "p")
    assert given.shape == (10, 10, 3) and (given[:, 1:-1] > 250).all()  # Lanczos sees a little of what lies beside it


def test_images_of_the_size_are_left_alone_and_grey_is_rec_601():
    values = noise(8, 8)
    np.testing.assert_array_equal(Cut(8).prepared(loaded(values), "p"), values)
    grey = Cut(8, channels=1).prepared(loaded(values), "p")
    assert grey.shape == (8, 8, 1)
    np.testing.assert_allclose(grey[..., 0], values @ np.array([0.299, 0.587, 0.114]), atol=0.51)


def test_random_squares_lie_anywhere_and_are_what_the_picture_shows():
    values = noise(12, 20)
    cut = Cut(8, random_crop=True, flips=False)
    prepared = cut.prepared(loaded(values), "p")
    np.testing.assert_array_equal(prepared, values)
    windows = {values[y : y + 8, x : x + 8].tobytes(): (y, x) for y in range(5) for x in range(13)}
    rng = np.random.default_rng(0)
    seen = {windows[cut.at_random(prepared, rng).tobytes()] for _ in range(300)}
    assert {y for y, _ in seen} == set(range(5)) and {x for _, x in seen} == set(range(13))


def test_scales_show_more_of_the_picture():
    values = np.zeros((16, 16, 3), np.uint8)
    values[:, ::2] = 255  # stripes as narrow as can be: grey once they are scaled
    cut = Cut(8, random_crop=True, scales=(1.0, 0.5), flips=False)
    rng = np.random.default_rng(0)
    contrast = [np.ptp(cut.at_random(values, rng).astype(int)) for _ in range(40)]
    assert set(contrast) & {255} and min(contrast) < 60
    # A picture that is only large enough at its own scale is not scaled.
    small = Cut(16, random_crop=True, scales=(0.5,), flips=False)
    np.testing.assert_array_equal(small.at_random(values, rng), values)


def test_flips_and_turns_make_the_eight_symmetries():
    values = noise(8, 8)
    rng = np.random.default_rng(0)
    expected = {np.rot90(v, n).tobytes() for v in (values, values[:, ::-1]) for n in range(4)}
    turned = [Cut(8, turns=True).at_random(values, rng) for _ in range(100)]
    assert {image.tobytes() for image in turned} == expected
    assert {Cut(8).at_random(values, rng).tobytes() for _ in range(30)} == {
        values.tobytes(),
        values[:, ::-1].tobytes(),
    }
    assert Cut(8, flips=False).at_random(values, rng).tobytes() == values.tobytes()


def test_the_middle_is_cut_out_for_judging():
    values = noise(12, 20)
    cut = Cut(8, random_crop=True)
    np.testing.assert_array_equal(cut.centred(cut.prepared(loaded(values), "p")), values[2:10, 6:14])


def test_pictures_that_are_too_small_are_refused():
    with pytest.raises(ImageError, match=r"q: is 7x20 .* smaller than --image_size=8"):
        Cut(8).prepared(loaded(noise(7, 20)), "q")
    with pytest.raises(ImageError, match=r"q: is 9x9 .* --crop reaches beyond it"):
        Cut(8, crop=(0, 0, 10, 9)).prepared(loaded(noise(9, 9)), "q")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": (5, 0, 5, 9)}, "crop=5,0,5,9: expected left,top,right,bottom"),
        ({"scales": (0.5,)}, "scales: has no effect without random_crop"),
        ({"scales": (1.5,), "random_crop": True}, "scales=1.5: expected numbers above 0, at most 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    defaults = {field: Cut.__dataclass_fields__[field].default for field in Cut.__dataclass_fields__}
    with pytest.raises(ValueError, match=message):
        unchecked(Cut, **{**defaults, "size": 8, **settings})
