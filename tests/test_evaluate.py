"""The command `python -m diip_jax.evaluate`, on a tiny prior and a protocol of its size."""

import json

import numpy as np
import pytest
from networks import images, tiny_prior
from PIL import Image

from diip_jax.evaluate import __main__ as command
from diip_jax.evaluate.noise_prediction import noise_prediction_errors
from diip_jax.evaluate.protocol import QUALITY, Entry
from diip_jax.methods import DIIP
from diip_jax.prior import load_prior, save_prior

TINY = (
    Entry("a", DIIP(stride=500, max_iterations=4, k_min=1), ("paper", "robust"), 2),
    Entry("b", DIIP(stride=500, max_iterations=3, gradient="full"), ("loss_slope",), 1),
)


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "QUALITY", TINY)
    save_prior(tmp_path / "prior", tiny_prior())
    clean = np.rint((np.asarray(images(3)) + 1) * 127.5).astype(np.uint8)
    np.savez(tmp_path / "clean.npz", images=clean)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "clean.npz").read_bytes()[:500])
    (tmp_path / "folder").mkdir()
    for i, image in enumerate(clean[1:]):
        Image.fromarray(image).save(tmp_path / "folder" / f"{i}.png")
    return [f"--checkpoint={tmp_path / 'prior'}", f"--output_dir={tmp_path / 'out'}", "--tasks=noise,jpeg"]


def test_the_table_has_every_row_and_can_be_made_again_without_work(arguments, tmp_path, capsys):
    assert command.main([*arguments, f"--images={tmp_path / 'clean.npz'}", "--first=1"]) == 0
    out = capsys.readouterr().out
    names = [line.split("|")[2].strip() for line in out.splitlines()[2:]]
    of_two = ["input (2)", "a (2), paper", "a (2), robust", "a (2), oracle stop"]
    of_one = [name.replace("(2)", "(1)") for name in of_two] + ["b (1), loss_slope", "b (1), oracle stop"]
    assert names == (of_two + of_one) * 2
    assert (tmp_path / "out" / "quality.md").read_text() == out
    rows = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert [len(r["psnr"]) for r in rows[:10]] == [2] * 4 + [1] * 6
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "trajectories").iterdir()}
    # A folder of the same pictures is the same protocol: nothing is computed again.
    assert command.main([*arguments, f"--images={tmp_path / 'folder'}"]) == 0
    assert capsys.readouterr().out == out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "trajectories").iterdir()} == files


def test_one_entry_alone(arguments, tmp_path, capsys):
    assert command.main([*arguments, f"--images={tmp_path / 'clean.npz'}", "--entry=b"]) == 0
    assert "a (2)" not in capsys.readouterr().out
    assert [path.name for path in sorted((tmp_path / "out").glob("quality*"))] == ["quality-b.json", "quality-b.md"]


@pytest.mark.parametrize(
    "extra, message",
    [
        ([], "--images is missing"),
        (["--images={tmp}/none.npz"], "none.npz: holds no array `images` that can be read"),
        (["--images={tmp}/none"], "none"),
        (["--images={tmp}/cut.npz"], "cut.npz: holds no array `images` that can be read"),
        (["--images={tmp}/clean.npz", "--first=3"], "--first=3: no image is left"),
        (["--images={tmp}/clean.npz", "--entry=c"], "--entry=c: expected of a; b"),
        (["--images={tmp}/clean.npz", "--tasks=rain"], "--tasks=rain: expected of noise, blur"),
        (["--image={tmp}/clean.npz"], "Unknown command line flag 'image'"),
        (["--images={tmp}/clean.npz", "--prior"], "--tasks, --output_dir: no effect with --prior; leave it out"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, extra, message, tmp_path, capsys):
    assert command.main([*arguments, *(part.format(tmp=tmp_path) for part in extra)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("diip_jax.evaluate: error: ") and message in error and error.count("\n") == 1


def test_the_prior_is_judged_on_the_same_images(arguments, tmp_path, capsys):
    judged = [arguments[0], "--prior", "--first=1"]
    tables = []
    for more in ([], [], ["--seed=1"], ["--dtype=bfloat16"]):
        assert command.main([*judged, f"--images={tmp_path / 'clean.npz'}", *more]) == 0
        tables.append(capsys.readouterr().out)
    head, _, means, intervals = tables[0].splitlines()
    assert head == "| t | 50 | 100 | 200 | 400 | 600 | 800 | mean |"
    assert means.startswith("| prior, float32, 2 images | ") and intervals.startswith("| 95 % interval | ")
    prior, clean = load_prior(tmp_path / "prior"), np.load(tmp_path / "clean.npz")["images"][1:]
    assert f"| {noise_prediction_errors(prior, clean, np.array([50])).mean():.6f} |" in means
    assert tables[0] == tables[1] and len({*tables}) == 3
    assert not (tmp_path / "out").exists()


def test_images_of_another_size_are_refused(arguments, tmp_path, capsys):
    np.savez(tmp_path / "large.npz", images=np.zeros((1, 32, 32, 3), np.uint8))
    assert command.main([*arguments, f"--images={tmp_path / 'large.npz'}"]) == 2
    assert "images are (1, 32, 32, 3) uint8, expected [N, 16, 16, 3] uint8" in capsys.readouterr().err


def test_the_published_protocol_reports_both_gradient_modes_and_the_printed_numbers():
    assert {entry.settings.gradient for entry in QUALITY} == {"detached", "full"}
    assert {entry.settings.learning_rate for entry in QUALITY} == {0.01, 0.0015}
    assert all(entry.settings.max_iterations > entry.settings.k_min for entry in QUALITY)
    # The first entry is what a user gets, but for the stride, which the table's caption states.
    assert QUALITY[0].settings == DIIP(stride=200)
