import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from networks import tiny_prior, uint8_images

from diip_jax.commands.settings import DIIPSettings
from diip_jax.evaluate import tables
from diip_jax.evaluate.costs import Cost
from diip_jax.evaluate.trajectories import Trajectory, trajectory
from diip_jax.metrics import lpips
from diip_jax.plug import plug
from diip_jax.plugs.rules import Averaged, LossSlope, Never, Rule, laplacian_variance_peak
from diip_jax.restore import restore


@pytest.fixture
def run():
    """Two images that come nearest to the clean one at k = 7 and k = 3; the Laplacian variance peaks at 6 and 9."""
    k = np.arange(12)
    clean = np.full((2, 16, 16, 3), 100, np.uint8)
    levels = np.stack([100 + 5 * np.abs(k - 7) + 1, 100 + 5 * np.abs(k - 3) + 2]).astype(np.uint8)
    iterates = np.broadcast_to(levels[:, :, None, None, None], (2, 12, 16, 16, 3)).copy()
    sharpness = np.stack([-np.abs(k - 6.0), -np.abs(k - 9.0)]).astype(np.float32)
    loss = np.stack([np.exp(-k / 3.0), np.full(12, 0.5)]).astype(np.float32)
    return Trajectory(iterates, loss, sharpness, iterates[:, 0], clean, 1.0)


def test_replay_selects_what_the_rule_would_return(run):
    replay = tables.replay(laplacian_variance_peak(2), run)
    assert replay.selected.tolist() == [6, 9] and replay.fired.tolist() == [True, True]
    replay = tables.replay(LossSlope(1e-3, k_min=4), run)
    assert replay.selected.tolist() == [11, 5] and replay.fired.tolist() == [False, True]
    np.testing.assert_array_equal(replay.images, run.iterates[[0, 1], [11, 5]])


@pytest.mark.parametrize("stopping", ["wmv", "emv", "averaged", "discrepancy", "combined"])
def test_replay_is_what_the_loop_does(stopping, tmp_path):
    """Also for rules that look at images, where the iterates are kept with 8 bits."""
    method = DIIPSettings(
        stride=500, max_iterations=30, learning_rate=0.05, stopping=stopping, k_min=3, window=4, patience=3
    )
    clean = uint8_images(2)
    run = trajectory(tmp_path, tiny_prior(), "noise", clean, method)
    replay, restored = tables.replay(method.rule(), run), restore(method.method(tiny_prior()), run.y)
    assert replay.selected.tolist() == restored.selected[:, 0].tolist()
    assert replay.fired.tolist() == [reasons[0] != "budget" for reasons in restored.reasons]
    assert np.abs(replay.images.astype(int) - restored.images).max() <= 1


@plug()
class FourRows(Rule):
    def init(self, image, y):
        return jnp.asarray(len(y) == 4)

    def __call__(self, state, seen):
        return state, state


@plug()
class Hidden(FourRows):
    def init(self, image, y):
        return jnp.isnan(y).any()


def test_replay_shows_a_rule_the_degraded_image_as_the_method_was_given_it(run):
    """A rule that fires at once where y has 4 rows."""
    rule = FourRows()
    assert tables.replay(rule, run).selected.tolist() == [11, 11]
    down = dataclasses.replace(run, observation=run.y[:, :4, :4])
    assert tables.replay(rule, down).selected.tolist() == [0, 0]


def test_replay_shows_a_rule_nothing_of_what_is_hidden(run):
    """A rule that fires at once where a pixel of y is not known."""
    rule = Hidden()
    masks = np.ones(run.y.shape[:3], bool)
    masks[1, 2, 3] = False
    assert tables.replay(rule, dataclasses.replace(run, masks=masks)).selected.tolist() == [11, 0]


def test_oracle_is_the_iterate_of_the_highest_psnr(run):
    assert tables.oracle(run).tolist() == [7, 3]


def test_rows_hold_the_quality_of_the_selected_iterates(run):
    rows = tables.rows_of("noise", "DIIP", run, {"peak": laplacian_variance_peak(2)})
    assert [r.method for r in rows] == ["DIIP, peak", "DIIP, oracle stop"]
    # Iterate 6 is 6 grey levels off, iterate 9 of the second image 32.
    np.testing.assert_allclose(rows[0].psnr, 20 * np.log10(255 / np.array([6.0, 32.0])), rtol=1e-9)
    np.testing.assert_allclose(rows[1].psnr, 20 * np.log10(255 / np.array([1.0, 2.0])), rtol=1e-9)
    np.testing.assert_allclose(rows[0].psnr_gap, 20 * np.log10(np.array([6.0, 16.0])), rtol=1e-9)
    # The input is 36 levels off the clean image, and 17 in the second.
    np.testing.assert_allclose(rows[0].distance, 20 * np.log10(255 / np.array([30.0, 15.0])), rtol=1e-9)
    assert rows[0].k == [6, 9] and rows[0].stopped == 1
    assert rows[1].k == [7, 3] and rows[1].psnr_gap == [] and rows[1].stopped == 1
    assert rows[0].lpips == rows[0].lpips_gap == rows[0].seconds == []


def test_a_mean_of_iterates_may_beat_the_best_of_them(run):
    """Noise that is independent from iterate to iterate averages out: the gap is below 0 then."""
    noise = 20 * np.random.default_rng(1).standard_normal(run.iterates.shape)
    noisy = dataclasses.replace(run, iterates=np.rint(run.clean[:, None] + noise).astype(np.uint8))
    mean = tables.rows_of("noise", "DIIP", noisy, {"mean": Averaged(Never(), 0.9)})[0]
    assert max(mean.psnr_gap) < -2


def test_iterations_until_the_stop_are_paid_for(run):
    cost = Cost(seconds=0.5, evaluations=10, memory_bytes=1000)
    rules = {"patient": laplacian_variance_peak(2, patience=2), "slope": LossSlope(1e-3, k_min=4)}
    patient, slope, oracle = tables.rows_of("noise", "DIIP", run, rules, cost=cost)
    # The peaks are at 6 and 9; it waits for two more iterates. The slope of the first image never gets flat.
    assert patient.k == [6, 9] and patient.iterations == [9, 12]
    assert slope.k == [11, 5] and slope.iterations == [12, 6]
    assert patient.seconds == [4.5, 6.0] and patient.evaluations == [90, 120] and patient.memory_bytes == 1000
    assert oracle.iterations == oracle.seconds == [] and oracle.memory_bytes is None


def test_lpips_has_an_oracle_of_its_own():
    rng = np.random.default_rng(0)
    clean = rng.integers(60, 190, (2, 32, 32, 3), np.uint8)
    strength = np.array([[30, 5, 20], [30, 20, 5]])
    noise = rng.choice([-1, 1], (2, 3, 32, 32, 3)) * strength[..., None, None, None]
    iterates = (clean[:, None] + noise).astype(np.uint8)
    distances = np.array([[3.0, 1.0, 2.0], [3.0, 1.5, 2.0]], np.float32)
    curves = np.zeros((2, 3), np.float32)
    given = Trajectory(iterates, curves, curves, iterates[:, 0], clean, 1.0, lpips=distances)
    rows = tables.rows_of("noise", "DIIP", given, {"budget": Never()})
    assert [r.method for r in rows] == ["DIIP, budget", "DIIP, oracle stop", "DIIP, LPIPS oracle stop"]
    # By its own LPIPS, not by the PSNR.
    assert rows[1].k == [1, 2] and rows[2].k == [1, 1] and rows[2].stopped == 1
    expected = [lpips(iterates[i, 2] / 127.5 - 1, clean[i] / 127.5 - 1) for i in range(2)]
    np.testing.assert_allclose(rows[0].lpips, expected, rtol=1e-6)
    np.testing.assert_allclose(rows[0].lpips_gap, np.subtract(rows[0].lpips, rows[2].lpips))
