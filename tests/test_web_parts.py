"""Pieces of pages hold what they are given, and nothing that a file's name smuggles in."""

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from diip_jax.web_parts import curve, data_url, picture, slider


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)


def decoded(url: str) -> np.ndarray:
    assert url.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_a_url_holds_the_picture(pixels):
    np.testing.assert_array_equal(decoded(data_url(pixels)), pixels)
    np.testing.assert_array_equal(decoded(data_url(pixels[..., :1])), pixels[..., 0])


def test_a_slider_has_both_pictures_and_a_name_for_who_cannot_see_them(pixels):
    text = slider(pixels, 255 - pixels, 'a"><script>', 100)
    before, after = (decoded(url) for url in re.findall(r'src="([^"]+)"', text))
    np.testing.assert_array_equal(before, pixels)
    np.testing.assert_array_equal(after, 255 - pixels)
    assert "<script" not in text and 'aria-label="a&quot;&gt;&lt;script&gt;: before and after"' in text
    assert 'width="7"' in picture(pixels, "x", 7)


def points(svg: str) -> np.ndarray:
    line = ElementTree.fromstring(svg).find("polyline")
    return np.array([list(map(float, point.split(","))) for point in line.get("points").split()])


def test_a_curve_is_where_its_values_are():
    drawn = points(curve([100.0, 10.0, np.nan, 1.0], "loss", budget=5, width=104, height=90))
    np.testing.assert_allclose(drawn, [[2, 16], [27, 46], [77, 76]], atol=0.05)  # logarithmic, NaN left out
    linear = points(curve([0.0, 1.0, 4.0], "x", width=104, height=90))
    np.testing.assert_allclose(linear, [[2, 76], [52, 61], [102, 16]], atol=0.05)


def test_a_curve_of_nothing_says_its_name():
    svg = ElementTree.fromstring(curve([np.nan, np.nan], "a < b"))
    assert svg.find("text").text == "a < b" and svg.find("polyline") is None
