"""Folders of object stores, on fsspec's own store in memory."""

import json

import fsspec
import pytest

from diip_jax.run import store as module
from diip_jax.run.store import FolderLeased, Mirror, Store, StoreError, leased


@pytest.fixture
def folder():
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    return Store("memory://bucket/folder/")


def test_objects_are_whole_and_named_from_the_folder(folder):
    folder.put("b/c.png", b"123")
    folder.put("a.png", b"45")
    assert folder.names() == ["a.png", "b/c.png"] and folder.names("b") == ["b/c.png"]
    assert folder.get("b/c.png") == b"123"
    folder.remove("a.png")
    folder.remove("a.png")
    assert folder.names() == ["b/c.png"]
    assert Store("memory://bucket/folder/b/c.png").names() == [""]


def test_what_a_store_refuses_is_one_line(folder):
    with pytest.raises(StoreError, match=r"memory://bucket/folder/none.png: .*; check the address and its rights"):
        folder.get("none.png")
    with pytest.raises(StoreError, match="magic://a: "):
        Store("magic://a")


def test_a_lease_keeps_others_out_until_it_ends(folder):
    with leased(folder, "a", False):
        for shared in (False, True):
            with pytest.raises(FolderLeased, match="another run writes here; wait"), leased(folder, "a", shared):
                pass
        assert len(folder.names()) == 1
        later = module.time.time() + 601
        with leased(folder, "b", False, clock=lambda: later):
            pass
    assert folder.names() == []


def test_runs_of_the_same_settings_share_a_folder(folder):
    with leased(folder, "a", True), leased(folder, "a", True):
        with pytest.raises(FolderLeased, match=r"other settings \(a\)"), leased(folder, "b", True):
            pass
        with pytest.raises(FolderLeased, match="wait for it"), leased(folder, "a", False):
            pass


def test_a_lease_is_renewed(folder, monkeypatch):
    monkeypatch.setattr(module, "_RENEWAL_SECONDS", 0.01)
    now = [0.0]
    with leased(folder, "a", False, clock=lambda: now[0]):
        now[0] = 5000.0
        [name] = folder.names()
        for _ in range(1000):
            if json.loads(folder.get(name))["until"] > now[0]:
                break
            module.time.sleep(0.01)
        else:
            pytest.fail("it was not")
    assert folder.names() == []


def test_a_mirror_brings_and_takes_single_objects(folder, tmp_path):
    folder.put("in/a.png", b"1")
    mirror = Mirror(folder, tmp_path)
    path = mirror.path("in/a.png")
    assert mirror.names == {"in/a.png"} and mirror.name(path) == "in/a.png" and not path.exists()
    mirror.fetch(path)
    assert path.read_bytes() == b"1"
    path.write_bytes(b"2")
    mirror.publish(path)
    assert folder.get("in/a.png") == b"2"
