import numpy as np
import pytest
from networks import images, tiny_prior

from diip_jax.api import restore
from diip_jax.evaluate import trajectories
from diip_jax.evaluate.corruptions import corrupt, degrade
from diip_jax.evaluate.trajectories import trajectory
from diip_jax.methods import BIRD, DIIP

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
        DIIP(stride=500, max_iterations=5, stopping="paper", eps=0.1, patience=3, window=3, explained=0.8, tau=2.0),
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


def test_a_method_is_given_what_it_asks_for(prior, clean, tmp_path):
    down = BIRD(degradation="downsample", scale=4, kernel_size=1, stride=500, max_iterations=3)
    run = trajectory(tmp_path, prior, "x4", clean[:2], down)
    degraded = [degrade("x4", image) for image in clean[:2]]
    np.testing.assert_array_equal(run.y, [each.picture() for each in degraded])
    restored = restore(prior, np.stack([each.observation() for each in degraded]), down)
    np.testing.assert_array_equal(run.iterates[:, -1], restored.images)
    np.testing.assert_array_equal(run.kernels, np.ones((2, 3, 1, 1)))
    hole = BIRD(degradation="mask", stride=500, max_iterations=3)
    run = trajectory(tmp_path, prior, "hole", clean[:2], hole)
    masks = np.stack([degrade("hole", image).mask for image in clean[:2]])
    np.testing.assert_array_equal(run.iterates[:, -1], restore(prior, run.y, hole, masks=masks).images)
    assert run.kernels is None and run.head(1).kernels is None
    with pytest.raises(ValueError, match="corruption 'x4' has no mask, which the method needs to know"):
        trajectory(tmp_path, prior, "x4", clean[:1], hole)


def test_kernels_are_kept_and_read_again(prior, clean, tmp_path):
    blind = BIRD(kernel_size=3, stride=500, max_iterations=3, loss_threshold=10.0)
    first, again = (trajectory(tmp_path, prior, "motion_blur", clean, blind, batch_size=2) for _ in range(2))
    assert first.kernels.shape == (3, 3, 3, 3)  # to the end, whatever the loss
    np.testing.assert_allclose(first.kernels.sum((2, 3)), 1, rtol=1e-5)
    np.testing.assert_array_equal(first.kernels, again.kernels)
