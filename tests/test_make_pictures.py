"""docs/corruptions.* are what docs/make_pictures.py makes."""

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

DOCS = Path(__file__).resolve().parent.parent / "docs"
spec = importlib.util.spec_from_file_location("make_pictures", DOCS / "make_pictures.py")
make_pictures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_pictures)


def test_the_text_has_the_parameters_and_formulas_of_the_code():
    assert (DOCS / "corruptions.md").read_text() == make_pictures.corruptions_text()


def test_the_picture_shows_every_corruption_as_it_is():
    made, stored = make_pictures.corruptions_picture(), np.asarray(Image.open(DOCS / "corruptions.png"))
    assert made.shape == stored.shape
    # Releases of libjpeg and of Pillow's font differ by a few levels in a few places.
    assert np.abs(made.astype(int) - stored).mean() < 1
