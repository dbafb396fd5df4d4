import dataclasses
import json

import jax
import numpy as np
import pytest
from networks import uint8_images
from tasks import Brighter

import diip_jax as dj
from diip_jax.evaluate import run as module
from diip_jax.evaluate.run import Run, Store
from diip_jax.evaluate.task import corrupted
from diip_jax.image_reading import ImageError
from diip_jax.metrics import lpips

CLEAN = uint8_images(10)


@pytest.fixture(autouse=True)
def calls():
    Brighter.calls.clear()
    return Brighter.calls


@pytest.fixture
def task():
    return corrupted("noise", CLEAN)


def test_what_is_there_is_not_computed_again_and_nothing_mixes(task, tmp_path, calls):
    store = Store(tmp_path)
    first = store.run(Brighter(10), task, 0)
    np.testing.assert_array_equal(first.images[:, 0], task.y // 2 + 10)
    assert calls == [8, 2] and first.evaluations.tolist() == [[7]] * 10
    again = store.run(Brighter(10), task, 0)
    np.testing.assert_array_equal(again.images, first.images)
    assert calls == [8, 2] and again.loss is None
    part = task[:2]
    for restorer, other, seed in (
        (Brighter(20), part, 0),
        (Brighter(10), part, 1),
        (Brighter(10), corrupted("noise", CLEAN[:2], 0, 5), 0),
        (Brighter(10), corrupted("jpeg", CLEAN[:2]), 0),
    ):
        np.testing.assert_array_equal(
            store.run(restorer, other, seed).images[:, 0], other.y // 2 + restorer.amount + seed
        )
    assert len(calls) == 2 + 4 == len(list(tmp_path.iterdir()))
    # The file of the same images serves, whichever task they are a part of.
    store.run(Brighter(10), task[:8], 0)
    assert len(calls) == 2 + 4


def test_runs_of_other_versions_and_devices_are_not_taken(task, tmp_path, calls, monkeypatch):
    made_with = module.made_with()
    assert {*made_with} == {"diip_jax", "jax", "jaxlib", "numpy", "scikit-image", "device"}
    assert made_with["diip_jax"] == dj.__version__ and made_with["device"] == jax.devices()[0].device_kind
    for name in made_with:
        monkeypatch.setattr(module, "made_with", lambda name=name: made_with | {name: "another"})
        Store(tmp_path).run(Brighter(1), task[:1], 0)
    assert len(calls) == len(made_with)


def test_an_interrupted_run_goes_on_where_it_stopped(task, tmp_path, calls, monkeypatch):
    def interrupted(self, task, seed):
        if len(task) == 2:
            raise KeyboardInterrupt
        return original(self, task, seed)

    store, original, added = Store(tmp_path), Brighter.__call__, []
    monkeypatch.setattr(Brighter, "__call__", interrupted)
    assert [*store.missing(Brighter(1), task, 0).values()] == [8, 2]
    with pytest.raises(KeyboardInterrupt):
        store.run(Brighter(1), task, 0, added.append)
    monkeypatch.undo()
    assert added == [8] and [*store.missing(Brighter(1), task, 0).values()] == [2]
    resumed = store.run(Brighter(1), task, 0, added.append)
    assert added == [8, 2] and not store.missing(Brighter(1), task, 0)
    np.testing.assert_array_equal(resumed.images, Store(tmp_path / "other").run(Brighter(1), task, 0).images)


def test_a_file_says_what_it_is_of_and_is_whole_or_not_there(task, tmp_path, monkeypatch):
    store = Store(tmp_path / "new")
    store.run(Brighter(3), task[:1], 4)
    (path,) = (tmp_path / "new").iterdir()
    with np.load(path) as stored:
        told = json.loads(str(stored["settings"]))
    assert told == {"task": "noise", "seed": 4, "method": "brighter", "amount": 3, "made_with": module.made_with()}
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(ImageError, match="cannot be written"):
        store.run(Brighter(4), task[:1], 4)
    assert [*(tmp_path / "new").iterdir()] == [path]


def test_the_run_of_a_solution_and_of_images(prior):
    y = CLEAN[:2]
    method = dj.DIIP(prior, stride=500, refresh=1, max_iterations=3, rule=dj.Never())
    solution = dj.restore(method, y, samples=2)
    run = Run.of(solution)
    np.testing.assert_array_equal(run.images, solution.samples)
    # Two evaluations before the first iterate, and one in each.
    assert run.evaluations.tolist() == [[5, 5]] * 2
    assert run.seconds.sum() == pytest.approx(solution.stats["seconds"])
    assert Run.of(solution, 8.0).seconds.tolist() == [[2.0, 2.0]] * 2
    plain = Run.of(y, 3.0)
    np.testing.assert_array_equal(plain.images, y[:, None])
    assert plain.evaluations.tolist() == [[0], [0]] and plain.seconds.tolist() == [[1.5], [1.5]]


def test_some_of_the_images(task):
    run = dataclasses.replace(Run.of(task.y), memory_bytes=np.arange(10))
    part = run[3:5]
    np.testing.assert_array_equal(part.images[:, 0], task.y[3:5])
    assert part.memory_bytes.tolist() == [3, 4] and part.kernels is None


def test_lpips_of_every_image_of_a_run_is_kept_beside_it(tmp_path, monkeypatch):
    class Two(Brighter):
        def __call__(self, task, seed):
            return Run(np.stack([task.y, task.clean], axis=1), np.ones((2, 2)), np.ones((2, 2)))

    task = corrupted("noise", uint8_images(2, side=32))
    store = Store(tmp_path)
    assert store.run(Two(1), task, 0).lpips is None
    (file,) = tmp_path.iterdir()
    found = store.run(Two(1), task, 0, perceptual=True).lpips
    assert found.shape == (2, 2) and found[1, 1] == pytest.approx(0, abs=1e-6)
    assert found[1, 0] == pytest.approx(lpips(task.y[1], task.clean[1]), rel=1e-5)
    assert sorted(tmp_path.iterdir()) == sorted([file, file.with_name(f"{file.stem}-lpips.npz")])
    monkeypatch.setattr(module, "lpips_to", None)
    np.testing.assert_array_equal(store.run(Two(1), task, 0, perceptual=True).lpips, found)
    # Of a single image there is nothing to choose.
    assert store.run(Brighter(2), task, 0, perceptual=True).lpips is None
