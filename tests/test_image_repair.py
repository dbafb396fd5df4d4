"""JPEG files that lack their end."""

import io

import numpy as np
import pytest
from PIL import Image

from diip_jax.image_reading import ImageError, read_image
from diip_jax.image_repair import completed_jpeg

RNG = np.random.default_rng(0)
SMOOTH = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (12, 16, 3), np.uint8)).resize((320, 240), Image.Resampling.BICUBIC)
)


def jpeg(**options):
    Image.fromarray(SMOOTH).save(buffer := io.BytesIO(), "JPEG", quality=90, **options)
    return buffer.getvalue()


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}], ids=["plain", "progressive", "444"]
)
@pytest.mark.parametrize("missing", [1, 2, 8])
def test_without_its_last_bytes_it_is_restored_with_a_note(tmp_path, options, missing):
    whole = jpeg(**options)
    (tmp_path / "a.jpg").write_bytes(whole[:-missing])
    image = read_image(tmp_path / "a.jpg")
    wrong = np.abs((image.rgb + 1) * 127.5 - decoded(whole)).max(-1) > 0.5
    assert wrong.mean() < 0.02
    assert image.notes == () or "the end of the file is missing" in image.notes[0]


@pytest.mark.parametrize("share", [0.97, 0.5, 0.2])
def test_what_is_said_to_be_lost_is_lost(share):
    whole = jpeg()
    data, lost = completed_jpeg(whole[: int(share * len(whole))])
    wrong = np.abs(decoded(whole).astype(int) - decoded(whole[: int(share * len(whole))] + b"\xff\xd9")).max(-1) > 0
    assert (data is None) == (share < 0.9)
    assert abs(lost - wrong.mean()) < 0.08


def test_much_missing_is_an_error(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg()[:2000])
    with pytest.raises(ImageError, match="it is truncated or damaged"):
        read_image(tmp_path / "a.jpg")
    for data in (b"", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG", jpeg()[:300]):
        assert completed_jpeg(data)[0] is None
