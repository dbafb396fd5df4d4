import numpy as np
import pytest
from networks import tiny_prior, uint8_images
from restorers import Brighter

from diip_jax.evaluate.corruptions import corrupt
from diip_jax.evaluate.one_shot import missing, one_shot


@pytest.fixture(autouse=True)
def calls():
    Brighter.calls.clear()


@pytest.fixture(scope="module")
def clean():
    return uint8_images(3)


def test_images_are_restored_once_and_settings_do_not_mix(prior, clean, tmp_path):
    restorer = Brighter(10)
    first = one_shot(tmp_path, prior, "noise", clean, restorer, batch_size=2)
    y = np.stack([corrupt("noise", image) for image in clean])
    np.testing.assert_array_equal(first.y, y)
    np.testing.assert_array_equal(first.images, y // 2 + 10)
    assert [len(given) for given in restorer.calls] == [2, 1]
    again = one_shot(tmp_path, prior, "noise", clean, restorer, batch_size=2)
    np.testing.assert_array_equal(again.images, first.images)
    assert len(restorer.calls) == 2
    for changed, settings in (
        (Brighter(20), {}),
        (restorer, {"seed": 1}),
        (restorer, {"severity": 5}),
    ):
        one_shot(tmp_path, prior, "noise", clean[:2], changed, batch_size=2, **settings)
    one_shot(tmp_path, prior, "jpeg", clean[:2], restorer, batch_size=2)
    one_shot(tmp_path, tiny_prior(1), "noise", clean[:2], restorer, batch_size=2)
    assert len(list(tmp_path.iterdir())) == 2 + 5


def test_an_interrupted_run_goes_on_where_it_stopped(prior, clean, tmp_path, monkeypatch):
    def interrupted(self, prior, y, seed):
        if len(y) == 1:
            raise KeyboardInterrupt
        return original(self, prior, y, seed)

    original, restorer, added = Brighter.restore, Brighter(10), []
    monkeypatch.setattr(Brighter, "restore", interrupted)
    assert [*missing(tmp_path, prior, "noise", clean, restorer, batch_size=2).values()] == [2, 1]
    with pytest.raises(KeyboardInterrupt):
        one_shot(tmp_path, prior, "noise", clean, restorer, batch_size=2, progress=added.append)
    monkeypatch.undo()
    assert added == [2]
    assert [*missing(tmp_path, prior, "noise", clean, restorer, batch_size=2).values()] == [1]
    resumed = one_shot(tmp_path, prior, "noise", clean, restorer, batch_size=2, progress=added.append)
    assert added == [2, 1] and not missing(tmp_path, prior, "noise", clean, restorer, batch_size=2)
    whole = one_shot(tmp_path / "other", prior, "noise", clean, Brighter(10), batch_size=2)
    np.testing.assert_array_equal(resumed.images, whole.images)


def test_the_first_images_of_it(prior, clean, tmp_path):
    run = one_shot(tmp_path, prior, "noise", clean, Brighter(10))
    head = run.head(2)
    for name in ("images", "y", "clean"):
        np.testing.assert_array_equal(getattr(head, name), getattr(run, name)[:2])
