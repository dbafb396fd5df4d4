"""The command as a user meets it: what is accepted, what is refused and how."""

import dataclasses
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from adm_cases import tiny
from command_line import checkpoint, picture, pixels, record, run
from networks import UNET
from PIL import Image

from diip_jax.commands.settings import METHODS, DIIPSettings
from diip_jax.launch import flag_table, program_cache
from diip_jax.launch import main as launch
from diip_jax.machine import cpu_kind
from diip_jax.prior import random_prior, read_metadata, save_prior
from diip_jax.run import folder


@pytest.fixture
def one(tmp_path):
    return picture(tmp_path / "in" / "one.png")


def test_restores_and_records(capsys, tmp_path, one):
    outcome = run(capsys, f"--image={one}", f"--output_dir={tmp_path / 'new' / 'out'}")
    assert (outcome.code, outcome.err) == (0, [])
    out = tmp_path / "new" / "out"
    [line] = outcome.out
    assert line.startswith(f"{one} -> {out / 'one.png'}: 4 iterations, stopped by budget, returned k=3, ")
    assert {path.name for path in out.iterdir()} == {"one.png", "one.json"}
    assert pixels(out / "one.png").shape == (16, 16, 3)
    told = record(out / "one.json")
    settings = told["settings"]
    assert settings["method"] == "diip" and settings["stride"] == 250
    assert settings["learning_rate"] == DIIPSettings().learning_rate
    assert set(DIIPSettings.__dataclass_fields__) | {
        "method",
        "samples",
        "blend",
        "dtype",
        "class_label",
        "save_every",
    } == set(settings)
    assert told["prior"]["sha256"] == read_metadata(checkpoint())["provenance"]["params_sha256"]
    assert (told["iterations"], told["stop_reason"], told["selected_k"], told["seed"]) == (4, "budget", 3, 0)
    assert [len(trace) for trace in told["traces"].values()] == [4, 4]
    assert told["seconds"] > 0 and told["metrics"] is None and told["reference"] is None
    assert told["versions"]["jax"] == jax.__version__


@pytest.mark.parametrize("how", ["files", "positional", "folder", "glob"])
def test_image_takes_files_folders_and_globs(capsys, tmp_path, how):
    paths = [picture(tmp_path / "in" / f"{name}.png", n) for n, name in enumerate("ab")]
    given = {
        "files": [f"--image={path}" for path in paths],
        "positional": paths,
        "folder": [f"--image={tmp_path / 'in'}"],
        "glob": [f"--image={tmp_path}/i*/*.png"],
    }[how]
    outcome = run(capsys, *given, f"--output_dir={tmp_path / 'out'}")
    assert outcome.code == 0
    assert outcome.out[-1] == "2 restored, 0 skipped, 0 failed"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "a.json", "b.png", "b.json"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no image was given; add --image=PATH"),
        (["--image="], "--image is empty"),
        (["a.png", "--imge=b.png"], "imge"),
        (["a.png", "--image"], "image"),
        (["a.png", "--method=magic"], "--method=magic"),
        (["a.png", "--gradient=half"], "detached|full"),
        (["a.png", "--resize=stretch"], "fit|crop|error"),
        (["a.png", "--dtype=float16"], "float32|bfloat16"),
        (["a.png", "--stopping=never"], "paper|robust"),
        (["a.png", "--class_label=2"], "--class_label=2: this prior is not class-conditional; leave it out"),
        (["a.png", "--class_label=dog"], "--class_label=dog"),
        (["a.png", "--seed=-1"], "--seed=-1"),
        (["a.png", "--seed=one"], "--seed=one"),
        (["a.png", "--blend=1.5"], "--blend=1.5"),
        (["a.png", "--blend=nan"], "--blend=nan: expected a finite number"),
        (["a.png", "--samples=0"], "--samples=0"),
        (["a.png", "--quality=best", "--samples=2"], "--quality=best: it is --samples=8; give one of the two"),
        (["a.png", "--batch_size=0"], "--batch_size=0"),
        (["a.png", "--save_every=-1"], "--save_every=-1"),
        (["a.png", "--max_iterations=0"], "--max_iterations=0: expected at least 1"),
        (["a.png", "--learning_rate=0"], "--learning_rate=0.0: expected above 0"),
        (["a.png", "--learning_rate=inf"], "--learning_rate=inf: expected a finite number"),
        (["a.png", "--stopping=robust", "--k_min=-1"], "--k_min=-1: expected at least 0"),
        (["a.png", "--stopping=robust", "--smoothing=1"], "--smoothing=1.0"),
        (["a.png", "--stopping=robust", "--patience=0"], "--patience=0: expected at least 1"),
        (["a.png", "--stride=300"], "--stride=300: expected a divisor"),
        (["a.png", "--reference=nowhere"], "--reference=nowhere: no such file or folder"),
        (["a.png", "--checkpoint=nowhere"], "no such checkpoint folder"),
        (["a.png", "--checkpoint=~nobody-here/x"], "--checkpoint=~nobody-here/x: there is no such home directory"),
        (["a.png", "--reference=~nobody-here/x"], "--reference=~nobody-here/x: there is no such home directory"),
        (["a.png", "--output_dir=~nobody-here/x"], "--output_dir=~nobody-here/x: there is no such home directory"),
        (["a.png", f"--reference={'x' * 300}"], "x" * 300),
        (["a.png", f"--output_dir={'x' * 300}"], "x" * 300),
        (["a.png", f"--output_dir={'x' * 300}", "--dry_run"], "x" * 300),
        (["a.png", "--patience=3"], "--patience has no effect with --stopping=budget"),
        (["a.png", "--stopping=paper", "--smoothing=0.5"], "--smoothing has no effect with --stopping=paper; leave"),
        (["a.png", "--k_min=3"], "--k_min has no effect with --stopping=budget"),
        (["a.png", "--eps=0.1"], "--eps has no effect with --stopping=budget"),
        (["a.png", "--degradation=blur"], "--degradation: --method=diip has no such setting"),
        (["a.png", "--preset=code"], "--preset='code': expected one of paper"),
        (["a.png", "--mask=a.png"], "--mask has no effect here; leave it out, or use --method=bird --degradation=mask"),
        (["a.png", "--method=bird", "--degradation=mask"], "--mask is missing: give the picture"),
        (
            ["a.png", "--method=bird", "--degradation=mask", "--mask=none.png"],
            "--mask=none.png: no such file or folder",
        ),
        (["a.png", "--method=bird", "--degradation=rain"], "identity|blur|varying_blur|downsample|mask|gain_offset"),
        (["a.png", "--method=bird", "--kernel_size=4"], "--kernel_size=4: expected an odd number, 1 or more"),
        (["a.png", "--method=bird", "--kernel_size=17"], "--kernel_size=17: larger than the image, which is 16x16"),
        (
            ["a.png", "--method=bird", "--degradation=downsample", "--scale=3"],
            "--scale=3: expected a divisor of 16 and 16",
        ),
        (["a.png", "--method=bird", "--degradation=downsample", "--scale=1"], "--scale=1: expected at least 2"),
        (["a.png", "--method=blind", "--scale=3"], "--scale=3: expected a divisor of 16 and 16"),
        (["a.png", "--scale=2"], "--scale: --method=diip has no such setting"),
        (["a.png", "--method=bird", "--boundary=valid", "--kernel_size=17"], "--boundary='valid' takes 8 px off all"),
        (
            ["a.png", "--method=bird", "--kernel_model=known"],
            "--kernel is missing: --kernel_model=known needs the kernel",
        ),
        (["a.png", "--method=bird", "--kernel=none.npy"], "--kernel=none.npy: no such file or folder; check the path"),
        (["a.png", "--shard=2/2"], "--shard=2/2: expected I/N with I from 0 to N - 1"),
        (["a.png", "--manifest=a.csv"], "--manifest names the images; leave --image out"),
        (["--manifest=none.csv"], "--manifest=none.csv: no such file or folder"),
        (["a.png", "--method=bird", "--kernel=a.png"], "a.png: is 16x16, expected a square kernel of odd size"),
    ],
)
def test_wrong_usage_is_one_line_and_2(capsys, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a.png")
    outcome = run(capsys, *arguments)
    assert outcome.code == 2 and outcome.out == []
    [line] = outcome.err
    assert line.startswith("diip_jax.launch: error: ") and says in line
    assert not (tmp_path / "restored").exists()


def test_a_scale_of_which_the_prior_does_not_take_the_picture(capsys, tmp_path, one):
    save_prior(tmp_path / "unet", random_prior(UNET))
    outcome = run(capsys, one, "--method=blind", "--scale=16", f"--checkpoint={tmp_path / 'unet'}")
    assert outcome.code == 2 and outcome.out == []
    assert "images are 1x1: this prior takes sides that are multiples of 2" in outcome.err[-1]


def test_damaged_checkpoint(capsys, tmp_path, one):
    (tmp_path / "prior").mkdir()
    outcome = run(capsys, one, f"--checkpoint={tmp_path / 'prior'}")
    assert outcome.code == 2 and len(outcome.err) == 1 and str(tmp_path / "prior") in outcome.err[0]


def test_unwritable_output_folder(capsys, tmp_path, one):
    (tmp_path / "file").write_text("")
    for extra in ([], ["--dry_run"]):
        outcome = run(capsys, one, f"--output_dir={tmp_path / 'file' / 'out'}", *extra)
        assert outcome.code == 2
        assert "outputs cannot be written here" in outcome.err[-1] and len(outcome.err) == 1


def test_compare_without_matplotlib(capsys, one, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    outcome = run(capsys, one, "--compare")
    assert outcome.code == 2
    assert outcome.err == ['diip_jax.launch: error: --compare needs matplotlib; run: pip install "diip_jax[plots]"']


def test_one_reference_for_several_images(capsys, tmp_path, one):
    two = picture(tmp_path / "in" / "two.png")
    outcome = run(capsys, one, two, f"--reference={one}", f"--output_dir={tmp_path / 'out'}")
    assert outcome.code == 2 and "one file for 2 images" in outcome.err[0]


def test_bad_files_cost_no_good_one(capsys, tmp_path, monkeypatch):
    folder = tmp_path / "in"
    good = [picture(folder / "a.png", 1), picture(folder / "z.png", 2)]
    large, small = (picture(tmp_path / "whole.png", 3, (side, side)).read_bytes() for side in (64, 16))
    bad = {
        "missing.png": (None, "no such file"),
        "text.png": (b"hello", "not an image"),
        "cut.png": (small[: len(small) // 2], "truncated"),
        "empty.png": (b"", "zero bytes"),
        "bomb.png": (large, "pixels"),
    }
    for name, (data, _) in bad.items():
        if data is not None:
            (folder / name).write_bytes(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    given = [good[0], *(folder / name for name in bad), good[1]]
    outcome = run(capsys, *given, f"--output_dir={tmp_path / 'out'}", "--batch_size=2")
    assert outcome.code == 1
    assert outcome.out[-1] == f"2 restored, 0 skipped, {len(bad)} failed"
    assert len(outcome.err) == len(bad)
    for name, (_, says) in bad.items():
        [line] = [line for line in outcome.err if name in line]
        assert line.startswith(f"diip_jax.launch: error: {folder / name}: ") and says in line
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "a.json", "z.png", "z.json"}


def test_only_bad_images_is_1(capsys, tmp_path):
    outcome = run(capsys, tmp_path / "none.png", f"--output_dir={tmp_path / 'out'}")
    assert outcome.code == 1 and len(outcome.err) == 1 and not (tmp_path / "out").exists()


def test_dry_run_writes_nothing(capsys, tmp_path, one):
    wide = picture(tmp_path / "in" / "wide.png", size=(16, 32))
    (tmp_path / "in" / "bad.png").write_bytes(b"")
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "out"
    outcome = run(capsys, tmp_path / "in", "--dry_run", f"--output_dir={out}", "--compare", "--save_every=2")
    assert outcome.code == 1 and len(outcome.err) == 1 and "bad.png" in outcome.err[0]
    assert sorted(tmp_path.rglob("*")) == before
    prior, settings, first, second = outcome.out
    assert "16x16x3" in prior and read_metadata(checkpoint())["provenance"]["params_sha256"] in prior
    assert "stride=250" in settings and "seed=0" in settings
    assert first == f"{one}: 16x16 RGB: restore to {out}/one{{.png,_compare.png,.json}} and up to 1 snapshot"
    assert second.startswith(f"{wide}: 16x32 RGB; fit to 8x16 of 16x16: restore to ")


def test_dry_run_says_what_is_skipped(capsys, tmp_path, one):
    out = f"--output_dir={tmp_path / 'out'}"
    run(capsys, one, out)
    outcome = run(capsys, one, out, "--dry_run", "--skip_existing")
    assert outcome.out[-1] == f"{one}: 16x16 RGB: skip, finished"
    outcome = run(capsys, one, out, "--dry_run", "--skip_existing", "--seed=1")
    assert "was made with seed=0, now 1: restore to" in outcome.out[-1]


def test_a_folder_that_may_not_be_read_is_one_line(capsys, tmp_path, one, monkeypatch):
    usual = Path.iterdir

    def refuse(path):
        if path.name == "clean":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return usual(path)

    (tmp_path / "clean").mkdir()
    monkeypatch.setattr(Path, "iterdir", refuse)
    outcome = run(capsys, one, f"--reference={tmp_path / 'clean'}", f"--output_dir={tmp_path / 'out'}")
    says = f"diip_jax.launch: error: {tmp_path / 'clean'}: Permission denied; check the path and its rights"
    assert (outcome.code, outcome.err) == (2, [says])


def test_settings_of_any_method_are_tried_on_the_prior(capsys, tmp_path, one, monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Other(DIIPSettings):
        pass

    class Odd(Other):
        def method(self, prior):
            raise ValueError("the prior is odd")

    monkeypatch.setitem(METHODS, "other", Other)
    monkeypatch.setitem(METHODS, "odd", Odd)
    outcome = run(capsys, one, "--method=other", "--stride=300", f"--output_dir={tmp_path / 'out'}")
    assert outcome.code == 2 and "error: --stride=300: expected a divisor" in outcome.err[0]
    outcome = run(capsys, one, "--method=odd", f"--output_dir={tmp_path / 'out'}")
    assert (outcome.code, outcome.err) == (2, ["diip_jax.launch: error: the prior is odd"])


def test_without_a_home_nothing_is_kept(capsys, tmp_path, one, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(program_cache.Path, "home", homeless)
    monkeypatch.setitem(os.environ, "XDG_CACHE_HOME", "")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    before = jax.config.jax_compilation_cache_dir
    program_cache.keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == before


def test_programs_unused_for_longest_are_removed(tmp_path):
    for age, name in enumerate(("one/a", "other/b", "one/c")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (1000 - age, 500))

    def left():
        return {path.name for path in tmp_path.rglob("*") if path.is_file()}

    program_cache.remove_oldest(tmp_path, 30)
    assert left() == {"a", "b", "c"}
    program_cache.remove_oldest(tmp_path, 29)
    assert left() == {"a", "b"}
    program_cache.remove_oldest(tmp_path, 0)
    assert left() == set()


def test_compiled_programs_are_kept(tmp_path, monkeypatch):
    kept = {}
    monkeypatch.setattr(jax.config, "update", kept.__setitem__)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    program_cache.keep_compiled_programs()
    assert not kept  # JAX reads the user's own folder from the environment
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    program_cache.keep_compiled_programs()
    folder = tmp_path / "diip_jax" / "xla" / cpu_kind()
    assert kept == {"jax_compilation_cache_dir": str(folder), "jax_persistent_cache_min_compile_time_secs": 0.0}
    assert folder.is_dir()


def test_grey_prior_restores_grey(capsys, tmp_path, one):
    out = tmp_path / "out"
    usual = [one, f"--checkpoint={checkpoint(1)}", f"--output_dir={out}"]
    assert run(capsys, *usual, f"--reference={one}", "--compare").code == 0
    assert pixels(out / "one.png").shape == (16, 16)
    assert record(out / "one.json")["metrics"]["psnr_input"] is None  # infinite: the reference is the input
    assert run(capsys, *usual, "--blend=0").code == 0
    assert np.abs(pixels(out / "one.png") - pixels(one) @ [0.299, 0.587, 0.114]).max() <= 0.51


def test_a_class_conditional_prior_is_told_the_class(capsys, tmp_path, one):
    save_prior(tmp_path / "prior", random_prior(tiny(num_classes=3).model))
    usual = (one, f"--checkpoint={tmp_path / 'prior'}", "--max_iterations=1", f"--output_dir={tmp_path / 'out'}")
    assert run(capsys, *usual, "--class_label=2", "--dry_run").out[1].count("class_label=2") == 1
    outcome = run(capsys, *usual, "--class_label=3")
    assert outcome.code == 2
    assert outcome.err == ["diip_jax.launch: error: --class_label=3: this prior has classes 0 to 2"]
    assert run(capsys, *usual, "--class_label=2").code == 0
    assert record(tmp_path / "out" / "one.json")["settings"]["class_label"] == 2
    # Restored with another class is not restored already.
    assert "was made with class_label=2, now 1" in run(capsys, *usual, "--class_label=1", "--skip_existing").out[0]


def test_no_ordinary_picture_warns(capsys, tmp_path):
    """Warnings are errors here, and would cost the picture its result."""
    folder = tmp_path / "in"
    folder.mkdir()
    ramp = np.linspace(0, 255, 48).reshape(4, 12)
    for name, values in {
        "bright": 130 + ramp / 3,
        "white": np.full((16, 16), 255),
        "black": np.zeros((16, 16)),
        "pixel": np.full((1, 1), 99),
        "line": ramp.reshape(1, -1),
        "column": ramp.reshape(-1, 1),
    }.items():
        Image.fromarray(values.astype(np.uint8)).save(folder / f"{name}.png")
    picture(folder / "clear.png", mode="RGBA")
    Image.new("RGBA", (16, 16)).save(folder / "invisible.png")
    usual = [folder, f"--output_dir={tmp_path / 'out'}", "--compare", "--samples=2", f"--reference={folder}"]
    outcome = run(capsys, *usual, "--batch_size=4")
    assert (outcome.code, outcome.err) == (0, []) and outcome.out[-1] == "8 restored, 0 skipped, 0 failed"
    bright = folder / "bright.png"
    assert run(capsys, bright, f"--output_dir={tmp_path / 'alone'}").code == 0


def test_the_card_tells_the_data_and_the_terms(capsys):
    for more, data in ([], "CelebA"), (["--checkpoint=photos"], "Berkeley"):
        assert launch.main(["--card", *more]) == 0
        told = capsys.readouterr().out
        assert data in told and "terms: " in told and "non-commercial" in told
    assert run(capsys, "--card").out == ["terms: none are recorded; ask whoever made the checkpoint"]


def test_the_best_quality_is_the_mean_of_eight(capsys, tmp_path, one):
    def pixels(path):
        with Image.open(path) as picture:
            return np.asarray(picture, float)

    assert run(capsys, one, f"--output_dir={tmp_path}", "--quality=best").code == 0
    samples = np.stack([pixels(tmp_path / f"one_sample{i}.png") for i in range(8)])
    assert np.ptp(samples, axis=0).max() > 0
    np.testing.assert_allclose(pixels(tmp_path / "one.png"), samples.mean(0), atol=1.01)


def test_pictures_that_are_left_out_are_named_and_the_others_restored(capsys, tmp_path, one):
    (one.parent / "raw.nef").touch()
    (one.parent / "gone.png").symlink_to(tmp_path / "nowhere.png")
    for extra in ([], ["--dry_run"]):
        outcome = run(capsys, one.parent, f"--output_dir={tmp_path / 'out'}", *extra)
        assert outcome.code == 0
        says = f"1 .nef, 1 dangling link, such as {one.parent / 'gone.png'}; convert them to PNG"
        assert outcome.err == [f"diip_jax.launch: left out, as they cannot be read here: {says}"]


@pytest.mark.parametrize("how", ["an encoding without it", "closed", "full"])
def test_what_becomes_of_the_report_decides_nothing(capsys, tmp_path, monkeypatch, how):
    one = picture(tmp_path / "in" / "日本.png")
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="cp1252")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if how == "closed":
        stream.close()
    if how == "full":
        stream = io.StringIO()
        monkeypatch.setattr(stream, "write", full)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    usual = [f"--checkpoint={checkpoint()}", "--method=diip", "--stride=250", "--max_iterations=1"]
    code = launch.main([*usual, str(one), f"--output_dir={tmp_path / 'out'}"])
    monkeypatch.undo()
    assert code == 0 and {path.name for path in (tmp_path / "out").iterdir()} == {"日本.png", "日本.json"}


def test_help_and_module_entry():
    done = subprocess.run([sys.executable, "-m", "diip_jax.launch", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert "--image=PATH" in done.stdout and "Exit code" in done.stdout
    assert "~/.cache/diip_jax/xla" in done.stdout and "iterate k = 9" in done.stdout


def test_the_blind_method_is_the_default_and_records_the_blur_that_it_found(capsys, tmp_path, one):
    assert flag_table.define_flags()["method"].default == "blind"
    outcome = run(capsys, one, "--method=blind", f"--output_dir={tmp_path / 'out'}")
    assert outcome.code == 0
    told = record(tmp_path / "out" / "one.json")
    assert told["settings"]["method"] == "blind" and told["settings"]["last_level"] == 0.03
    assert np.shape(told["operator"]["covariance"]) == (2, 2)
    assert "blur" not in told["settings"]
    assert outcome.out[0].startswith(f"{one} -> {tmp_path / 'out' / 'one.png'}: found {told['found']}, ")


def test_a_known_blur_takes_the_place_of_the_one_that_is_found(capsys, tmp_path, one):
    arguments = (one, "--method=blind", "--blur=1.5", "--noise=0", f"--output_dir={tmp_path / 'out'}")
    assert run(capsys, *arguments).out[0].endswith(" s") and run(capsys, *arguments, "--skip_existing").code == 0
    told = record(tmp_path / "out" / "one.json")
    assert told["found"].startswith("blur of 1.5 px") and told["settings"]["noise"] == 0
    np.testing.assert_allclose(told["operator"]["covariance"], 2.25 * np.eye(2), rtol=1e-6)


@pytest.fixture
def four(tmp_path):
    return [picture(tmp_path / "in" / f"{name}.png", n) for n, name in enumerate("abcd")]


def test_shards_restore_every_image_once(capsys, tmp_path, four):
    done = []
    for index in range(3):
        outcome = run(capsys, *four, f"--shard={index}/3", f"--output_dir={tmp_path / 'out'}")
        assert outcome.code == 0
        done += [line.split(" ->")[0] for line in outcome.out if " -> " in line]
    assert sorted(done) == sorted(map(str, four))


def test_a_folder_that_another_run_has_is_refused(capsys, tmp_path, four):
    out = tmp_path / "out"
    out.mkdir()
    with folder.held(out, "another", False):
        outcome = run(capsys, *four, f"--output_dir={out}")
    assert outcome.code == 2
    assert outcome.err == [
        f"diip_jax.launch: error: {out}: another run writes here; wait for it, or choose another folder"
    ]
    with folder.held(out, "another", True):
        outcome = run(capsys, *four, f"--output_dir={out}", "--share_output")
    assert outcome.code == 2 and "another run writes here with other settings (another)" in outcome.err[0]
    assert list(out.iterdir()) == []


def test_failed_images_may_be_tolerated_and_are_counted(capsys, tmp_path, four):
    four[1].write_bytes(b"")
    log = tmp_path / "run.jsonl"
    outcome = run(capsys, *four, f"--output_dir={tmp_path / 'out'}", "--tolerate_failures", f"--run_log={log}")
    assert outcome.code == 0 and len(outcome.err) == 1
    [told] = map(json.loads, log.read_text().splitlines())
    assert told["images"] == {"restored": 3, "skipped": 0, "failed": 1} and told["failures"] == {"input": 1}
    assert (told["iterations"], told["network_evaluations"], told["slot_use"]) == (12, 48, 1.0)
    assert told["bytes_written"] == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert told["bytes_read"] == sum(path.stat().st_size for path in four)
    assert run(capsys, *four, f"--output_dir={tmp_path / 'out'}").code == 1


def test_a_manifest_is_several_runs_in_one(capsys, tmp_path, four):
    rows = ["path,seed,method,max_iterations", "a.png,5,,", "b.png,,dip,3", "c.png,,,", "d.png,6,,"]
    (tmp_path / "in" / "list.csv").write_text("\n".join(rows))
    out = tmp_path / "out"
    given = [f"--manifest={tmp_path / 'in' / 'list.csv'}", f"--output_dir={out}"]
    # The flags of the tests' usual run that DIP does not have are left out for it.
    usual = ["--method=diip", "--stopping=budget"]
    outcome = run(capsys, *given, *usual)
    assert outcome.code == 2 and "list.csv, row 2: --stride: --method=dip has no such setting" in outcome.err[0]
    rows[2] = "b.png,,bird,3"
    (tmp_path / "in" / "list.csv").write_text("\n".join(rows))
    outcome = run(capsys, *given)
    assert (outcome.code, outcome.err, outcome.out[-1]) == (0, [], "4 restored, 0 skipped, 0 failed")
    told = {name: record(out / f"{name}.json") for name in "abcd"}
    assert [told[name]["seed"] for name in "abcd"] == [5, 0, 0, 6]
    assert [told[name]["settings"]["method"] for name in "abcd"] == ["diip", "bird", "diip", "diip"]
    assert [told[name]["iterations"] for name in "abcd"] == [4, 3, 4, 4]
    alone = tmp_path / "alone"
    run(capsys, four[0], "--seed=5", f"--output_dir={alone}")
    assert (alone / "a.png").read_bytes() == (out / "a.png").read_bytes()
    assert run(capsys, *given, "--skip_existing").out[-1] == "0 restored, 4 skipped, 0 failed"
