"""The example pictures are what examples/make_examples.py makes; the example programs run as they are written."""

import importlib.util
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diip_jax.degradations import corrupt, degrade

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
spec = importlib.util.spec_from_file_location("make_examples", EXAMPLES / "make_examples.py")
make_examples = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_examples)


def read(folder: str, name: str) -> np.ndarray:
    return np.asarray(Image.open(EXAMPLES / folder / f"{name}.png"))


@pytest.mark.parametrize("name", make_examples.LANDMARKS)
def test_clean_picture_is_the_aligned_photograph(name):
    made = np.asarray(make_examples.align(make_examples.load_portrait(name), make_examples.LANDMARKS[name]))
    assert made.shape == (64, 64, 3) and made.dtype == np.uint8
    # Releases of libjpeg decode the photograph within a few levels of one another.
    assert np.abs(made.astype(int) - read("clean", name)).max() <= 4


@pytest.mark.parametrize("name", make_examples.LANDMARKS)
@pytest.mark.parametrize("damage", ["noise", "blur", "x4"])
def test_damaged_picture_is_reproduced(name, damage):
    made = corrupt(damage, read("clean", name), seed=0)
    assert np.abs(made.astype(int) - read(damage, name)).max() <= 1


@pytest.mark.parametrize("name", make_examples.LANDMARKS)
@pytest.mark.parametrize("folder", make_examples.TOLD)
def test_what_bird_is_told_of_is_reproduced(name, folder):
    damage, draw = make_examples.TOLD[folder]
    made = draw(degrade(damage, read("clean", name), seed=0))
    assert made.shape == read(folder, name).shape
    assert np.abs(made.astype(int) - read(folder, name)).max() <= 1


@pytest.mark.parametrize("name", make_examples.LANDMARKS)
def test_jpeg_is_reproduced(name):
    made = corrupt("jpeg", read("clean", name), seed=0)
    assert np.abs(made.astype(int) - read("jpeg", name)).mean() <= 1


def test_similarity_maps_target_points_to_source_points():
    angle, scale, shift = 0.3, 1.7, np.array([5.0, -2.0])
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    target = np.array([[0.0, 0.0], [10.0, 1.0], [3.0, 8.0], [7.0, 7.0]])
    a, b, c, d, e, f = make_examples.similarity(target @ rotation.T + shift, target)
    np.testing.assert_allclose([[a, b], [d, e]], rotation, atol=1e-9)
    np.testing.assert_allclose([c, f], shift, atol=1e-9)


@pytest.mark.parametrize(
    "name, says",
    [
        ("own_prior", r"20\.31 dB -> 21\.\d\d dB"),
        ("own_operator", r"2\d\.\d\d dB, gain 0\.[78]\d \(0\.8\)"),
        ("own_rule", r"share 0\.05: stalled after \d+ iterations, returned k = \d+\n"),
        ("own_pairs", r"(?s)median \| 22\.28 .*diip \| 2\d\.\d\d .* 24 \|"),
        ("own_optimizer", r"2\d\.\d\d dB after 44 network evaluations"),
        ("warm_start", r"stopped: the callback ended the run; .*\n20 iterations; the same image as at once: True"),
    ],
)
def test_examples_of_ones_own_run_as_written(name, says, capsys):
    path = EXAMPLES / f"{name}.py"
    assert len(path.read_text().splitlines()) <= 40
    runpy.run_path(str(path))
    assert re.search(says, capsys.readouterr().out)
