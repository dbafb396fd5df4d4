"""Many files: failures stay with their image, runs resume, results do not depend on the company."""

import errno
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import picture, pixels, record, run

from diip_jax.images import ImageError
from diip_jax.launch import restore_files as module
from diip_jax.solve import slots


@pytest.fixture
def three(tmp_path):
    return [picture(tmp_path / "in" / f"{name}.png", n) for n, name in enumerate("abc")]


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_seed_settles_every_byte(capsys, tmp_path, three):
    for seed, folder in ((1, "first"), (1, "again"), (2, "other")):
        assert run(capsys, three[0], f"--seed={seed}", f"--output_dir={tmp_path / folder}").code == 0
    first, again, other = ((tmp_path / folder / "a.png").read_bytes() for folder in ("first", "again", "other"))
    assert first == again != other
    assert record(tmp_path / "other" / "a.json")["seed"] == 2


def test_batch_size_and_place_do_not_matter(capsys, tmp_path, three):
    run(capsys, *three, f"--output_dir={tmp_path / 'alone'}", "--batch_size=1")
    run(capsys, *reversed(three), f"--output_dir={tmp_path / 'together'}", "--batch_size=2")
    for name in "abc":
        alone, together = (record(tmp_path / folder / f"{name}.json") for folder in ("alone", "together"))
        assert alone["settings"] == together["settings"]
        for trace in ("loss", "laplacian_variance"):
            np.testing.assert_allclose(alone["traces"][trace], together["traces"][trace], rtol=1e-3)
        written = (pixels(tmp_path / folder / f"{name}.png") for folder in ("alone", "together"))
        assert np.abs(np.subtract(*written)).max() <= 1


def test_as_many_are_restored_at_once_as_asked_for(capsys, tmp_path, three, monkeypatch):
    seen, usual = [], module.restore_each

    def counting(method, observations, **settings):
        def decide(*given):
            seen.append((settings["batch_size"](*given), settings["samples"]))
            return seen[-1][0]

        return usual(method, observations, **(settings | {"batch_size": decide}))

    monkeypatch.setattr(module, "restore_each", counting)
    for flags in (["--batch_size=2"], ["--batch_size=5", "--samples=2"], ["--batch_size=8"]):
        run(capsys, *three, f"--output_dir={tmp_path / 'out'}", *flags)
    run(capsys, three[0], f"--output_dir={tmp_path / 'out'}", "--batch_size=2", "--samples=3")
    run(capsys, *three, f"--output_dir={tmp_path / 'out'}")
    assert seen == [(2, 1), (5, 2), (3, 1), (2, 3), (jax.local_device_count(), 1)]  # no more than there are
    assert names(tmp_path / "out") >= {"a_sample2.png", "c.png"}


def test_an_image_that_takes_a_free_slot_compiles_nothing(capsys, tmp_path, three):
    run(capsys, *three, f"--output_dir={tmp_path}", "--batch_size=2")
    assert record(tmp_path / "c.json")["compile_seconds"] < 0.2


def test_dtype(capsys, tmp_path, three):
    run(capsys, three[0], f"--output_dir={tmp_path / 'f32'}")
    run(capsys, three[0], f"--output_dir={tmp_path / 'bf16'}", "--dtype=bfloat16")
    losses = [record(tmp_path / folder / "a.json")["traces"]["loss"] for folder in ("f32", "bf16")]
    assert losses[0] != losses[1]
    assert record(tmp_path / "bf16" / "a.json")["settings"]["dtype"] == "bfloat16"


def test_stopping_rule_is_obeyed_and_recorded(capsys, tmp_path, three):
    run(capsys, three[0], f"--output_dir={tmp_path}", "--stopping=loss_slope", "--eps=10")
    told = record(tmp_path / "a.json")
    assert (told["stop_reason"], told["iterations"], told["selected_k"]) == ("loss_slope", 2, 1)
    assert len(told["traces"]["loss"]) == 2


def test_a_fault_of_the_device_costs_only_the_images_on_it(capsys, tmp_path, three, monkeypatch):
    usual, calls = slots.advance, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes\nmore")
        return usual(*arguments)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(slots, "advance", failing)
        outcome = run(capsys, *three, f"--output_dir={out}", "--batch_size=2")
    assert outcome.code == 1
    assert outcome.err == [f"diip_jax.launch: error: {path}: out of memory; lower --batch_size=2" for path in three[:2]]
    assert names(out) == {"c.png", "c.json"}
    monkeypatch.setattr(slots, "advance", lambda *_: 1 / 0)
    outcome = run(capsys, three[0], f"--output_dir={out}")
    assert outcome.err == [f"diip_jax.launch: error: {three[0]}: ZeroDivisionError: division by zero"]


def test_running_out_of_memory_says_what_would_fit(capsys, tmp_path, three, monkeypatch):
    def failing(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(slots, "advance", failing)
    monkeypatch.setattr(module, "usual_size", lambda *_, **__: 3)
    outcome = run(capsys, *three, f"--output_dir={tmp_path / 'out'}")
    assert outcome.err[0] == f"diip_jax.launch: error: {three[0]}: out of memory; use --batch_size=1"


def test_divergence_is_a_failure(capsys, tmp_path, three):
    out = tmp_path / "out"
    outcome = run(capsys, three[0], f"--output_dir={out}", "--learning_rate=1e38", "--noproject")
    assert outcome.code == 1
    assert "diverged after" in outcome.err[0] and "lower --learning_rate" in outcome.err[0]
    assert names(out) == set()


def test_interrupted_run_resumes(capsys, tmp_path, three, monkeypatch):
    """What has ended is written, though the interrupt comes before that."""
    usual = module._Work._ended

    def interrupted(work, one, at_once):
        usual(work, one, at_once)
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(module._Work, "_ended", interrupted)
        outcome = run(capsys, *three, f"--output_dir={out}", "--skip_existing")
    assert outcome.code == 130
    assert outcome.err == [
        "diip_jax.launch: error: interrupted, 1 of 3 images are finished; run the same command with "
        "--skip_existing to go on"
    ]
    assert names(out) == {"a.png", "a.json"}
    kept = (out / "a.json").stat().st_mtime_ns
    outcome = run(capsys, *three, f"--output_dir={out}", "--skip_existing")
    assert outcome.code == 0
    assert outcome.out[0] == f"{three[0]}: skipped, {out / 'a.json'} is finished"
    assert outcome.out[-1] == "2 restored, 1 skipped, 0 failed"
    assert (out / "a.json").stat().st_mtime_ns == kept


def test_a_full_disk_ends_the_run_in_one_line(capsys, tmp_path, three, monkeypatch):
    usual, written = Path.open, []

    def full(path, mode="r", *rest, **settings):
        if "x" in mode:
            written.append(path)
            if len(written) > 2:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return usual(path, mode, *rest, **settings)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        outcome = run(capsys, *three, f"--output_dir={out}")
    assert outcome.code == 1 and len(outcome.err) == 2 and "No space left on device" in outcome.err[0]
    assert outcome.err[1] == (
        f"diip_jax.launch: error: {out}: no space is left, 1 of 3 images are finished; make room and run the same "
        "command with --skip_existing"
    )
    assert names(out) == {"a.png", "a.json"}
    assert run(capsys, *three, f"--output_dir={out}", "--skip_existing").out[-1] == "2 restored, 1 skipped, 0 failed"


def test_no_record_stands_beside_files_that_are_not_its_own(capsys, tmp_path, three, monkeypatch):
    out = tmp_path / "out"
    run(capsys, three[0], f"--output_dir={out}")

    def full(path, *_):
        raise ImageError(path, "cannot be written (no space)")

    with monkeypatch.context() as patch:
        patch.setattr("diip_jax.launch.output_files.write_json", full)
        assert run(capsys, three[0], f"--output_dir={out}", "--seed=1").code == 1
    assert names(out) == {"a.png"}
    assert run(capsys, three[0], f"--output_dir={out}", "--skip_existing").out[0].startswith(f"{three[0]} -> ")


def test_no_record_stands_beside_snapshots_that_are_not_its_own(capsys, tmp_path, three, monkeypatch):
    out = tmp_path / "out"
    run(capsys, three[0], f"--output_dir={out}", "--save_every=2")
    usual = module.write_pixels

    def interrupted(*arguments):
        usual(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_pixels", interrupted)
    assert run(capsys, three[0], f"--output_dir={out}", "--save_every=2", "--seed=1").code == 130
    assert names(out) == {"a.png", "a_k00002.png"}


def test_without_a_terminal_stderr_stays_empty(capsys, tmp_path, three):
    outcome = run(capsys, *three, f"--output_dir={tmp_path / 'out'}")
    assert outcome.err == [] and len(outcome.out) == 4


def test_seconds_leave_out_compilation(capsys, tmp_path, three):
    jax.clear_caches()
    run(capsys, three[0], f"--output_dir={tmp_path}")
    cold = record(tmp_path / "a.json")
    run(capsys, three[0], f"--output_dir={tmp_path}")
    warm = record(tmp_path / "a.json")
    assert cold["compile_seconds"] > 0.2 > warm["compile_seconds"]
    assert 0 < cold["seconds"] < cold["compile_seconds"] + warm["seconds"]
