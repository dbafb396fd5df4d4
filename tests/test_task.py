import dataclasses

import numpy as np
import pytest
from networks import uint8_images
from PIL import Image

from diip_jax.degradations import catalogue, corrupt, degrade
from diip_jax.evaluate import task as module
from diip_jax.evaluate.task import corrupted, pairs, read_clean
from diip_jax.image_reading import ImageError


@pytest.fixture(scope="module")
def clean():
    return uint8_images(3)


def save(folder, images, names):
    folder.mkdir()
    for image, name in zip(images, names, strict=True):
        Image.fromarray(image).save(folder / name)


def test_a_corrupted_task_has_what_the_corruption_hands_out(clean):
    task = corrupted("x4_blur", clean, seed=2)
    made = [degrade("x4_blur", image, 2) for image in clean]
    np.testing.assert_array_equal(task.y, [each.picture() for each in made])
    np.testing.assert_array_equal(task.observed, [each.observation() for each in made])
    np.testing.assert_array_equal(task.known["kernel"], [each.kernel for each in made])
    assert task.observed.shape == (3, 4, 4, 3) and [*task.known] == ["kernel"] and len(task) == 3
    assert [*corrupted("hole", clean).known] == ["mask"] and not corrupted("noise", clean).known
    np.testing.assert_array_equal(corrupted("noise", clean, 0, 5).y[1], corrupt("noise", clean[1], 0, 5))
    with pytest.raises(ValueError, match=r"severity 6 of noise: expected 1 .. 5"):
        corrupted("noise", clean, 0, 6)


def test_each_image_is_corrupted_once(clean, monkeypatch):
    calls = []
    monkeypatch.setattr(module, "degrade", lambda *given: calls.append(1) or catalogue.degrade(*given))
    corrupted("motion_blur", clean)
    assert len(calls) == 3


def test_a_part_is_the_task_of_these_images(clean):
    task = corrupted("hole", clean)
    part = task[1:]
    assert part.digest == corrupted("hole", clean[1:]).digest != task.digest
    np.testing.assert_array_equal(part.known["mask"], task.known["mask"][1:])


def test_the_digest_is_of_all_that_a_task_holds(clean):
    task = corrupted("hole", clean)
    others = [dataclasses.replace(task, **{name: 255 - getattr(task, name)}) for name in ("clean", "y", "observed")]
    others += [dataclasses.replace(task, name="holes"), dataclasses.replace(task, known={})]
    assert len({task.digest, *(other.digest for other in others)}) == 6


def test_pairs_go_by_their_names_whatever_the_endings(clean, tmp_path):
    save(tmp_path / "bad", 255 - clean, ["a.png", "b.png", "c.bmp"])
    save(tmp_path / "good", clean[::-1], ["c.png", "b.png", "a.png"])
    task = pairs(tmp_path / "bad", str(tmp_path / "good"), name="mine")
    np.testing.assert_array_equal(task.y, 255 - clean)
    np.testing.assert_array_equal(task.clean, clean)
    assert task.name == "mine" and task.observed is task.y and not task.known
    smaller = pairs(tmp_path / "bad", tmp_path / "good", (8, 8))
    assert smaller.clean.shape == smaller.y.shape == (3, 8, 8, 3)


def test_an_image_without_a_partner_or_of_another_size_is_refused(clean, tmp_path):
    save(tmp_path / "bad", clean[:2], ["a.png", "b.png"])
    save(tmp_path / "good", clean[:1], ["a.png"])
    with pytest.raises(ImageError, match=r"bad.b\.png: has no partner of this name in .*good"):
        pairs(tmp_path / "bad", tmp_path / "good")
    with pytest.raises(ImageError, match=r"bad.b\.png: has no partner of this name in .*good"):
        pairs(tmp_path / "good", tmp_path / "bad")
    with pytest.raises(ImageError, match="no such file or folder"):
        pairs(tmp_path / "bad", tmp_path / "none")
    save(tmp_path / "large", uint8_images(2, side=24), ["a.png", "b.png"])
    with pytest.raises(ValueError, match=r"images are 16x16, the clean ones 24x24: expected the same; say size="):
        pairs(tmp_path / "bad", tmp_path / "large")
    Image.fromarray(uint8_images(1, side=24)[0]).save(tmp_path / "bad" / "a.png")
    with pytest.raises(ValueError, match=r"bad: images are 16x16, 24x24, expected one size; say size="):
        pairs(tmp_path / "bad", tmp_path / "large")


def test_clean_images_of_an_archive_or_a_folder(clean, tmp_path):
    np.savez(tmp_path / "clean.npz", images=clean)
    save(tmp_path / "folder", clean, ["0.png", "1.png", "2.png"])
    for pattern in ("clean.npz", "folder", "folder/*.png"):
        np.testing.assert_array_equal(read_clean(str(tmp_path / pattern), (16, 16)), clean)
    with pytest.raises(ValueError, match=r"images are \(3, 16, 16, 3\) uint8, expected \[N, 8, 8, 3\] uint8"):
        read_clean(str(tmp_path / "clean.npz"), (8, 8))
