"""The training command: from pictures to a prior that restores, interrupted or not, on one device or several."""

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest
from command_line import free_port
from networks import tiny_prior, uint8_images
from training_command import NETWORK, SETTINGS, STEPS, command, sha256_of, start, wait_for, write_pictures

from diip_jax import Blind, load_prior, restore
from diip_jax.models import DDPMUNetConfig
from diip_jax.prior import random_prior, read_card, save_prior
from diip_jax.train.main import main

ONE_LEVEL = DDPMUNetConfig(16, (8,), (False,), blocks_per_level=1, norm_groups=4, middle_attention=False)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder with `pictures`, and with `cache`, where the processes of this file keep what they compile."""
    folder = tmp_path_factory.mktemp("train")
    write_pictures(folder / "pictures")
    return folder


def run(shared, output, *arguments):
    """Runs the command in this process, six steps of it unless told otherwise: exit code, and lines of stderr."""
    given = [*NETWORK, "--batch_size=4", "--max_steps=6", f"--images={shared / 'pictures'}", *map(str, arguments)]
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        code = main([f"--output_dir={output}", *given])
    return code, told.getvalue().splitlines()


@pytest.fixture
def train(shared, tmp_path):
    """`run` into a folder of the test's own."""
    return lambda *arguments, output="prior": run(shared, tmp_path / output, *arguments)


FINISHED = ["--log_every=2", "--heldout_every=3", "--samples_every=3", "--save_every=6"]
FINISHED += ["--terms=Mine alone.", "--data=Clouds", "--stored_dtype=bfloat16"]


@pytest.fixture(scope="module")
def finished(shared):
    """(the folder of a finished prior, what its training told)."""
    code, lines = run(shared, shared / "finished", *FINISHED)
    assert code == 0, lines
    return shared / "finished", lines


def records(output):
    return [json.loads(line) for line in (Path(f"{output}.training") / "progress.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def undisturbed(shared):
    """The folder of a prior whose training nothing disturbed."""
    process = start(shared / "cache", f"--images={shared / 'pictures'}", f"--output_dir={shared / 'undisturbed'}")
    _, told = process.communicate()
    assert process.returncode == 0, told
    return shared / "undisturbed"


def test_a_folder_of_pictures_becomes_a_prior_that_restores(finished):
    output, lines = finished
    assert lines[-1] == f"finished: {output}, 24 images in 6 steps"
    prior = load_prior(output)
    assert prior.image_shape == (8, 8, 3) and prior.prediction == "v_prediction"
    restored = restore(Blind(prior, max_iterations=2), np.zeros((1, 8, 8, 3), np.float32))
    assert np.isfinite(restored.images).all()
    card = read_card(output)
    assert (card.data, card.terms, card.images_seen, card.began_from) == ("Clouds", "Mine alone.", 24, "")
    assert card.settings["batch_size"] == 4 and card.settings["weighting"] == "plain"
    assert card.heldout.step == 6 and card.heldout.images == 1 and card.heldout.t == (50, 100, 200, 400, 600, 800)
    assert "Mine alone." in (output / "README.md").read_text()


def test_what_it_tells(finished):
    output, lines = finished
    told = records(output)
    course = [record for record in told if "loss" in record]
    assert [record["step"] for record in course] == [1, 2, 4, 6]
    assert course[-1]["images_seen"] == 24 and course[-1]["learning_rate"] > 0 and course[-1]["images_per_second"] > 0
    assert [record["step"] for record in told if "heldout" in record] == [3, 6]
    training = Path(f"{output}.training")
    assert sorted((training / "samples").iterdir()) == [
        Path(record["samples"]) for record in told if "samples" in record
    ]
    assert any(line.startswith("step 2 of 6: loss ") and line.endswith(" left") for line in lines)
    assert any(line.startswith("step 3: held-out error of the noise") for line in lines)
    assert list((training / "tensorboard").iterdir())


def test_a_finished_training_is_left_alone(finished, shared):
    output, _ = finished
    before = (output / "README.md").stat()
    code, lines = run(shared, output, *FINISHED)
    assert code == 0 and lines[-1].startswith("finished")
    assert (output / "README.md").stat() == before


def test_another_training_is_not_gone_on_with(finished, shared):
    code, lines = run(shared, finished[0], *FINISHED, "--batch_size=2")
    assert code == 2
    assert "--batch_size=2: the training in" in lines[-1] and "has 4; give the same settings to go on" in lines[-1]


def test_it_learns(train, tmp_path):
    code, _ = train("--max_steps=300", "--warmup_steps=10", "--learning_rate=3e-3", "--ema_decay=0.9", "--log_every=1")
    assert code == 0
    losses = [record["loss"] for record in records(tmp_path / "prior") if "loss" in record]
    assert np.mean(losses[-50:]) < 0.7 * np.mean(losses[:5])


@pytest.mark.parametrize("arguments", [[], ["--prediction=epsilon", "--image_size=8", "--dtype=bfloat16"]])
def test_goes_on_from_another_checkpoint(tmp_path, arguments):
    begun = random_prior(ONE_LEVEL)
    save_prior(tmp_path / "given", begun)
    write_pictures(tmp_path / "larger", size=(16, 16))
    given = [f"--images={tmp_path / 'larger'}", f"--init_from={tmp_path / 'given'}"]
    code = main([*given, "--batch_size=4", "--max_steps=1", f"--output_dir={tmp_path / 'prior'}", *arguments])
    assert code == 0
    prior = load_prior(tmp_path / "prior")
    assert prior.model.block_channels == ONE_LEVEL.block_channels
    assert prior.model.image_size == (8 if "--image_size=8" in arguments else 16)
    assert prior.prediction == ("epsilon" if "--prediction=epsilon" in arguments else "v_prediction")
    assert read_card(tmp_path / "prior").began_from.startswith("given (")
    # One step of a rate that has hardly begun to rise: the weights are still nearly those of the checkpoint.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), prior.params, begun.params)


def test_a_training_that_is_ended_again_and_again_comes_to_the_same_weights(tmp_path, shared, undisturbed):
    """By signals, and by a limit on the size of files: whatever library meets it first, the state before is whole."""
    given = [f"--images={shared / 'pictures'}", f"--output_dir={tmp_path / 'prior'}"]
    ends = (13, signal.SIGTERM, 143), (27, signal.SIGKILL, -9), (44, signal.SIGINT, 130), (50, None, 2)
    for step, number, code in ends:
        process = start(shared / "cache", *given)
        begun = wait_for(process, f"step {step} of")
        assert any("goes on from step " in line for line in begun) == (step != 13)
        if number is None:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (10_000, 10_000))
        else:
            process.send_signal(number)
        _, told = process.communicate()
        assert process.returncode == code, told
        if code > 100:
            assert told.splitlines()[-1].endswith("the same command goes on from there")
        if code == 2:
            assert len([line for line in told.splitlines() if line.startswith("diip_jax.train: error: ")]) == 1, told
        load_prior(tmp_path / "prior")
    process = start(shared / "cache", *given)
    _, told = process.communicate()
    assert process.returncode == 0 and "goes on from step 4" in told, told
    assert sha256_of(tmp_path / "prior") == sha256_of(undisturbed)
    steps = [record["step"] for record in records(tmp_path / "prior") if "loss" in record]
    assert steps == list(range(1, STEPS + 1))


def test_devices_and_processes_train_alike(tmp_path, shared, undisturbed):
    given = [f"--images={shared / 'pictures'}", "--max_steps=20"]
    code, told_alone = run(shared, tmp_path / "one", *SETTINGS, "--max_steps=20")
    assert code == 0, told_alone
    together = [f"--output_dir={tmp_path / 'two'}", f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2"]
    processes = [start(shared / "cache", *given, *together, f"--process_id={n}", devices=1) for n in range(2)]
    told = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    assert sum("step 20 of 20" in lines for lines in told) == 1  # one of them tells
    losses = [
        [record["loss"] for record in records(output) if "loss" in record][:5]
        for output in (tmp_path / "one", tmp_path / "two", undisturbed)
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    np.testing.assert_allclose(losses[2][:5], losses[0], rtol=1e-3)
    one, two = (load_prior(tmp_path / name).params for name in ("one", "two"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), one, two)


def test_a_full_disk_is_one_line_and_the_last_state_is_kept(train, tmp_path, monkeypatch):
    assert train("--save_every=2", "--max_steps=8", "--log_every=5", output="undisturbed")[0] == 0
    free = iter([10**9, 10**9, 1000])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: mock.Mock(free=next(free)))
    code, lines = train("--save_every=2", "--max_steps=8", "--log_every=5")
    assert code == 2 and len([line for line in lines if "error" in line]) == 1
    assert "the state of step 6 cannot be written (0 MB are free of " in lines[-1]
    assert lines[-1].endswith("that of step 4 is kept; make room, and run the same command to go on")
    monkeypatch.undo()
    code, lines = train("--save_every=2", "--max_steps=8", "--log_every=5")
    assert code == 0 and any("goes on from step 4" in line for line in lines)
    once, twice = (load_prior(tmp_path / name).provenance.params_sha256 for name in ("undisturbed", "prior"))
    assert once == twice


def test_a_loss_that_is_not_finite_ends_it(train, tmp_path):
    code, lines = train("--learning_rate=1e38", "--clip_norm=1e30", "--warmup_steps=0", "--save_every=1")
    assert code == 2
    assert "at step 2: the training diverged; the state of step 1 is kept; begin anew with a lower" in lines[-1]
    load_prior(tmp_path / "prior")


def test_unusable_pictures_are_left_out_and_held_out_ones_may_be_ones_own(train, tmp_path):
    folder = write_pictures(tmp_path / "mixed")
    (folder / "04.png").write_bytes(b"no picture")
    (folder / "05.png").write_bytes(b"")
    np.savez(tmp_path / "judge.npz", images=uint8_images(5, side=8))
    code, lines = train(f"--images={folder}", f"--heldout={tmp_path / 'judge.npz'}", "--heldout_count=3")
    assert code == 0 and "12 pictures to train on, 3 to judge by" in lines[0]
    left_out = sorted(line for line in lines if line.endswith("left out"))
    assert len(left_out) == 2 and "04.png: is not an image" in left_out[0] and "05.png: is empty" in left_out[1]
    assert read_card(tmp_path / "prior").heldout.images == 3


def test_mistakes_are_one_line(train, tmp_path, shared):
    (tmp_path / "taken").mkdir()
    save_prior(tmp_path / "given", tiny_prior())
    for arguments, message in {
        ("--images=",): "--images is missing",
        ("--images=/nowhere",): "/nowhere: no such folder or file",
        ("--output_dir=",): "--output_dir is missing",
        (f"--output_dir={tmp_path / 'taken'}",): "exists already, and no training that could go on",
        ("--batch_size=12",): "has 11 pictures to train on, fewer than a batch of 12",
        (
            "--image_size=9",
            "--block_channels=8,8",
            "--attention_levels=false,false",
        ): "--image_size=9: expected a multiple of 2",
        ("--image_size=32", "--block_channels=8"): "no picture that can be used to judge by",
        ("--attention_levels=maybe",): "--attention_levels=maybe: expected bools",
        ("--crop=1,2,3",): "--crop=1,2,3: expected 4 ints",
        ("--crop=3,0,3,8",): "--crop=3,0,3,8: expected left,top,right,bottom",
        ("--scales=0.5",): "--scales: has no effect without random_crop",
        ("--images_at_once=3",): "images_at_once=3: expected a divisor",
        ("--norm_groups=3",): "--a level of 8 channels does not split into norm_groups=3",
        ("--in_channels=2",): "--in_channels=2: expected 3, or 1",
        ("--learning_rate=-1",): "--learning_rate=-1.0: expected a number above 0",
        (f"--init_from={tmp_path / 'given'}",): "the network is that of --init_from; leave it out",
        ("--weighting=odd",): "weighting",
        ("picture.png",): "unexpected argument",
    }.items():
        code, lines = train(*arguments)
        assert (code, len([line for line in lines if "error:" in line])) == (2, 1), (arguments, lines)
        assert message in lines[-1], (arguments, lines)
    assert not (tmp_path / "prior.training" / "state").exists()


def test_without_grain_the_line_says_what_to_install(tmp_path):
    (tmp_path / "grain.py").write_text("raise ModuleNotFoundError('no grain', name='grain')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command("--help"), env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        'diip_jax.train: error: grain is missing; run: pip install "diip_jax[train]"'
    )
