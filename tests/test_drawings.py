import sys

import numpy as np
import pytest

from diip_jax.evaluate.drawings import curves_of, curves_picture, iterates_picture, levels_of, methods_picture
from diip_jax.evaluate.trajectories import Trajectory

LOSS = np.array([[4.0, 2.0, 1.0], [2.0, 1.0, 1.0]], np.float32)


@pytest.fixture
def run():
    """Two images of 3 iterates, 40, 20 and 10 grey levels off."""
    clean = np.full((2, 16, 16, 3), 100, np.uint8)
    off = np.array([40, 20, 10], np.uint8)[None, :, None, None, None]
    iterates = np.broadcast_to(clean[:, None] + off, (2, 3, 16, 16, 3))
    return Trajectory(iterates, LOSS, LOSS / 100, clean + np.uint8(30), clean, 1.0)


def test_curves_are_means_over_the_images(run):
    curves = curves_of(run)
    np.testing.assert_allclose(curves["psnr"], 20 * np.log10(255 / np.array([40, 20, 10])))
    np.testing.assert_allclose(curves["loss"], [3, 1.5, 1])
    np.testing.assert_allclose(curves["laplacian_variance"], [0.03, 0.015, 0.01], rtol=1e-6)


def test_levels_are_those_of_the_input_and_of_the_clean_image(run):
    levels = levels_of(run)
    assert levels["psnr"] == {"input": pytest.approx(20 * np.log10(255 / 30))}
    assert levels["laplacian_variance"] == {"input": pytest.approx(0, abs=1e-9), "clean": pytest.approx(0, abs=1e-9)}


def test_curves_have_a_column_per_task(run):
    of_task = {"detached": curves_of(run), "full": curves_of(run)}
    one, two = (
        curves_picture(dict.fromkeys(tasks, of_task), dict.fromkeys(tasks, levels_of(run)))
        for tasks in (["noise"], ["noise", "blur"])
    )
    assert one.shape == (750, 320, 3) and two.shape == (750, 640, 3) and one.dtype == np.uint8
    # Both methods' colours are there, and lines of the input.
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (two == colour).all(-1).sum() > 20


def test_curves_of_too_many_or_no_methods_are_refused(run):
    with pytest.raises(ValueError, match=r"curves of 7 methods: expected 1 .. 6"):
        curves_picture({"noise": {str(n): curves_of(run) for n in range(7)}}, {"noise": levels_of(run)})
    with pytest.raises(ValueError, match=r"curves of 0 methods"):
        curves_picture({}, {})


def test_curves_say_what_they_need(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "diip_jax\[plots\]"'):
        curves_picture({"noise": {"a": curves_of(run)}}, {"noise": levels_of(run)})


def test_iterates_go_from_the_input_to_the_clean_image(run):
    picture = iterates_picture({"noise": {"a": run, "b": run}}, cell=32)
    greys = {level for level in (130, 140, 120, 110, 100) if (picture == level).all(-1).sum() >= 2 * 32 * 32}
    # The input, the last iterate and the clean image; the others come before iteration 10.
    assert greys == {130, 110, 100}
    assert picture.shape[0] > 2 * 32 and picture.shape[1] > 3 * 32


def test_a_method_without_a_task_has_a_blank_there(run):
    clean, y = run.clean[0], run.y[0]
    inputs = {"noise": y, "blur": y}
    whole = methods_picture(clean, inputs, {"a": {"noise": y, "blur": y}}, cell=32)
    part = methods_picture(clean, inputs, {"a": {"noise": y}}, cell=32)
    assert whole.shape == part.shape
    assert (whole == 130).all(-1).sum() - (part == 130).all(-1).sum() == 32 * 32
