"""Pictures and records: images shown pixel for pixel, marks where they belong, records that can be read by anything."""

import json
import platform
import sys
import types
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from diip_jax.images import LoadedImage, write_json
from diip_jax.report import comparison, damage_in_words, image_record, montage

pytestmark = pytest.mark.filterwarnings("error")
RNG = np.random.default_rng(0)
FACE = RNG.integers(0, 256, (64, 64, 3), np.uint8)
STOP_COLOUR, RETURNED_COLOUR = (196, 72, 47), (63, 143, 91)


def traces(count=60, stop=40):
    loss = np.exp(-np.arange(count) / 20).astype(np.float32)
    loss[stop:] = np.nan
    return {"loss": loss, "laplacian_variance": loss[::-1].copy()}


def holds(picture, part):
    """Whether `part` occurs in `picture`, pixel for pixel."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, part.shape)
    corners = np.argwhere((windows[..., 0, 0, :] == part[0, 0]).all(-1).squeeze(-1))
    return any((windows[y, x, 0] == part).all() for y, x in corners)


def lines_of(picture, colour):
    """Where vertical lines of this colour, antialiased, have their centre."""
    like = (np.abs(picture.astype(int) - colour).max(-1) < 50).sum(0) > 60
    starts, ends = (np.flatnonzero(np.diff(like.astype(int)) == step) for step in (1, -1))
    return (starts + ends + 1) / 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "no damage"),
        ({"noise": 0.2}, "noise of 25.5 levels"),
        ({"covariance": np.diag([1.44, 1.69])}, "blur of 1.2 px"),
        ({"covariance": np.diag([4, 0.64]), "noise": 0.05}, "blur of 2.0 by 0.8 px, noise of 6.4 levels"),
        ({"jpeg_quality": 10, "noise": 0.1, "blocks": 4}, "JPEG (quality about 10)"),
        ({"noise": 0.1, "blocks": 4}, "JPEG"),
        ({"hidden_share": 0.1}, "dead pixels (10.0 %)"),
        ({"enlarged": 4}, "enlargement (4 times)"),
        ({"enlarged": 64 / 20}, "enlargement (3.2 times)"),
    ],
)
def test_what_was_found_is_told_in_words(changes, words):
    nothing = {
        "covariance": np.zeros((2, 2)),
        "noise": 0,
        "blocks": 1,
        "jpeg_quality": 0,
        "hidden_share": 0,
        "enlarged": 1,
    }
    assert damage_in_words(nothing | changes) == words


def test_comparison_shows_every_image_pixel_for_pixel():
    kernel = RNG.integers(0, 256, (17, 17), np.uint8)
    large = RNG.integers(0, 256, (300, 280, 3), np.uint8)
    picture = comparison(
        [("input", FACE / np.float32(127.5) - 1), ("kernel", kernel), ("reference", large)],
        traces(),
        stop_k=39,
        selected_k=30,
        title="face",
    )
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and picture.flags["C_CONTIGUOUS"]
    assert holds(picture, FACE.repeat(5, 0).repeat(5, 1))  # to the height of the tallest, in whole steps
    assert holds(picture, kernel[..., None].repeat(3, -1).repeat(18, 0).repeat(18, 1))
    assert holds(picture, large)


def test_comparison_marks_the_stop_and_the_returned_iterate_at_their_iterations():
    def marks(stop, selected, colour):
        picture = comparison([("restored", FACE)], traces(), stop_k=stop, selected_k=selected, title="")
        return lines_of(picture[400:650], colour)

    returned = [marks(None, k, RETURNED_COLOUR) for k in (10, 20, 30)]
    stops = [marks(k, None, STOP_COLOUR) for k in (10, 20, 30)]
    assert all(len(found) == 2 for found in returned + stops)  # a line in each of the two panels
    first = np.array([found[0] for found in returned])
    assert (np.diff(first) > 20).all() and abs(np.diff(first, 2)).max() <= 1  # evenly spaced, like their k
    np.testing.assert_allclose([found[0] for found in stops], first, atol=1)
    assert len(marks(None, None, STOP_COLOUR)) == 0 and len(marks(None, None, RETURNED_COLOUR)) == 0


@pytest.mark.parametrize(
    "values", [np.full(5, np.nan), np.zeros(5), np.zeros(0), np.array([0.5])], ids=["NaN", "zeros", "none", "one"]
)
def test_comparison_survives_degenerate_traces_and_odd_titles(values):
    title = "写真 $x_{ " + "long name " * 40
    curves = {"loss": values, "other_trace": values}
    picture = comparison([("in\nput", FACE)], curves, stop_k=0, selected_k=0, title=title)
    assert (picture[:50, -30:] == 255).all()  # the long title ends before the margin


def test_comparison_without_traces_and_without_images():
    assert holds(
        comparison([("restored", FACE)], {}, stop_k=None, selected_k=None, title="x"), FACE.repeat(4, 0).repeat(4, 1)
    )
    with pytest.raises(ValueError, match="comparison was given no columns"):
        comparison([], traces(), stop_k=None, selected_k=None, title="")
    with pytest.raises(ValueError, match=r"image has shape \(1, 64, 64, 3\), expected \[h, w, 3\] or \[h, w\]"):
        comparison([("restored", FACE[None])], traces(), stop_k=None, selected_k=None, title="")


def test_comparison_names_the_extra_when_matplotlib_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'run: pip install "diip_jax\[plots\]"'):
        comparison([("restored", FACE)], traces(), stop_k=None, selected_k=None, title="")


def test_comparison_leaves_pyplot_and_its_settings_alone():
    before, pyplot = dict(matplotlib.rcParams), sys.modules.pop("matplotlib.pyplot", None)
    comparison([("restored", FACE)], traces(), stop_k=39, selected_k=3, title="")
    loaded = "matplotlib.pyplot" in sys.modules
    if pyplot:  # another test's import
        sys.modules["matplotlib.pyplot"] = pyplot
    assert dict(matplotlib.rcParams) == before and not loaded


def test_montage_places_images_in_rows_and_columns():
    a, b, c = (RNG.integers(0, 255, (8, 8, 3), np.uint8) for _ in range(3))
    sheet = montage([[a, b], [c]], cell=32)
    gap, big = 4, [image.repeat(4, 0).repeat(4, 1) for image in (a, b, c)]
    assert sheet.dtype == np.uint8 and sheet.shape == (3 * gap + 64, 3 * gap + 64, 3)
    np.testing.assert_array_equal(sheet[4:36, 4:36], big[0])
    np.testing.assert_array_equal(sheet[4:36, 40:72], big[1])
    np.testing.assert_array_equal(sheet[40:72, 4:36], big[2])
    assert (sheet[36:, 40:] == 255).all()  # the missing cell


def test_montage_labels_take_room_and_images_keep_their_whole_factor():
    small, wide = RNG.integers(0, 255, (10, 10), np.uint8), RNG.integers(0, 255, (20, 48, 3), np.uint8)
    plain = montage([[small, wide]])
    labelled = montage([[small, wide]], ["a row\nof two"], ["a label wider than its image", "b"])
    assert holds(plain, small[..., None].repeat(3, -1).repeat(4, 0).repeat(4, 1)) and holds(plain, wide)
    assert holds(labelled, small[..., None].repeat(3, -1).repeat(4, 0).repeat(4, 1)) and holds(labelled, wide)
    assert labelled.shape[0] > plain.shape[0] and labelled.shape[1] > plain.shape[1] + 100
    border = np.concatenate([labelled[0], labelled[-1], labelled[:, 0], labelled[:, -1]])
    assert (border == 255).all()  # no label is cut off


def test_montage_refuses_what_does_not_fit():
    for call, text in (
        (lambda: montage([]), "given no images"),
        (lambda: montage([[]]), "given no images"),
        (lambda: montage([[FACE]], row_labels=["a", "b"]), "given 2 row labels, expected 1"),
        (lambda: montage([[FACE]], column_labels=[]), "given 0 column labels, expected 1"),
        (lambda: montage([[FACE]], cell=32), "cell is 32 pixels, expected at least 64"),
    ):
        with pytest.raises(ValueError, match=text):
            call()


def record(**changes):
    image = LoadedImage(Path("/somewhere/face.png"), np.zeros((5, 7, 3), np.float32), None, "P", ("a note",))
    arguments = {
        "image": image,
        "resize_policy": "fit",
        "settings": {"learning_rate": 0.0015},
        "seed": 3,
        "prior": {"name": "faces64", "sha256": "ab" * 32},
        "iterations": 40,
        "stop_reason": "laplacian_variance_peak",
        "selected_k": 30,
        "traces": traces(),
        "seconds": 1.25,
        "metrics": {"psnr_input": 20.0, "psnr_output": float("inf")},
    }
    return image_record(**(arguments | changes))


def test_record_holds_what_is_needed_to_repeat_the_run_and_is_strict_json(tmp_path):
    write_json(tmp_path / "face.json", record())
    back = json.loads((tmp_path / "face.json").read_text(), parse_constant=pytest.fail)
    assert back["input"] == {
        "file": "face.png",
        "height": 5,
        "width": 7,
        "mode": "P",
        "notes": ["a note"],
        "resize_policy": "fit",
    }
    assert (back["seed"], back["iterations"], back["selected_k"]) == (3, 40, 30)
    assert back["prior"]["sha256"] == "ab" * 32 and back["settings"] == {"learning_rate": 0.0015}
    assert back["stop_reason"] == "laplacian_variance_peak" and back["seconds"] == 1.25
    assert back["metrics"] == {"psnr_input": 20.0, "psnr_output": None}
    np.testing.assert_array_equal(np.float32(back["traces"]["loss"]), traces()["loss"][:40])
    assert set(back["versions"]) == {"diip_jax", "jax", "jaxlib", "numpy", "python", "platform"}
    assert back["versions"]["numpy"] == np.__version__ and back["versions"]["python"] == platform.python_version()
    assert record(metrics=None)["metrics"] is None


def test_record_refuses_a_prior_without_its_sum_and_a_short_trace():
    with pytest.raises(ValueError, match=r"prior has the keys \['name'\], expected `sha256` among them"):
        record(prior={"name": "x"})
    with pytest.raises(ValueError, match=r"trace 'loss' has shape \(60,\), expected \[61\]"):
        record(iterations=61)
    with pytest.raises(ValueError, match=r"trace 'loss' has shape \(2, 60\)"):
        record(iterations=2, traces={"loss": np.zeros((2, 60))})


def test_a_version_that_is_not_installed_is_null(monkeypatch):
    import diip_jax.report as report

    real = report.importlib.metadata

    def version(name):
        if name == "diip_jax":
            raise real.PackageNotFoundError(name)
        return real.version(name)

    fake = types.SimpleNamespace(version=version, PackageNotFoundError=real.PackageNotFoundError)
    monkeypatch.setattr(report, "importlib", types.SimpleNamespace(metadata=fake))
    assert record()["versions"]["diip_jax"] is None and record()["versions"]["jax"]
