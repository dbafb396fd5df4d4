import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from networks import images, tiny_prior

from diip_jax.api import restore
from diip_jax.evaluate import tables
from diip_jax.evaluate.trajectories import Trajectory, trajectory
from diip_jax.methods import DIIP
from diip_jax.stopping import StoppingRule, Verdict, laplacian_variance_peak, loss_slope


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
    replay = tables.replay(loss_slope(1e-3, k_min=4), run)
    assert replay.selected.tolist() == [11, 5] and replay.fired.tolist() == [False, True]
    np.testing.assert_array_equal(replay.images, run.iterates[[0, 1], [11, 5]])


@pytest.mark.parametrize("stopping", ["wmv", "emv", "averaged", "discrepancy", "combined"])
def test_replay_is_what_the_loop_does(stopping, tmp_path):
    """Also for rules that look at images, where the iterates are kept with 8 bits."""
    method = DIIP(stride=500, max_iterations=30, learning_rate=0.05, stopping=stopping, k_min=3, window=4, patience=3)
    clean = np.rint((np.asarray(images(2)) + 1) * 127.5).astype(np.uint8)
    run = trajectory(tmp_path, tiny_prior(), "noise", clean, method)
    replay, restored = tables.replay(method.rule(), run), restore(tiny_prior(), run.y, method)
    assert replay.selected.tolist() == restored.selected[:, 0].tolist()
    assert replay.fired.tolist() == [reasons[0] != "budget" for reasons in restored.stop_reasons]
    assert np.abs(replay.images.astype(int) - restored.images).max() <= 1


def test_replay_shows_a_rule_the_degraded_image_as_the_method_was_given_it(run):
    """A rule that fires at once where y has 4 rows."""
    rule = StoppingRule(
        lambda image, y: jnp.asarray(len(y) == 4),
        lambda state, seen: (state, Verdict(state, jnp.zeros_like(seen.k), seen.k, seen.image)),
        ("four",),
    )
    assert tables.replay(rule, run).selected.tolist() == [11, 11]
    down = dataclasses.replace(run, observation=run.y[:, :4, :4])
    assert tables.replay(rule, down).selected.tolist() == [0, 0]


def test_oracle_is_the_iterate_of_the_highest_psnr(run):
    assert tables.oracle(run).tolist() == [7, 3]


def test_rows_hold_the_quality_of_the_selected_iterates(run):
    rows = tables.rows_of("noise", "DIIP", run, {"peak": laplacian_variance_peak(2)})
    assert [r.method for r in rows] == ["DIIP, peak", "DIIP, oracle stop"]
    levels = run.iterates[[0, 1], [6, 9], 0, 0, 0].astype(float)
    np.testing.assert_allclose(rows[0].psnr, 20 * np.log10(255 / (levels - 100)), rtol=1e-9)
    np.testing.assert_allclose(rows[1].psnr, 20 * np.log10(255 / np.array([1.0, 2.0])), rtol=1e-9)
    assert rows[0].k == [6, 9] and rows[0].stopped == 1
    assert min(rows[1].psnr) >= max(rows[0].psnr) or all(
        a >= b for a, b in zip(rows[1].psnr, rows[0].psnr, strict=True)
    )


def test_markdown_shows_mean_interval_and_stop(run):
    rows = [tables.row("noise", "input", run.y, run), *tables.rows_of("noise", "DIIP", run, {"robust": DIIP().rule()})]
    lines = tables.markdown(rows).splitlines()
    assert len(lines) == 2 + 3
    assert lines[2].startswith("| noise | input | ") and lines[2].endswith("| - | - | - |")
    assert "| 11 | 0 % |" in lines[3]
