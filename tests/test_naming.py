"""Names that stay, and what is never overwritten."""

import json
import os
import random
from pathlib import Path

import pytest
from command_line import picture
from PIL import Image

from diip_jax.images import ImageError, file_sha256, write_image
from diip_jax.launch.naming import check_place, output_stems, usual_stems
from diip_jax.launch.outputs import Outputs, read_record

INPUTS = ["x.png", "x.jpg", "a/x.png", "a/y.png", "b/x.png", "b/deep/x.png"]


@pytest.fixture
def inputs(tmp_path):
    return [picture(tmp_path / "in" / name, n) for n, name in enumerate(INPUTS)]


def finish(path, stem, out):
    record = (out / stem).with_name(f"{stem.name}.json")
    record.parent.mkdir(parents=True, exist_ok=True)
    source = {"sha256": file_sha256(path), "path": os.path.relpath(path, record.parent)}
    record.write_text(json.dumps({"input": source, "settings": {"method": "diip"}, "versions": {"diip_jax": "0"}}))
    return record


def test_usual_names(tmp_path):
    paths = [tmp_path / name for name in INPUTS]
    assert [str(stem) for stem in usual_stems(paths)] == ["x.png", "x.jpg", "a/x", "y", "b/x", "b/deep/x"]
    assert usual_stems([tmp_path / "b" / "x.png"]) == [Path("x")]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_added_left_out_or_reordered_finished_work_stays(tmp_path, inputs, seed):
    """The law of names: one input, once finished, keeps its name, and no two share one."""
    draw, out, names = random.Random(seed), tmp_path / "out", {}
    for _ in range(6):
        given = draw.sample(inputs, draw.randint(1, len(inputs)))
        stems = output_stems(given, Outputs(out))
        assert len(set(stems)) == len(stems)
        for path, stem in zip(given, stems, strict=True):
            assert names.get(path, stem) == stem
            assert all(other == path or name != stem for other, name in names.items())
            if draw.random() < 0.7:
                finish(path, stem, out)
                names[path] = stem


def test_processes_that_begin_while_others_finish_plan_the_same(tmp_path, inputs):
    out = tmp_path / "out"
    before = output_stems(inputs, Outputs(out))
    for path, stem in zip(inputs, before, strict=True):
        finish(path, stem, out)
        assert output_stems(inputs, Outputs(out)) == before


def test_a_record_is_of_its_input_wherever_both_are_moved(tmp_path, inputs):
    out = tmp_path / "out"
    finish(inputs[4], Path("x"), out)
    (tmp_path / "new").mkdir()
    for folder in ("in", "out"):
        (tmp_path / folder).rename(tmp_path / "new" / folder)
    moved = [tmp_path / "new" / "in" / name for name in INPUTS]
    assert output_stems([moved[2], moved[4]], Outputs(tmp_path / "new" / "out")) == [Path("a/x"), Path("x")]
    # The input alone: the record's path leads nowhere, and the picture itself is known.
    moved[4].rename(tmp_path / "x.png")
    assert output_stems([moved[2], tmp_path / "x.png"], Outputs(tmp_path / "new" / "out"))[1] == Path("x")


def test_an_input_that_is_gone_leaves_its_name_free(tmp_path, inputs):
    out = tmp_path / "out"
    finish(inputs[2], Path("x"), out)
    assert output_stems([inputs[4]], Outputs(out)) == [Path("b/x")]
    inputs[2].unlink()
    assert output_stems([inputs[4]], Outputs(out)) == [Path("x")]


def foreign(folder):
    Image.new("RGB", (4, 4)).save(folder / "x.png")
    (folder / "x.json").write_text('{"annotations": []}')
    (folder / "cut.json").write_text("{")
    (folder / "list.json").write_text("[1]")
    (folder / "y.png").write_text("no picture")
    return sorted(folder.iterdir())


def test_a_file_of_another_origin_is_refused(tmp_path):
    for path in foreign(tmp_path):
        assert path.suffix == ".png" or read_record(path) is None
        with pytest.raises(ImageError, match=f"^{path}: is not of this program and would be overwritten; choose"):
            check_place(path, False, Outputs(tmp_path))


def test_what_is_ours_empty_or_absent_may_be_written(tmp_path):
    write_image(tmp_path / "ours.png", [[0.0]])
    (tmp_path / "empty.json").touch()
    for name in ("ours.png", "empty.json", "absent.png", "no/folder/yet.png"):
        check_place(tmp_path / name, False, Outputs(tmp_path))
    foreign(tmp_path)
    check_place(tmp_path / "x.png", True, Outputs(tmp_path))


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "x.png").mkdir()
    (tmp_path / "file").touch()
    for path, says in (
        (tmp_path / "x.png", "a folder has this name"),
        (tmp_path / "file" / "x.png", f"{tmp_path / 'file'} is no folder"),
        (tmp_path / "new" / f"{'x' * 252}.png", "File name too long"),
        (tmp_path.joinpath(*["d" * 200] * 25, "x.png"), "File name too long"),
    ):
        with pytest.raises(ImageError, match=says):
            check_place(path, False, Outputs(tmp_path))


def test_an_output_folder_that_cannot_be_is_not_said_of_every_image(tmp_path):
    (tmp_path / "file").touch()
    check_place(tmp_path / "file" / "out" / "x.png", False, Outputs(tmp_path / "file" / "out"))
