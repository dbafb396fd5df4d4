"""The page of a run: every image and failure is on it, while it runs and after; a browser sorts and filters it."""

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
from command_line import picture, pixels, run
from PIL import Image

from diip_jax.launch import contact_sheet
from diip_jax.launch.contact_sheet import ContactSheet
from diip_jax.launch.plan import Job


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    here = tmp_path_factory.mktemp("watched")
    picture(here / "in" / "one & two.png", seed=1)
    picture(here / "in" / "wide.png", seed=2, size=(20, 40))
    (here / "in" / "broken.png").write_bytes(b"no picture")
    picture(here / "clean" / "one & two.png", seed=3)
    picture(here / "clean" / "wide.png", seed=4, size=(20, 40))
    picture(here / "clean" / "broken.png")
    return here


@pytest.fixture
def watched(capsys, folder):
    """(the page, what the command said)."""
    outcome = run(capsys, folder / "in", f"--output_dir={folder / 'out'}", "--watch", f"--reference={folder / 'clean'}")
    return (folder / "out" / "index.html").read_text(), outcome


def articles(page: str) -> list[str]:
    return re.findall(r"<article .*?</article>", page)


def test_every_image_and_failure_is_on_it(watched, folder):
    page, outcome = watched
    assert outcome.code == 1
    assert outcome.out[0] == f"watch it at {(folder / 'out' / 'index.html').as_uri()}"
    failed, one, wide = articles(page)
    assert 'data-ended="failed"' in failed and "broken.png: is not an image" in failed
    before, after = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(code))))
        for code in re.findall(r'src="data:image/png;base64,([^"]+)"', one)
    )
    np.testing.assert_array_equal(before, pixels(folder / "in" / "one & two.png"))
    np.testing.assert_array_equal(after, pixels(folder / "out" / "one & two.png"))
    assert 'href="one &amp; two.png"' in one and 'data-ended="budget"' in one and "PSNR" in one
    assert one.count("<polyline") == 3  # loss, Laplacian variance, PSNR
    assert 'data-name="wide.png"' in wide
    assert "2 of 3 restored, 1 failed." in page and "http-equiv" not in page
    assert not re.search(r'(src|href)="(?!data:)[a-z]+:', page)  # nothing is fetched from anywhere


def test_what_was_finished_before_is_on_it(capsys, folder, watched):
    flags = [folder / "in" / "wide.png", f"--output_dir={folder / 'out'}", f"--reference={folder / 'clean'}"]
    outcome = run(capsys, *flags, "--skip_existing", "--watch")
    assert "skipped" in outcome.out[1]
    assert "1 of 1 restored, 0 failed." in (folder / "out" / "index.html").read_text()


@pytest.fixture
def finished(tmp_path):
    """A finished image by its files alone."""
    job = Job(picture(tmp_path / "in" / "a.png"), tmp_path, "a")
    picture(tmp_path / "a.png", seed=3)
    record = {
        "iterations": [2, 3],
        "stop_reason": ["loss_slope", "budget"],
        "seconds": 1.5,
        "metrics": None,
        "traces": {"loss": [[2.0, 1.0], [4.0, 3.0, 2.0]]},
    }
    job.output(".json").write_text(json.dumps(record))
    return job


def test_while_it_runs_the_page_looks_again_and_is_written_seldom(finished, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(contact_sheet.time, "monotonic", lambda: clock[0])
    other = Job(tmp_path / "in" / "b.png", tmp_path, "b")
    page = tmp_path / "index.html"
    sheet = ContactSheet([finished, other], page, "fit")
    sheet.update([])
    assert "1 of 2 restored, 0 failed; running" in page.read_text() and "http-equiv" in page.read_text()
    assert "2 iterations, loss_slope, 1.5 s" in page.read_text()  # of several samples the first
    page.unlink()
    sheet.update(["b.png: is gone"])
    assert not page.exists()
    clock[0] = 1.0
    sheet.update(["b.png: is gone"])
    assert "1 of 2 restored, 1 failed; running" in page.read_text()


def test_a_page_that_cannot_be_written_costs_no_result(capsys, folder, tmp_path):
    (tmp_path / "index.html").mkdir()
    outcome = run(capsys, folder / "in" / "wide.png", f"--output_dir={tmp_path}", "--watch")
    assert outcome.code == 0 and (tmp_path / "wide.png").is_file()
    assert len(outcome.err) == 2 and all("index.html: cannot be written" in line for line in outcome.err)


def test_a_browser_filters_and_sorts(watched, folder):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page()
        view.goto((folder / "out" / "index.html").as_uri())

        def shown() -> list[str]:
            return view.eval_on_selector_all("article:not([hidden]) h2", "all => all.map(one => one.innerText)")

        assert shown() == ["failed", "one & two.png", "wide.png"]
        view.fill("#name", "WIDE")
        assert shown() == ["wide.png"] and view.inner_text("#count") == "1 of 3"
        view.reload()
        assert shown() == ["wide.png"]
        view.fill("#name", "")
        view.select_option("#ended", "failed")
        assert shown() == ["failed"]
        view.select_option("#ended", "")
        view.select_option("#order", "gain")
        gains = view.eval_on_selector_all("article", "all => all.map(one => parseFloat(one.dataset.gain))")
        assert gains[:2] == sorted(gains[:2]) and np.isnan(gains[2])
        browser.close()
