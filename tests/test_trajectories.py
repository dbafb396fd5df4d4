import dataclasses
import hashlib
import json

import numpy as np
import pytest
from networks import TINY, uint8_images

from diip_jax.commands.settings import BIRDSettings, DIIPSettings
from diip_jax.evaluate import trajectories
from diip_jax.evaluate.corruptions import corrupt, degrade
from diip_jax.evaluate.trajectories import missing, trajectory
from diip_jax.metrics import lpips
from diip_jax.prior import params_sha256, random_prior
from diip_jax.restore import restore

METHOD = DIIPSettings(stride=500, max_iterations=5, k_min=1)


@pytest.fixture(scope="module")
def clean():
    return uint8_images(3)


def test_iterate_k_is_what_a_run_of_k_plus_1_iterations_returns(prior, clean, tmp_path):
    run = trajectory(tmp_path, prior, "noise", clean, METHOD, batch_size=2)
    assert run.iterates.shape == (3, 5, 16, 16, 3) and run.loss.shape == (3, 5)
    np.testing.assert_array_equal(run.y, [corrupt("noise", image) for image in clean])
    for k in (0, 3):
        restored = restore(DIIPSettings(stride=500, max_iterations=k + 1, stopping="budget").method(prior), run.y)
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
        DIIPSettings(
            stride=500,
            max_iterations=5,
            stopping="paper",
            eps=0.1,
            robust_eps=0.1,
            patience=3,
            window=3,
            explained=0.8,
            sharpness_ratio=3.0,
            fully_explained=0.5,
            tau=2.0,
        ),
        batch_size=2,
    )
    assert not computed
    for changed in (
        DIIPSettings(stride=500, max_iterations=5, k_min=1, learning_rate=0.02),
        DIIPSettings(stride=250, max_iterations=5),
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
    down = BIRDSettings(degradation="downsample", scale=4, kernel_size=1, stride=500, max_iterations=3)
    run = trajectory(tmp_path, prior, "x4", clean[:2], down)
    degraded = [degrade("x4", image) for image in clean[:2]]
    np.testing.assert_array_equal(run.y, [each.picture() for each in degraded])
    restored = restore(down.method(prior), np.stack([each.observation() for each in degraded]))
    np.testing.assert_array_equal(run.iterates[:, -1], restored.images)
    np.testing.assert_array_equal(run.kernels, np.ones((2, 3, 1, 1)))
    hole = BIRDSettings(degradation="mask", stride=500, max_iterations=3)
    run = trajectory(tmp_path, prior, "hole", clean[:2], hole)
    masks = np.stack([degrade("hole", image).mask for image in clean[:2]])
    np.testing.assert_array_equal(run.iterates[:, -1], restore(hole.method(prior), run.y, {"mask": masks}).images)
    assert run.kernels is None and run.head(1).kernels is None
    np.testing.assert_array_equal(run.masks, masks)
    with pytest.raises(ValueError, match="corruption 'x4' has no mask, which the method needs to know"):
        trajectory(tmp_path, prior, "x4", clean[:1], hole)


def test_kernels_are_kept_and_read_again(prior, clean, tmp_path):
    blind = BIRDSettings(kernel_size=3, stride=500, max_iterations=3, loss_threshold=10.0)
    first, again = (trajectory(tmp_path, prior, "motion_blur", clean, blind, batch_size=2) for _ in range(2))
    assert first.kernels.shape == (3, 3, 3, 3)  # to the end, whatever the loss
    np.testing.assert_allclose(first.kernels.sum((2, 3)), 1, rtol=1e-5)
    np.testing.assert_array_equal(first.kernels, again.kernels)


def test_file_names_are_those_of_earlier_versions(prior, clean, tmp_path):
    """What was computed is not computed again."""
    decides = {
        "task": "noise",
        "y": hashlib.sha256(np.stack([corrupt("noise", image) for image in clean]).tobytes()).hexdigest(),
        "method": {
            "learning_rate": 0.01,
            "max_iterations": 5,
            "stride": 500,
            "variant": "code",
            "gradient": "detached",
            "project": True,
        },
        "prior": params_sha256(prior.params),
        "dtype": "float32",
        "seed": 0,
    }
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    assert missing(tmp_path, prior, "noise", clean, METHOD) == {tmp_path / f"noise-{digest}.npz": 3}


def test_a_severity_is_another_file(prior, clean, tmp_path):
    strong = trajectory(tmp_path, prior, "noise", clean[:1], METHOD, severity=5)
    np.testing.assert_array_equal(strong.y[0], corrupt("noise", clean[0], severity=5))
    assert missing(tmp_path, prior, "noise", clean[:1], METHOD)
    assert not missing(tmp_path, prior, "noise", clean[:1], METHOD, severity=5)
    with pytest.raises(ValueError, match=r"severity 6 of noise: expected 1 .. 5"):
        missing(tmp_path, prior, "noise", clean[:1], METHOD, severity=6)


def test_progress_is_told_of_every_iteration_that_is_computed(prior, clean, tmp_path):
    told = []
    for _ in range(2):
        trajectory(tmp_path, prior, "noise", clean, METHOD, batch_size=2, progress=told.append)
    assert told == [2] * 5 + [1] * 5


def test_lpips_of_every_iterate_is_kept_beside_the_trajectory(tmp_path, monkeypatch):
    larger = uint8_images(2, side=32)
    method = DIIPSettings(stride=500, max_iterations=3)
    prior = random_prior(dataclasses.replace(TINY, image_size=32))
    plain = trajectory(tmp_path, prior, "noise", larger, method)
    (file,) = tmp_path.iterdir()
    with_lpips = trajectory(tmp_path, prior, "noise", larger, method, perceptual=True)
    assert plain.lpips is None and with_lpips.lpips.shape == (2, 3) and with_lpips.head(1).lpips.shape == (1, 3)
    expected = lpips(with_lpips.iterates[1, 2] / 127.5 - 1, larger[1] / 127.5 - 1)
    assert with_lpips.lpips[1, 2] == pytest.approx(expected, rel=1e-5)
    assert sorted(tmp_path.iterdir()) == sorted([file, file.with_name(f"{file.stem}-lpips.npz")])
    monkeypatch.setattr(trajectories, "lpips_to", None)
    again = trajectory(tmp_path, prior, "noise", larger, method, perceptual=True)
    np.testing.assert_array_equal(again.lpips, with_lpips.lpips)
