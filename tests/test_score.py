import dataclasses
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from networks import UNET, tiny_prior, uint8_images

from diip_jax.commands.settings import DIIPSettings
from diip_jax.evaluate.restorers import Loop
from diip_jax.evaluate.run import Run
from diip_jax.evaluate.score import Row, oracle, pooled, quality, replay, score
from diip_jax.evaluate.task import Task, corrupted
from diip_jax.metrics import lpips
from diip_jax.pixels import from_uint8
from diip_jax.plug import plug
from diip_jax.plugs.rules import Averaged, LossSlope, Never, Rule, laplacian_variance_peak
from diip_jax.restore import restore

PEAK = laplacian_variance_peak(2)


@pytest.fixture
def task():
    """Two grey images that are 36 and 17 levels off."""
    clean = np.full((2, 16, 16, 3), 100, np.uint8)
    y = clean + np.array([36, 17], np.uint8)[:, None, None, None]
    return Task("noise", clean, y, y, {})


@pytest.fixture
def run():
    """They come nearest to the clean one at k = 7 and k = 3; the Laplacian variance peaks at 6 and 9."""
    k = np.arange(12)
    levels = np.stack([100 + 5 * np.abs(k - 7) + 1, 100 + 5 * np.abs(k - 3) + 2]).astype(np.uint8)
    iterates = np.broadcast_to(levels[:, :, None, None, None], (2, 12, 16, 16, 3)).copy()
    sharpness = np.stack([-np.abs(k - 6.0), -np.abs(k - 9.0)]).astype(np.float32)
    loss = np.stack([np.exp(-k / 3.0), np.full(12, 0.5)]).astype(np.float32)
    evaluations = np.tile(5 + 10 * (k + 1), (2, 1))
    return Run(iterates, evaluations, np.tile(0.5 * (k + 1), (2, 1)), np.array([900, 1000]), loss, sharpness)


def test_replay_selects_what_the_rule_would_return(task, run):
    seen = from_uint8(task.y)
    replayed = replay(PEAK, run, seen)
    assert replayed.selected.tolist() == [6, 9] and replayed.fired.tolist() == [True, True]
    replayed = replay(LossSlope(1e-3, k_min=4), run, seen)
    assert replayed.selected.tolist() == [11, 5] and replayed.fired.tolist() == [False, True]
    np.testing.assert_array_equal(replayed.images, run.images[[0, 1], [11, 5]])


def test_replay_is_what_the_loop_does():
    """Also for rules that look at images, where the iterates are kept with 8 bits."""
    prior = tiny_prior(model=UNET)
    method = DIIPSettings(stride=500, max_iterations=30, learning_rate=0.05, k_min=3, window=4, patience=3)
    task = corrupted("noise", uint8_images(2))
    restorer = Loop(prior, method)
    run, seen = restorer(task, 0), restorer.seen(task)
    for stopping in ("wmv", "emv", "averaged", "discrepancy", "combined"):
        settings = dataclasses.replace(method, stopping=stopping)
        replayed = replay(settings.rule(), run, seen)
        restored = restore(settings.method(prior), task.y)
        assert replayed.selected.tolist() == restored.selected[:, 0].tolist(), stopping
        assert replayed.fired.tolist() == [reasons[0] != "budget" for reasons in restored.reasons]
        assert replayed.iterations.tolist() == restored.stats["iterations"][:, 0].tolist()
        assert np.abs(replayed.images.astype(int) - restored.images).max() <= 1


@plug()
class Hidden(Rule):
    """Fires at once where a pixel of y is not known."""

    def init(self, image, y):
        return jnp.isnan(y).any()

    def __call__(self, state, seen):
        return state, state


def test_replay_shows_a_rule_nothing_of_what_is_hidden(task, run):
    seen = from_uint8(task.y)
    seen[1, 2, 3] = np.nan
    assert replay(Hidden(), run, seen).selected.tolist() == [11, 0]


def test_oracle_is_the_iterate_of_the_highest_psnr(task, run):
    assert oracle(run, task.clean).tolist() == [7, 3]


def test_rows_hold_the_quality_of_the_selected_iterates(task, run):
    peak, best = score(task, "DIIP", run, {"peak": PEAK})
    assert [peak.method, best.method] == ["DIIP, peak", "DIIP, oracle stop"]
    # Iterate 6 is 6 grey levels off, iterate 9 of the second image 32.
    np.testing.assert_allclose(peak.psnr, 20 * np.log10(255 / np.array([6.0, 32.0])), rtol=1e-9)
    np.testing.assert_allclose(best.psnr, 20 * np.log10(255 / np.array([1.0, 2.0])), rtol=1e-9)
    np.testing.assert_allclose(peak.psnr_gap, 20 * np.log10(np.array([6.0, 16.0])), rtol=1e-9)
    # The input is 36 levels off the clean image, and 17 in the second.
    np.testing.assert_allclose(peak.distance, 20 * np.log10(255 / np.array([30.0, 15.0])), rtol=1e-9)
    assert peak.k == [6, 9] and peak.stopped == 1
    assert best.k == [7, 3] and best.psnr_gap == [] and best.stopped == 1
    assert peak.lpips == peak.lpips_gap == peak.kernel == []


def test_a_mean_of_iterates_may_beat_the_best_of_them(task, run):
    """Noise that is independent from iterate to iterate averages out: the gap is below 0 then."""
    noise = 20 * np.random.default_rng(1).standard_normal(run.images.shape)
    noisy = dataclasses.replace(run, images=np.rint(task.clean[:, None] + noise).astype(np.uint8))
    mean = score(task, "DIIP", noisy, {"mean": Averaged(Never(), 0.9)})[0]
    assert max(mean.psnr_gap) < -2


def test_iterations_until_the_stop_are_paid_for(task, run):
    rules = {"patient": laplacian_variance_peak(2, patience=2), "slope": LossSlope(1e-3, k_min=4)}
    patient, slope, best = score(task, "DIIP", run, rules)
    # The peaks are at 6 and 9; it waits for two more iterates. The slope of the first image never gets flat.
    assert patient.k == [6, 9] and patient.iterations == [9, 12]
    assert slope.k == [11, 5] and slope.iterations == [12, 6]
    # With the five evaluations before the first iterate.
    assert patient.seconds == [4.5, 6.0] and patient.evaluations == [95, 125] and patient.memory_bytes == 1000
    assert best.iterations == best.seconds == [] and best.memory_bytes is None


def test_a_run_without_rules_is_its_last_image(task, run):
    (row,) = score(task, "brighter", run)
    assert row.method == "brighter" and row.k == row.iterations == []
    np.testing.assert_allclose(row.psnr, 20 * np.log10(255 / np.array([21.0, 42.0])), rtol=1e-9)
    assert row.evaluations == [125, 125] and row.seconds == [6.0, 6.0]


def test_kernels_are_compared_with_the_true_one(task, run, monkeypatch):
    monkeypatch.setattr(
        sys.modules[Row.__module__], "kernel_correlation", lambda found, true: float(found.sum() * true.sum())
    )
    kernels = np.arange(2 * 12, dtype=np.float32).reshape(2, 12, 1, 1)
    blurred = dataclasses.replace(task, known={"kernel": np.array([2.0, 3.0])[:, None, None]})
    peak, _ = score(blurred, "BIRD", dataclasses.replace(run, kernels=kernels), {"peak": PEAK})
    assert peak.kernel == [6 * 2, (12 + 9) * 3]
    assert score(task, "BIRD", dataclasses.replace(run, kernels=kernels), {"peak": PEAK})[0].kernel == []


def test_lpips_has_an_oracle_of_its_own():
    rng = np.random.default_rng(0)
    clean = rng.integers(60, 190, (2, 32, 32, 3), np.uint8)
    strength = np.array([[30, 5, 20], [30, 20, 5]])
    noise = rng.choice([-1, 1], (2, 3, 32, 32, 3)) * strength[..., None, None, None]
    iterates = (clean[:, None] + noise).astype(np.uint8)
    distances = np.array([[3.0, 1.0, 2.0], [3.0, 1.5, 2.0]], np.float32)
    curves = np.zeros((2, 3), np.float32)
    task = Task("noise", clean, iterates[:, 0], iterates[:, 0], {})
    run = Run(iterates, curves.astype(int), curves, None, curves, curves, lpips=distances)
    rows = score(task, "DIIP", run, {"budget": Never()}, perceptual=True)
    assert [r.method for r in rows] == ["DIIP, budget", "DIIP, oracle stop", "DIIP, LPIPS oracle stop"]
    # By its own LPIPS, not by the PSNR.
    assert rows[1].k == [1, 2] and rows[2].k == [1, 1] and rows[2].stopped == 1
    np.testing.assert_allclose(rows[0].lpips, [lpips(iterates[i, 2], clean[i]) for i in range(2)], rtol=1e-6)
    np.testing.assert_allclose(rows[0].lpips_gap, np.subtract(rows[0].lpips, rows[2].lpips))
    assert quality(task, "input", task.y).lpips == []


def test_rows_of_several_seeds_are_means_per_image():
    one = Row("noise", "DIIP", [20.0, 30.0], [0.5, 0.5], [9.0, 9.0], [10, 20], 0.5, seconds=[1.0, 2.0])
    other = dataclasses.replace(one, psnr=[24.0, 30.0], k=[20, 20], stopped=1.0, seconds=[3.0, 2.0])
    assert pooled([one]) is one
    both = pooled([one, other])
    assert both.psnr == [22.0, 30.0] and both.k == [15, 20] and both.seconds == [2.0, 2.0] and both.stopped == 0.75
    assert both.lpips == [] and both.method == "DIIP"
    # The means are 25 and 27 dB.
    assert both.seed_spread == pytest.approx(2**0.5)
