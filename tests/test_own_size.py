"""Pictures of any size keep it where the prior is local: padded to few sizes and cut back, alike in any company."""

import dataclasses

import numpy as np
import pytest
from command_line import picture, pixels, record, run
from networks import TINY

from diip_jax.launch import loading, restore_files
from diip_jax.launch.setup import suited
from diip_jax.prior import random_prior, save_prior
from diip_jax.stream import Given

SIZES = {"odd": (21, 35), "dot": (1, 1), "long": (100, 3), "same": (70, 64), "again": (66, 60)}


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    config = dataclasses.replace(TINY, norm="pixel")
    path = tmp_path_factory.mktemp("local") / "prior"
    save_prior(path, random_prior(config))
    return f"--checkpoint={path}"


def restored(capsys, folder, local, *more):
    flags = [local, "--method=blind", "--max_iterations=2", f"--output_dir={folder}", *more]
    return run(capsys, *flags)


def test_every_size_comes_back(capsys, tmp_path, local):
    given = [picture(tmp_path / "in" / f"{name}.png", n, size) for n, (name, size) in enumerate(SIZES.items())]
    outcome = restored(capsys, tmp_path / "out", local, *given)
    assert outcome.code == 0, outcome.err
    for name, size in SIZES.items():
        assert pixels(tmp_path / "out" / f"{name}.png").shape[:2] == size
        assert record(tmp_path / "out" / f"{name}.json")["input"]["resize_policy"] == "keep"
    alone = restored(capsys, tmp_path / "alone", local, given[0])
    assert alone.code == 0
    assert (tmp_path / "alone/odd.png").read_bytes() == (tmp_path / "out/odd.png").read_bytes()


def test_a_scale_is_of_the_picture_itself(capsys, tmp_path, local):
    given = picture(tmp_path / "in.png", 0, (21, 35))
    dry = restored(capsys, tmp_path / "out", local, given, "--scale=4", "--dry_run")
    assert any("restored to 84x140" in line for line in dry.out), dry.out
    outcome = restored(capsys, tmp_path / "out", local, given, "--scale=4", "--compare", f"--reference={given}")
    assert outcome.code == 1 and "has another aspect" in outcome.err[0]
    outcome = restored(capsys, tmp_path / "out", local, given, "--scale=4", "--compare")
    assert outcome.code == 0, outcome.err
    assert pixels(tmp_path / "out/in.png").shape[:2] == (84, 140)
    assert record(tmp_path / "out/in.json")["settings"]["scale"] == 4


def test_few_programs_for_many_sizes(prior):
    sides = {loading.bucket(side, 1, 0, prior) for side in range(1, 300)}
    assert sides == {64, 128, 192, 256, 320}
    # A prior that is shown the observation takes it, too: sides of 2.
    assert all(loading.bucket(side, 64, 0, prior) % prior.size_multiple == 0 for side in range(1, 9))
    # The observation of an image twice as large, with a margin: the image has a side that the network takes.
    side = loading.bucket(35, 2, 7, prior)
    assert (2 * side + 2 * 7) % 64 == 0 and side >= 35


def test_observations_go_by_their_shape():
    small, large = np.zeros((2, 2, 3)), np.zeros((4, 4, 3))
    given = [None, Given("a", small), None, Given("b", small), Given("c", large), Given("d", small)]
    waited = []
    shapes, runs = [], []
    for shape, of_one_size in restore_files._by_shape(iter(given), waited.append):
        shapes.append(shape)
        runs.append([one and one.name for one in of_one_size])
    assert shapes == [(2, 2, 3), (4, 4, 3), (2, 2, 3)]
    assert len(waited) == 1  # for the first alone: then the devices are at work
    assert [[name for name in names if name] for names in runs] == [["a", "b"], ["c"], ["d"]]


def test_the_bundled_prior_suits_the_size(tmp_path):
    face = picture(tmp_path / "face.png", 0, (128, 100))
    photo = picture(tmp_path / "photo.png", 1, (60, 129))
    (tmp_path / "none.png").write_bytes(b"no picture")
    assert suited([face, tmp_path / "none.png"]) == "faces64"
    assert suited([face, photo]) == "photos"
    tiny = picture(tmp_path / "tiny.png", 2, (16, 16))
    assert suited([tiny], 4) == "faces64" and suited([tiny], 8) == "photos" and suited([face], 2) == "photos"
