"""Counts of a run."""

import json

from diip_jax.run.summary import Summary


def test_lines_tell_what_was_done(tmp_path):
    now = [100.0]
    summary = Summary(tmp_path / "run.jsonl", lambda: now[0])
    summary.restored, summary.evaluations, summary.bytes_read, summary.bytes_written = 5, 40, 10, 20
    summary.use.iterations, summary.use.capacity = 90, 100
    summary.failures["input"] += 2
    now[0] = 105.0
    summary.progress()
    assert not (tmp_path / "run.jsonl").exists()
    now[0] = 110.0
    summary.progress()
    summary.progress()
    with summary.ending():
        now[0] = 120.0
    first, last = map(json.loads, (tmp_path / "run.jsonl").read_text().splitlines())
    assert (first["event"], first["seconds"], first["images_per_hour"]) == ("progress", 10.0, 1800.0)
    assert last == {
        "event": "end",
        "seconds": 20.0,
        "images": {"restored": 5, "skipped": 0, "failed": 2},
        "images_per_hour": 900.0,
        "slot_use": 0.9,
        "iterations": 90,
        "network_evaluations": 40,
        "bytes_read": 10,
        "bytes_written": 20,
        "failures": {"input": 2},
    }


def test_without_a_file_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Summary().ending():
        pass
    assert list(tmp_path.iterdir()) == []
