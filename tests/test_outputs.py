"""What is in an output folder: listed once, read once, one rule for folders and object stores."""

import itertools
import json
import os
from pathlib import Path

import fsspec
import pytest

from diip_jax.launch.outputs import Known, Outputs, StoredOutputs, read_record
from diip_jax.run.store import Mirror, Store


def of(path, sha256="0"):
    return json.dumps({"input": {"path": path, "sha256": sha256}, "settings": {}, "versions": {"diip_jax": "0"}})


@pytest.fixture
def here(tmp_path):
    """A folder with some outputs of inputs that are there, gone, or in a store."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").touch()
    out = tmp_path / "out"
    (out / "deep").mkdir(parents=True)
    (out / "a.json").write_text(of("../in/a.png"))
    (out / "gone.json").write_text(of("../in/gone.png", "7"))
    (out / "deep" / "b.json").write_text(of("s3://bucket/b.png"))
    (out / "notes.json").write_text("[]")
    return out


def test_what_records_say_of_their_inputs(tmp_path, here):
    outputs = Outputs(here, there=lambda name: name.startswith("s3:") or os.path.exists(name))
    assert outputs.known("a") == Known(tmp_path / "in" / "a.png", "0")
    assert outputs.known("gone") == Known(None, "7")
    assert outputs.known("deep/b") == Known(Path("/s3/bucket/b.png"), "0")
    assert outputs.known("notes") is None and outputs.known("none") is None and outputs.known("no/folder") is None


def test_it_is_as_it_was_when_it_was_first_looked_at(here):
    outputs = Outputs(here)
    assert outputs.holds(here / "a.json") and not outputs.holds(here / "a.png")
    assert outputs.is_folder(here / "deep") and not outputs.is_folder(here / "a.json")
    assert outputs.known("a")
    (here / "a.png").touch()
    (here / "a.json").unlink()
    assert outputs.known("a") and not outputs.holds(here / "a.png")
    assert Outputs(here).holds(here / "a.png") and not Outputs(here).known("a")


def test_a_relative_folder_and_none(here, monkeypatch):
    monkeypatch.chdir(here)
    for folder in (Outputs(here.relative_to(here)), Outputs(here)):
        assert folder.holds(folder.folder / "a.json") and folder.known("a").source.parts[-2:] == ("in", "a.png")
    assert Outputs(here / "none").listed("") is None and not Outputs(here / "none").holds(here / "none" / "a.json")


def test_a_store_is_as_a_folder(tmp_path, here):
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    store = Store("memory://bucket/out")
    for name in ("notes.json", "deep/b.json"):
        store.put(name, (here / name).read_bytes())
    store.put("a.json", of(str(tmp_path / "in" / "a.png")).encode())
    store.put("c.json", of("a.png").encode())
    outputs = StoredOutputs(Mirror(store, tmp_path / "scratch"), os.path.abspath, lambda _: True)
    assert outputs.known("a") == Known(tmp_path / "in" / "a.png", "0")
    assert outputs.known("c") == Known(None, "0")  # a name alone leads nowhere
    assert outputs.known("deep/b") == Known(Path("/s3/bucket/b.png"), "0")
    assert outputs.known("notes") is None and outputs.known("none") is None
    place = tmp_path / "scratch" / "deep" / "b.json"
    assert outputs.holds(place) and not outputs.holds(place.with_name("B.json")) and not outputs.is_folder(place)
    assert outputs.read(place) == store.get("deep/b.json")
    assert outputs.identity(place) == "memory://bucket/out/deep/b.json"


def test_two_names_of_one_file(here):
    (here / "link.png").hardlink_to(here / "a.json")
    outputs = Outputs(here)
    assert outputs.identity(here / "link.png") == outputs.identity(here / "a.json") != outputs.identity(here / "none")


def test_records_of_other_shapes_are_not_ours(tmp_path):
    path = tmp_path / "x.json"
    good = {"input": {"sha256": "0"}, "settings": {"method": "diip"}, "versions": {"diip_jax": None}}
    path.write_text(json.dumps(good))
    assert read_record(path) == good
    for key, value in itertools.product(good, (None, [], {}, 1)):
        path.write_text(json.dumps(good | {key: value}))
        assert (read_record(path) is None) == ((key, value) != ("settings", {}))
    assert read_record(tmp_path / "none.json") is None
