import numpy as np
import pytest
from networks import images, tiny_prior

from diip_jax.api import restore
from diip_jax.evaluate import trajectories
from diip_jax.evaluate.corruptions import corrupt
from diip_jax.evaluate.trajectories import trajectory
from diip_jax.methods import DIIP

METHOD = DIIP(stride=500, max_iterations=5, k_min=1)


@pytest.fixture(scope="module")
def prior():
    return tiny_prior()


@pytest.fixture(scope="module")
def clean():
    return np.rint((np.asarray(images(3)) + 1) * 127.5).astype(np.uint8)


def test_iterate_k_is_what_a_run_of_k_plus_1_iterations_returns(prior, clean, tmp_path):
    run = trajectory(tmp_path, prior, "noise", clean, METHOD, batch_size=2)
    assert run.iterates.shape == (3, 5, 16, 16, 3) and run.loss.shape == (3, 5)
    np.testing.assert_array_equal(run.y, [corrupt("noise", image) for image in clean])
    for k in (0, 3):
        restored = restore(prior, run.y, DIIP(stride=500, max_iterations=k + 1, stopping="budget"))
        np.testing.assert_array_equal(run.iterates[:, k], restored.images)


def test_what_is_there_is_not_computed_again_and_settings_do_not_mix(prior, clean, tmp_path, monkeypatch):
    first = trajectory(tmp_path, prior, "noise", clean, METHOD, batch_size=2)
    computed = []
    original = trajectories._run
    monkeypatch.setattr(trajectories, "_run", lambda *a: computed.append(a[1:2]) or original(*a))
    again = trajectory(tmp_path, prior, "noise", clean, METHOD, batch_size=2)
    assert not computed
    np.testing.assert_array_equal(first.iterates, again.iterates)
    # The stopping rule plays no part in a trajectory: the same files serve.
    trajectory(
        tmp_path,
        prior,
        "noise",
        clean,
        DIIP(stride=500, max_iterations=5, stopping="paper", eps=0.1, patience=3),
        batch_size=2,
    )
    assert not computed
    for changed in (
        DIIP(stride=500, max_iterations=5, k_min=1, learning_rate=0.02),
        DIIP(stride=250, max_iterations=5),
    ):
        trajectory(tmp_path, prior, "noise", clean[:1], changed)
    trajectory(tmp_path, prior, "jpeg", clean[:1], METHOD)
    trajectory(tmp_path, prior, "noise", clean[:2], METHOD, seed=1, batch_size=2)
    assert len(computed) == 4


def test_an_interrupted_run_goes_on_where_it_stopped(prior, clean, tmp_path, monkeypatch):
    original, calls = trajectories._run, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(trajectories, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trajectory(tmp_path, prior, "noise", clean, METHOD, batch_size=2)
    assert len(list(tmp_path.iterdir())) == 1
    trajectory(tmp_path, prior, "noise", clean, METHOD, batch_size=2)
    assert len(calls) == 3
