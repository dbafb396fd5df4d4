"""An animation has the snapshots and the result as its frames, exactly."""

import numpy as np
import pytest
from command_line import picture, record, run
from PIL import Image, ImageSequence

from diip_jax.images import ImageError
from diip_jax.launch.animation import write_animation


def test_frames_are_the_snapshots_and_the_result(capsys, tmp_path):
    image = picture(tmp_path / "in" / "one.png")
    outcome = run(capsys, image, f"--output_dir={tmp_path}", "--save_every=1", "--animate")
    assert (outcome.code, outcome.err) == (0, [])
    files = [snapshot["file"] for snapshot in record(tmp_path / "one.json")["snapshots"]] + ["one.png"]
    assert len(files) == 4
    with Image.open(tmp_path / "one_animation.webp") as animation:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(animation)]
    for file, frame in zip(files, frames, strict=True):
        still = np.asarray(Image.open(tmp_path / file))
        np.testing.assert_array_equal(frame, still.repeat(16, axis=0).repeat(16, axis=1))


def test_each_sample_has_its_own(capsys, tmp_path):
    image = picture(tmp_path / "in" / "one.png")
    run(capsys, image, f"--output_dir={tmp_path}", "--save_every=2", "--animate", "--samples=2")
    firsts = []
    for i in range(2):
        with Image.open(tmp_path / f"one_sample{i}_animation.webp") as animation:
            firsts.append(np.asarray(animation.convert("RGB"))[::16, ::16])
        np.testing.assert_array_equal(firsts[i], np.asarray(Image.open(tmp_path / f"one_sample{i}_k00002.png")))
    assert not np.array_equal(*firsts)


def test_an_animation_that_is_missing_is_made_again(capsys, tmp_path):
    image = picture(tmp_path / "in" / "one.png")
    flags = [image, f"--output_dir={tmp_path}", "--save_every=2", "--skip_existing"]
    run(capsys, *flags)
    outcome = run(capsys, *flags, "--animate")
    assert (tmp_path / "one_animation.webp").is_file() and "restored again" in outcome.out[0]
    assert "skipped" in run(capsys, *flags, "--animate").out[0]


def test_without_snapshots_there_is_nothing_to_show(capsys, tmp_path):
    outcome = run(capsys, picture(tmp_path / "one.png"), "--animate")
    assert outcome.code == 2 and outcome.err == [
        "diip_jax.launch: error: --animate shows snapshots; add --save_every=5, or another number of iterations "
        "between two"
    ]


def test_a_frame_that_is_gone_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.png: cannot be read back .*; restore the image again"):
        write_animation(tmp_path / "a.webp", [tmp_path / "gone.png"])
