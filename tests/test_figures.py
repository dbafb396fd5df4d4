import sys

import numpy as np
import pytest
from networks import uint8_images
from tasks import brighter, looped

from diip_jax.commands.settings import DIIPSettings
from diip_jax.evaluate.figures import curves_of, curves_picture, draw, iterates_picture, levels_of, methods_picture
from diip_jax.evaluate.run import Run, Store
from diip_jax.evaluate.tables import Study, jobs_of
from diip_jax.evaluate.task import Task, corrupted

LOSS = np.array([[4.0, 2.0, 1.0], [2.0, 1.0, 1.0]], np.float32)


@pytest.fixture
def task():
    clean = np.full((2, 16, 16, 3), 100, np.uint8)
    return Task("noise", clean, clean + np.uint8(30), clean + np.uint8(30), {})


@pytest.fixture
def run(task):
    """Two images of 3 iterates, 40, 20 and 10 grey levels off."""
    off = np.array([40, 20, 10], np.uint8)[None, :, None, None, None]
    images = np.broadcast_to(task.clean[:, None] + off, (2, 3, 16, 16, 3))
    return Run(images, np.ones((2, 3), int), LOSS, None, LOSS, LOSS / 100)


def test_curves_are_means_over_the_images(task, run):
    curves = curves_of(task, run)
    np.testing.assert_allclose(curves["psnr"], 20 * np.log10(255 / np.array([40, 20, 10])))
    np.testing.assert_allclose(curves["loss"], [3, 1.5, 1])
    np.testing.assert_allclose(curves["laplacian_variance"], [0.03, 0.015, 0.01], rtol=1e-6)
    np.testing.assert_allclose(curves_of(task, run[:1])["loss"], [4, 2, 1])


def test_levels_are_those_of_the_input_and_of_the_clean_image(task):
    levels = levels_of(task)
    assert levels["psnr"] == {"input": pytest.approx(20 * np.log10(255 / 30))}
    assert levels["laplacian_variance"] == {"input": pytest.approx(0, abs=1e-9), "clean": pytest.approx(0, abs=1e-9)}


def test_curves_have_a_column_per_task(task, run):
    of_task = {"detached": run, "full": run}
    one, two = (
        curves_picture(dict.fromkeys(names, task), dict.fromkeys(names, of_task))
        for names in (["noise"], ["noise", "blur"])
    )
    assert one.shape == (750, 320, 3) and two.shape == (750, 640, 3) and one.dtype == np.uint8
    # Both methods' colours are there.
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (two == colour).all(-1).sum() > 20


def test_curves_of_too_many_or_no_methods_are_refused(task, run):
    with pytest.raises(ValueError, match=r"curves of 7 methods: expected 1 .. 6"):
        curves_picture({"noise": task}, {"noise": {str(n): run for n in range(7)}})
    with pytest.raises(ValueError, match=r"curves of 0 methods"):
        curves_picture({}, {})


def test_curves_say_what_they_need(task, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "diip_jax\[plots\]"'):
        curves_picture({"noise": task}, {"noise": {"a": run}})


def test_iterates_go_from_the_input_to_the_clean_image(task, run):
    picture = iterates_picture({"noise": task}, {"noise": {"a": run, "b": run}}, cell=32)
    greys = {level for level in (130, 140, 120, 110, 100) if (picture == level).all(-1).sum() >= 2 * 32 * 32}
    # The input, the last iterate and the clean image; the others come before iteration 10.
    assert greys == {130, 110, 100}
    assert picture.shape[0] > 2 * 32 and picture.shape[1] > 3 * 32


def test_a_method_without_a_task_has_a_blank_there(task):
    clean, y = task.clean[0], task.y[0]
    inputs = {"noise": y, "blur": y}
    whole = methods_picture(clean, inputs, {"a": {"noise": y, "blur": y}}, cell=32)
    part = methods_picture(clean, inputs, {"a": {"noise": y}}, cell=32)
    assert whole.shape == part.shape
    assert (whole == 130).all(-1).sum() - (part == 130).all(-1).sum() == 32 * 32


def test_the_figures_of_a_table(prior, tmp_path):
    clean = uint8_images(3)
    study = Study(prior, Store(tmp_path), {name: {0: corrupted(name, clean)} for name in ("noise", "blur")}, False)
    entries = [
        looped("detached", DIIPSettings(stride=500, max_iterations=4), "budget"),
        looped("faster", DIIPSettings(stride=500, max_iterations=3, learning_rate=0.1), "budget", images=1),
        brighter(),
    ]
    jobs = jobs_of(entries, ["noise", "blur"], study)
    drawn = draw(jobs, study, 2, 32, curves=True)
    assert [*drawn] == ["picture1", "picture2", "curves", "iterates"]
    assert drawn["curves"].shape == (750, 640, 3)
    # Five rows and two columns of 32 pixels, with labels beside them.
    height, width, _ = drawn["picture1"].shape
    assert height > 5 * 32 and width > 2 * 32 and drawn["picture2"].shape == (height, width, 3)
    # Of the second image "faster" has none, nor "brighter" under blur of any.
    blanks = [(drawn[f"picture{n}"] == 255).all(-1).sum() for n in (1, 2)]
    assert blanks[1] - blanks[0] >= 2 * 32 * 32 * 0.9
    before = sorted(tmp_path.iterdir())
    assert [*draw(jobs, study, 0, 32, curves=False)] == [] and sorted(tmp_path.iterdir()) == before
