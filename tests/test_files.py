"""Runs from and to an object store: what is there afterwards, and in which order it came."""

import fsspec
import pytest
from command_line import picture, run

from diip_jax.run.store import Store


@pytest.fixture
def bucket(tmp_path):
    """Three pictures in a store; the same three as files."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    store = Store("memory://bucket")
    for n, name in enumerate(["a.png", "b.png", "deep/c.png"]):
        store.put(f"in/{name}", picture(tmp_path / "in" / name, n).read_bytes())
    store.put("in/notes.txt", b"no picture")
    return store


GIVEN = ("memory://bucket/in", "--output_dir=memory://bucket/out")


def outputs(store):
    return {name.removeprefix("out/") for name in store.names() if name.startswith("out/")}


def test_a_store_gets_what_a_folder_would(capsys, tmp_path, bucket, monkeypatch):
    order, usual = [], Store.put
    monkeypatch.setattr(Store, "put", lambda self, name, data: order.append(name) or usual(self, name, data))
    outcome = run(capsys, *GIVEN)
    assert (outcome.code, outcome.err, outcome.out[-1]) == (0, [], "3 restored, 0 skipped, 0 failed")
    assert outcome.out[0].startswith("memory://bucket/in/a.png -> memory://bucket/out/a.png: 4 iterations")
    assert outputs(bucket) == {f"{name}.{kind}" for name in ("a", "b", "c") for kind in ("png", "json")}
    for name in "abc":
        assert order.index(f"{name}.png") < order.index(f"{name}.json")
    run(capsys, tmp_path / "in", tmp_path / "in" / "deep", f"--output_dir={tmp_path / 'out'}")
    for name in "abc":
        assert bucket.get(f"out/{name}.png") == (tmp_path / "out" / f"{name}.png").read_bytes()


def test_what_is_finished_in_a_store_is_skipped(capsys, bucket):
    run(capsys, *GIVEN, "--save_every=2")
    assert "a_k00002.png" in outputs(bucket)
    assert run(capsys, *GIVEN, "--save_every=2", "--skip_existing").out[-1] == "0 restored, 3 skipped, 0 failed"
    bucket.remove("out/b.json")
    bucket.remove("out/c_k00002.png")
    outcome = run(capsys, *GIVEN, "--save_every=2", "--skip_existing")
    assert outcome.out[-1] == "2 restored, 1 skipped, 0 failed"
    outcome = run(capsys, *GIVEN, "--seed=1", "--skip_existing", "--dry_run")
    assert "was made with seed=0, now 1: restore to memory://bucket/out/a{.png,.json}" in outcome.out[2]


def test_names_in_a_store_are_protected_as_those_in_a_folder(capsys, tmp_path, bucket):
    """The same as of files: no stranger's object is overwritten, nor an input, and finished work stays where it is."""
    bucket.put("out/a.json", b'{"annotations": []}')
    bucket.put("out/b.png", b"no picture")
    outcome = run(capsys, *GIVEN)
    assert outcome.code == 1 and outcome.out[-1] == "1 restored, 0 skipped, 2 failed"
    for name, line in zip(("a.json", "b.png"), outcome.err, strict=True):
        assert f"memory://bucket/out/{name}: is not of this program and would be overwritten" in line
    assert bucket.get("out/a.json") == b'{"annotations": []}' and bucket.get("out/b.png") == b"no picture"
    outcome = run(capsys, GIVEN[0], "--output_dir=memory://bucket/in")
    assert outcome.code == 1 and "a.png: would overwrite the input memory://bucket/in/a.png" in outcome.err[0]


@pytest.mark.parametrize("local", [True, False], ids=["files", "objects"])
def test_a_second_picture_of_the_same_name_moves_no_finished_work_in_a_store(capsys, tmp_path, bucket, local):
    bucket.put("other/c.png", picture(tmp_path / "other" / "c.png", 7).read_bytes())
    place = tmp_path if local else "memory://bucket"
    first, second = f"{place}/in/deep/c.png", f"{place}/other/c.png"
    usual = ["--output_dir=memory://bucket/out", "--skip_existing"]
    run(capsys, first, *usual)
    kept = bucket.get("out/c.png")
    assert run(capsys, second, *usual).code == 0 and bucket.get("out/c.png") == kept
    outcome = run(capsys, second, first, *usual)
    assert outcome.out[-1] == "0 restored, 2 skipped, 0 failed" and bucket.get("out/c.png") == kept
    assert len([name for name in outputs(bucket) if name.endswith(".png")]) == 2


def test_an_object_by_itself(capsys, tmp_path, bucket):
    assert run(capsys, "memory://bucket/in/deep/c.png", f"--output_dir={tmp_path / 'out'}").code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"c.png", "c.json"}


def test_what_is_wrong_with_a_store_is_one_line(capsys, tmp_path, bucket, monkeypatch):
    outcome = run(capsys, "memory://bucket/none", f"--output_dir={tmp_path}")
    assert outcome.code == 1 and "memory://bucket/none: holds no image; expected names ending in" in outcome.err[0]
    bucket.put("in/b.png", b"")
    outcome = run(capsys, *GIVEN)
    assert outcome.code == 1 and outcome.err[0].startswith("diip_jax.launch: error: memory://bucket/in/b.png: ")
    assert outcome.out[-1] == "2 restored, 0 skipped, 1 failed"
    usual = Store.put

    def full(self, name, data):
        if name.endswith(".png"):
            raise OSError("quota\nmore")
        usual(self, name, data)

    monkeypatch.setattr(Store, "put", lambda self, name, data: self._do(name, lambda: full(self, name, data)))
    outcome = run(capsys, "memory://bucket/in/a.png", "--output_dir=memory://bucket/new")
    assert outcome.code == 1 and "memory://bucket/new/a.png: quota; check the address and its rights" in outcome.err[0]
    assert not any(name.startswith("new/") for name in bucket.names())


def test_no_scratch_is_left(capsys, tmp_path, bucket, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    run(capsys, *GIVEN)
    assert list((tmp_path / "scratch").iterdir()) == []
