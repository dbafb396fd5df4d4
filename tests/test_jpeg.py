import io

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2gray
from skimage.data import astronaut

from diip_jax.degradations.jpeg import Jpeg

COLOUR = astronaut()[:48, 200:230]


@pytest.mark.parametrize("pixels", [COLOUR, np.rint(255 * rgb2gray(COLOUR)).astype(np.uint8)])
def test_jpeg_is_what_pillow_writes(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=10)
    x = np.atleast_3d(pixels) / 127.5 - 1
    y = Jpeg(10)(x, np.random.default_rng(0)).y
    assert y.shape == x.shape
    np.testing.assert_array_equal(np.rint((y + 1) * 127.5), np.atleast_3d(np.asarray(Image.open(buffer))))
