"""A visitor's restoration is that of `restore`, can be stopped, keeps its limits, and says what is wrong with files."""

import io
import threading

import numpy as np
import pytest
from networks import with_impulses
from PIL import Image

import diip_jax as dj
from diip_jax.demo import restoration as demo
from diip_jax.demo.restoration import Known, Limits, opened, restoration
from diip_jax.image_reading import ImageError
from diip_jax.models import DDPMUNetConfig
from diip_jax.pixels import to_uint8
from diip_jax.prior import random_prior

LIMITS = Limits(iterations=4)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def photo():
    return to_uint8(with_impulses(1)[0])


@pytest.fixture(scope="module")
def upload(prior, photo):
    return opened(png(photo), "photo.png", [prior], LIMITS)


def test_frames_lead_to_the_result_of_restore(prior, upload):
    frames = list(restoration(upload, LIMITS, Known(), threading.Event()))
    assert [frame.iterations for frame in frames] == [1, 2, 3, 4, 4]
    assert [frame.record is None for frame in frames] == [True] * 4 + [False]
    expected = dj.restore(dj.Blind(prior, max_iterations=4), upload.y[None], save=("loss", "kernel"))
    np.testing.assert_array_equal(frames[-1].image, expected.images[0])
    np.testing.assert_array_equal(frames[-1].losses, expected.traces["loss"][0, 0])
    np.testing.assert_array_equal(frames[-1].kernel, expected.operator["kernel"][0, 0])
    record = frames[-1].record
    assert record["input"]["file"] == "photo.png" and record["stop_reason"] == "budget"
    assert frames[-1].note == f"found {record['found']}" and record["found"]


def test_a_picture_of_another_size_comes_back_without_its_margin(prior):
    upload = opened(png(np.full((20, 40, 3), 90, np.uint8)), "wide.png", [prior], LIMITS)
    last = list(restoration(upload, LIMITS, Known(), threading.Event()))[-1]
    assert upload.before.shape == last.image.shape == (8, 16, 3)


@pytest.fixture(scope="module")
def local_prior():
    return random_prior(DDPMUNetConfig(16, (8, 8), (False, False), 1, norm="pixel", middle_attention=False))


@pytest.mark.parametrize(("size", "becomes"), [((100, 140), (100, 140)), ((140, 280), (95, 190))])
def test_a_photograph_keeps_its_size_with_the_prior_of_photographs(size, becomes, prior, local_prior):
    pixels = np.broadcast_to(np.linspace(40, 200, size[1]).astype(np.uint8)[:, None], (*size, 3))
    limits = Limits(iterations=2, side=190)
    upload = opened(png(np.ascontiguousarray(pixels)), "photo.png", [prior, local_prior], limits)
    assert upload.prior is local_prior and upload.before.shape == (*becomes, 3)
    assert upload.notes == (() if size == becomes else ("reduced to 190x95 pixels",))
    frames = list(restoration(upload, limits, Known(), threading.Event()))
    assert frames[-1].image.shape == (*becomes, 3)
    record = frames[-1].record
    assert (record["input"]["height"], record["input"]["resize_policy"]) == (size[0], "keep")


def test_what_a_visitor_knows_takes_the_place_of_what_is_found(prior, upload):
    last = list(restoration(upload, LIMITS, Known(blur=1.5, noise=0.0), threading.Event()))[-1]
    assert last.record["found"].startswith("blur of 1.5 px") and "noise" not in last.record["found"]
    assert last.record["settings"] == {"method": "blind", "max_iterations": 4, "blur": 1.5, "noise": 0.0}
    expected = dj.restore(dj.Blind(prior, max_iterations=4, blur=1.5, noise=0.0), upload.y[None])
    np.testing.assert_array_equal(last.image, expected.images[0])


def test_a_small_picture_has_the_first_prior(prior, local_prior, photo):
    upload = opened(png(photo), "face.png", [prior, local_prior], LIMITS)
    assert upload.prior is prior and upload.policy == "fit"


def test_a_visitor_stops_it_and_gets_what_there_is(prior, upload):
    stop = threading.Event()
    stop.set()
    last = list(restoration(upload, LIMITS, Known(), stop))[-1]
    assert last.iterations == 1 and last.note.endswith("; stopped by you") and last.record["stop_reason"] == "stopped"


def test_the_time_limit_stops_it(prior, upload):
    last = list(restoration(upload, Limits(iterations=4, seconds=0.0), Known(), threading.Event()))[-1]
    assert last.iterations == 1 and last.note.endswith("; stopped after 0 s, the limit of this page")


def test_who_leaves_ends_the_computation(prior, upload):
    before = threading.active_count()
    frames = restoration(upload, Limits(iterations=2000), Known(), threading.Event())
    next(frames)
    frames.close()
    assert threading.active_count() == before


def test_a_fault_reaches_the_page(prior, upload, monkeypatch):
    def failing(*_, **__):
        raise MemoryError("no room")

    monkeypatch.setattr(demo, "restore", failing)
    with pytest.raises(MemoryError, match="no room"):
        list(restoration(upload, LIMITS, Known(), threading.Event()))


@pytest.mark.parametrize(
    "data, says",
    [
        (b"", "is empty"),
        (b"no picture at all", "is not an image of a known format"),
        (png(np.zeros((64, 64, 3), np.uint8))[:60], "a.png: "),
        (png(np.zeros((50, 30, 3), np.uint8)), r"is 30x50, expected at most 0\.001 megapixels; make it smaller"),
    ],
)
def test_what_is_no_picture_is_said_in_a_line(prior, data, says):
    with pytest.raises(ImageError, match=says):
        opened(data, "a.png", [prior], Limits(megapixels=0.001))
