"""Names of outputs, references, and what counts as finished."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from command_line import checkpoint, picture, record, run
from PIL import Image

from diip_jax.commands.settings import DIIPSettings
from diip_jax.launch.outputs import Outputs
from diip_jax.launch.plan import Run, plan_jobs
from diip_jax.prior import load_prior, save_prior


@pytest.fixture
def plan(tmp_path):
    def plan(*paths, reference=None, mask=None, **settings):
        method = DIIPSettings(max_iterations=4)
        run = Run("diip", method, 4, tmp_path / "out", **settings)
        return plan_jobs(paths, run, Outputs(run.output_dir), reference, mask)

    return plan


def test_namesakes_keep_their_folders(plan, tmp_path):
    paths = [picture(tmp_path / "in" / name) for name in ("a/x.png", "b/deep/x.png", "b/y.png")]
    jobs, errors = plan(*paths)
    assert not errors
    out = tmp_path / "out"
    assert [job.output(".png") for job in jobs] == [out / "a" / "x.png", out / "b" / "deep" / "x.png", out / "y.png"]


def test_namesakes_are_restored_into_their_folders(capsys, tmp_path):
    paths = [picture(tmp_path / name / "x.png", n) for n, name in enumerate("ab")]
    assert run(capsys, *paths, f"--output_dir={tmp_path / 'out'}").code == 0
    written = [tmp_path / "out" / folder / "x.png" for folder in "ab"]
    assert written[0].read_bytes() != written[1].read_bytes()


def test_pictures_that_differ_in_their_extension_are_both_restored(capsys, tmp_path):
    paths = [picture(tmp_path / "in" / name, n) for n, name in enumerate(("x.bmp", "x.png"))]
    assert run(capsys, tmp_path / "in", f"--output_dir={tmp_path / 'out'}").code == 0
    written = [tmp_path / "out" / f"{path.name}.png" for path in paths]
    assert written[0].read_bytes() != written[1].read_bytes()


@pytest.mark.parametrize(
    "name", ["x_compare.png", "x_spread.png", "x_sample1.png", "x_sample0_k00002.png", "x_sample1_kernel.png"]
)
def test_names_of_extra_outputs_are_taken_too(plan, tmp_path, name):
    paths = [picture(tmp_path / "x.png"), picture(tmp_path / name)]
    [job], [error] = plan(*paths, samples=2, compare=True, save_every=2, estimates=("kernel",))
    assert job.path == paths[0] and f"would write {tmp_path / 'out' / name}" in str(error)
    assert len(plan(*paths)[0]) == 2


@pytest.mark.parametrize("name", ["x.png", "x_compare.png", "link.png"])
def test_no_input_is_overwritten(plan, tmp_path, name):
    source = picture(tmp_path / "out" / "x.png")
    if name == "link.png":
        source = tmp_path / "x.png"
        source.symlink_to(tmp_path / "out" / "x.png")
    others = [picture(tmp_path / "out" / name)] if name == "x_compare.png" else []
    paths = [picture(tmp_path / "in" / "x.png")] if others else [source]
    jobs, errors = plan(*paths, *others, compare=True)
    assert f"would overwrite the input {(others or paths)[0]}; choose another --output_dir" in str(errors[0])
    assert not jobs or jobs[0].path == others[0]


def test_no_reference_is_overwritten(plan, tmp_path):
    clean = picture(tmp_path / "out" / "x.png")
    jobs, [error] = plan(picture(tmp_path / "in" / "x.png"), reference=clean)
    assert not jobs and f"would overwrite the input {clean}" in str(error)


def test_references_are_found_by_name(plan, tmp_path):
    clean = tmp_path / "clean"
    paths = [picture(tmp_path / "in" / name) for name in ("a.png", "b.png", "c.png", "d.png")]
    for name in ("a.bmp", "b.png", "b.bmp", "d.bmp", "d.gif"):
        picture(clean / name)
    jobs, errors = plan(*paths, reference=clean)
    assert [job.reference for job in jobs] == [clean / "a.bmp", clean / "b.png"]
    assert str(errors[0]) == f"{paths[2]}: has no reference c.* in {clean}; add it, or leave this image out"
    assert str(errors[1]) == f"{paths[3]}: has several references in {clean} (d.bmp, d.gif); keep one"


def test_masks_are_found_by_name_and_one_may_serve_for_all(plan, tmp_path):
    paths = [picture(tmp_path / "in" / name) for name in ("a.png", "b.png")]
    masks = [picture(tmp_path / "masks" / name) for name in ("a.png", "b.bmp")]
    assert [job.mask for job in plan(*paths, mask=tmp_path / "masks")[0]] == masks
    assert [job.mask for job in plan(*paths, mask=masks[0])[0]] == [masks[0], masks[0]]
    masks[1].unlink()
    _, [error] = plan(*paths, mask=tmp_path / "masks")
    assert str(error) == f"{paths[1]}: has no mask b.* in {tmp_path / 'masks'}; add it, or leave this image out"
    outputs = picture(tmp_path / "out" / "a.png")
    assert f"would overwrite the input {outputs}" in str(plan(paths[0], mask=outputs)[1][0])


def test_references_of_namesakes(plan, tmp_path):
    paths = [picture(tmp_path / "in" / folder / "x.png") for folder in "ab"]
    common = picture(tmp_path / "clean" / "x.png")
    assert [job.reference for job in plan(*paths, reference=tmp_path / "clean")[0]] == [common, common]
    own = [picture(tmp_path / "clean" / folder / "x.png") for folder in "ab"]
    assert [job.reference for job in plan(*paths, reference=tmp_path / "clean")[0]] == own


def test_a_reference_that_cannot_be_looked_up_costs_its_own_image(plan, tmp_path, monkeypatch):
    paths = [picture(tmp_path / "in" / folder / "x.png") for folder in "ab"]
    for folder in "ab":
        picture(tmp_path / "clean" / folder / "x.png")
    usual = type(tmp_path).iterdir

    def refuse(path):
        if path.name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return usual(path)

    monkeypatch.setattr(type(tmp_path), "iterdir", refuse)
    [job], [error] = plan(*paths, reference=tmp_path / "clean")
    assert job.path == paths[1] and str(error).startswith(f"{paths[0]}: ") and "Permission denied" in str(error)


CHANGES = {
    "--seed=5": "made with seed=0, now 5",
    "--blend=0.5": "made with blend=1.0, now 0.5",
    "--resize=crop": "made with resize=fit, now crop",
    "--learning_rate=0.02": "made with learning_rate=0.01, now 0.02",
    "--compare": "was incomplete",
    "--save_every=4": "made with save_every=0, now 4",
}


def test_skip_existing_restores_what_differs(capsys, tmp_path):
    one, out = picture(tmp_path / "in" / "one.png"), tmp_path / "out"
    usual = [one, f"--output_dir={out}", "--skip_existing"]
    assert run(capsys, *usual).out[0].startswith(f"{one} -> ")
    assert run(capsys, *usual).out == [f"{one}: skipped, {out / 'one.json'} is finished"]
    for change, says in CHANGES.items():
        preview = run(capsys, *usual, change, "--dry_run")
        assert says in preview.out[-1]
    outcome = run(capsys, *usual, "--seed=5")
    assert outcome.out[0] == f"{one}: restored again, {out / 'one.png'} was made with seed=0, now 5"
    assert record(out / "one.json")["seed"] == 5


def test_skip_existing_misses_a_snapshot(capsys, tmp_path):
    one, out = picture(tmp_path / "in" / "one.png"), tmp_path / "out"
    usual = [one, f"--output_dir={out}", "--skip_existing", "--save_every=1"]
    run(capsys, *usual)
    assert run(capsys, *usual, "--dry_run").out[-1].endswith("skip, finished")
    (out / "one_k00002.png").unlink()
    assert "was incomplete" in run(capsys, *usual, "--dry_run").out[-1]
    assert run(capsys, *usual[:-1], "--dry_run").out[-1].endswith("skip, finished")  # none is asked for


def test_skip_existing_looks_at_files(capsys, tmp_path):
    one, out = picture(tmp_path / "in" / "one.png"), tmp_path / "out"
    clean = picture(tmp_path / "clean.png", 3)
    usual = [one, f"--output_dir={out}", "--skip_existing", "--dry_run"]
    run(capsys, *usual[:-1], f"--reference={clean}")
    assert run(capsys, *usual).out[-1].endswith("skip, finished")  # measured in addition: no harm
    picture(clean, 4)
    assert "was made with another reference" in run(capsys, *usual, f"--reference={clean}").out[-1]
    picture(one, 5)
    assert "was made with another input" in run(capsys, *usual).out[-1]
    (out / "one.png").unlink()
    assert "was incomplete" in run(capsys, *usual).out[-1]
    picture(one, 0)
    mine = json.dumps({"mine": 1})
    (out / "one.json").write_text(mine)
    for arguments in (usual, usual[:-1]):
        outcome = run(capsys, *arguments)
        assert outcome.code == 1 and outcome.err == [
            f"diip_jax.launch: error: {out / 'one.json'}: is not of this program and would be overwritten; choose "
            "another --output_dir"
        ]
    assert (out / "one.json").read_text() == mine


@pytest.mark.parametrize("left", [0, 60, -30], ids=["nothing", "the beginning", "all but the end"])
def test_a_picture_that_cannot_be_read_is_not_finished(capsys, tmp_path, left):
    one, out = picture(tmp_path / "in" / "one.png"), tmp_path / "out"
    usual = [one, f"--output_dir={out}", "--skip_existing"]
    run(capsys, *usual)
    whole = (out / "one.png").read_bytes()
    (out / "one.png").write_bytes(whole[: len(whole) + left if left < 0 else left])
    outcome = run(capsys, *usual)
    assert "one.png was damaged (one.png cannot be read)" in outcome.out[0]
    assert (out / "one.png").read_bytes() == whole


def test_a_second_picture_of_the_same_name_moves_no_finished_work(capsys, tmp_path):
    out = tmp_path / "out"
    first, second = (picture(tmp_path / "in" / folder / "x.png", n) for n, folder in enumerate("ab"))
    usual = [f"--output_dir={out}", "--skip_existing"]
    run(capsys, first, *usual)
    kept = (out / "x.png").read_bytes()
    outcome = run(capsys, second, first, *usual)
    assert outcome.out[-1] == "1 restored, 1 skipped, 0 failed" and (out / "x.png").read_bytes() == kept
    for given in ([second], [first], [first, second]):
        assert all("skipped" in line for line in run(capsys, *given, *usual).out[: len(given)])


def test_what_could_not_be_written_is_known_before_anything_is_computed(capsys, tmp_path, monkeypatch):
    long = picture(tmp_path / "in" / f"{'x' * 251}.png")
    good = picture(tmp_path / "in" / "good.png")
    for extra in (["--dry_run"], []):
        outcome = run(capsys, long, good, f"--output_dir={tmp_path / 'out'}", *extra)
        assert outcome.code == 1
        [line] = outcome.err
        assert f"{'x' * 251}.json: cannot be written (File name too long); rename the input to a shorter name" in line
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.png", "good.json"}


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"new\nline\x1b[31m.png", "日本 é.png".encode()])
def test_names_are_bytes(capsys, tmp_path, name):
    one = picture(tmp_path / "in" / os.fsdecode(name))
    usual = [one, f"--output_dir={tmp_path / 'out'}", "--skip_existing", "--compare"]
    outcome = run(capsys, *usual)
    assert outcome.code == 0 and len(outcome.out) == 1 and outcome.out[0].isprintable()
    stem = name.removesuffix(b".png")
    assert set(os.listdir(os.fsencode(tmp_path / "out"))) == {
        stem + end for end in (b".png", b".json", b"_compare.png")
    }
    assert "skipped" in run(capsys, *usual).out[0]


def test_skip_existing_looks_at_mask_and_kernel(capsys, tmp_path):
    one, mask = picture(tmp_path / "in" / "one.png"), tmp_path / "mask.png"
    white = np.full((16, 16), 255, np.uint8)
    white[8, 8] = 0
    Image.fromarray(white).save(mask)
    usual = ["--method=bird", one, f"--output_dir={tmp_path / 'out'}", "--skip_existing"]
    inpainting = [*usual, "--degradation=mask", f"--mask={mask}"]
    run(capsys, *inpainting)
    assert run(capsys, *inpainting).out[-1].endswith("one.json is finished")
    white[3:5, 3:5] = 0
    Image.fromarray(white).save(mask)
    assert "was made with another mask" in run(capsys, *inpainting, "--dry_run").out[-1]
    kernel = tmp_path / "kernel.npy"
    np.save(kernel, np.eye(3))
    deblurring = [*usual, f"--kernel={kernel}"]
    run(capsys, *deblurring)
    np.save(kernel, np.eye(3)[::-1])
    assert "was made with another kernel" in run(capsys, *deblurring, "--dry_run").out[-1]


def test_skip_existing_looks_at_how_the_same_weights_are_read(capsys, tmp_path):
    one, out = picture(tmp_path / "in" / "one.png"), tmp_path / "out"
    usual = [one, f"--output_dir={out}", "--skip_existing"]
    run(capsys, *usual)
    save_prior(tmp_path / "v", replace(load_prior(checkpoint()), prediction="v_prediction"))
    of_v = [*usual, f"--checkpoint={tmp_path / 'v'}", "--dry_run"]
    assert "was made with another prior" in run(capsys, *of_v).out[-1]
    earlier = record(out / "one.json")
    assert earlier["prior"]["prediction"] == "epsilon"
    del earlier["prior"]["identity"], earlier["prior"]["prediction"]
    (out / "one.json").write_text(json.dumps(earlier))
    assert run(capsys, *usual, "--dry_run").out[-1].endswith("skip, finished")
    assert "was made with another prior" in run(capsys, *of_v).out[-1]
