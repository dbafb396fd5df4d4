"""The page in a real browser: upload, progress, stop, result, a bad file, two visitors at once.

Without Gradio, Playwright or a Chromium (Debian's package `chromium`) the tests are skipped, with a line that says so.
"""

import base64
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from networks import with_impulses
from PIL import Image

import diip_jax as dj
from diip_jax.pixels import to_uint8

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="no Gradio: pip install diip_jax[demo]"),
]

ROOT = Path(__file__).resolve().parent.parent
ITERATIONS = 60


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    """Where what the page receives would lie."""
    return tmp_path_factory.mktemp("uploads")


# A shell ignores Ctrl-C for what it runs in the background, and that is inherited.
_HEARS_INTERRUPTS = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('diip_jax.demo', run_name='__main__', alter_sys=True)"
)


@pytest.fixture(scope="module")
def address(prior, uploads, tmp_path_factory):
    """The page of the command itself, in a process of its own, until the tests are done."""
    folder = tmp_path_factory.mktemp("served")
    dj.save_prior(folder / "tiny", prior)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", _HEARS_INTERRUPTS, f"--port={port}", f"--checkpoint={folder / 'tiny'}"]
    command += [f"--max_iterations={ITERATIONS}", "--megabytes=1", "--at_once=2"]
    settings = os.environ | {"TMPDIR": str(uploads), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line == f"open http://127.0.0.1:{port}/ (Ctrl-C ends it)\n"
            yield line.split()[1]
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=60)
            finally:
                process.kill()
    assert list(uploads.iterdir()) == []


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def visitor(browser, address):
    """A visitor's page, and at the end what it asked others than us for."""
    context = browser.new_context()
    yield opened(context, address)
    context.close()


def opened(context, address):
    view = context.new_page()
    view.elsewhere = []
    view.on("request", lambda asked: None if ours(asked.url, address) else view.elsewhere.append(asked.url))
    view.goto(address)
    view.wait_for_selector("#drop input[type=file]", state="attached", timeout=60_000)
    return view


def ours(url: str, address: str) -> bool:
    return url.startswith((address, "data:", "blob:"))


def drop(view, path):
    view.set_input_files("#drop input[type=file]", str(path))


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(to_uint8(with_impulses(1)[0])).save(path)
    return path


def saved(view, what: str) -> bytes:
    url = view.get_attribute(f"#shown a:has-text('Save {what}')", "href")
    return base64.b64decode(url.partition(",")[2])


def test_a_picture_forms_and_is_taken_home(visitor, photo, prior, uploads, tmp_path):
    drop(visitor, photo)
    visitor.wait_for_selector(f"text=/iteration \\d+ of {ITERATIONS}/", timeout=120_000)
    visitor.wait_for_selector("#done", timeout=120_000)
    (tmp_path / "restored.png").write_bytes(saved(visitor, "picture"))
    y = np.asarray(Image.open(photo))[None].astype(np.float32) / np.float32(127.5) - np.float32(1)
    expected = dj.restore(dj.Blind(prior, max_iterations=ITERATIONS), y).images[0]
    made = np.asarray(Image.open(tmp_path / "restored.png"))
    assert np.abs(made - (expected + 1) * 127.5).max() <= 0.501
    record = json.loads(saved(visitor, "record"))
    assert record["input"]["file"] == "photo.png" and record["iterations"] == ITERATIONS
    assert not {"blur", "noise"} & set(record["settings"])
    assert len(record["traces"]["loss"]) == ITERATIONS
    # The line between before and after moves with the keys.
    visitor.focus("#shown input[type=range]")
    for _ in range(10):
        visitor.keyboard.press("ArrowRight")
    assert visitor.eval_on_selector("#shown .dj-pair", "pair => pair.style.getPropertyValue('--cut')") == "60%"
    # Nothing of the visitor's stays on the disk, and nothing was fetched from elsewhere.
    assert [path for path in uploads.rglob("*") if path.is_file() and path.stat().st_size] == []
    assert visitor.elsewhere == []


def test_what_a_visitor_knows_is_used(visitor, photo):
    visitor.click("#known button")
    visitor.fill("#known :is(input, textarea) >> nth=0", "1.5")
    visitor.press("#known :is(input, textarea) >> nth=0", "Tab")
    drop(visitor, photo)
    text = visitor.wait_for_selector("#done", timeout=120_000).inner_text()
    assert "found blur of 1.5 px" in text
    settings = json.loads(saved(visitor, "record"))["settings"]
    assert settings["blur"] == 1.5 and "noise" not in settings
    visitor.fill("#known :is(input, textarea) >> nth=1", "much")
    drop(visitor, photo)
    line = visitor.wait_for_selector("#shown [role=alert]", timeout=60_000).inner_text()
    assert line == "noise: 'much' is no number of at least 0; leave it empty where it is to be found"


def test_a_file_that_is_no_picture_is_said_to_be_none(visitor, tmp_path):
    text = tmp_path / "letter.png"
    text.write_text("Dear Sir")
    drop(visitor, text)
    line = visitor.wait_for_selector("#shown [role=alert]", timeout=60_000).inner_text()
    assert line.startswith("letter.png: is not an image of a known format")


def test_a_file_that_is_too_large_is_refused(visitor, tmp_path):
    large = tmp_path / "large.png"
    large.write_bytes(b"\0" * 1_100_000)
    drop(visitor, large)
    visitor.wait_for_selector("text=/exceeds|too large|maximum/i", timeout=60_000)


def test_a_visitor_stops_it(visitor, photo):
    drop(visitor, photo)
    visitor.wait_for_selector("text=/iteration \\d+ of/", timeout=120_000)
    visitor.click("#stop:not([disabled])")
    text = visitor.wait_for_selector("#done", timeout=120_000).inner_text()
    assert "stopped by you" in text and int(text.split()[0]) < ITERATIONS


def test_two_visitors_at_once_each_get_their_own(browser, address, tmp_path):
    contexts = [browser.new_context() for _ in range(2)]
    views = [opened(context, address) for context in contexts]
    for n, view in enumerate(views):
        path = tmp_path / f"visitor{n}.png"
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (16, 16, 3), np.uint8)).save(path)
        drop(view, path)
    for n, view in enumerate(views):
        view.wait_for_selector("#done", timeout=120_000)
        assert json.loads(saved(view, "record"))["input"]["file"] == f"visitor{n}.png"
    for context in contexts:
        context.close()
