import dataclasses

import numpy as np
import pytest

from diip_jax.evaluate import rules
from diip_jax.evaluate.trajectories import Trajectory
from diip_jax.metrics import lpips
from diip_jax.stopping import averaged, budget, laplacian_variance_peak


@pytest.fixture
def run():
    """Two noisy pictures of 32x32 whose noise is smallest at k = 3 and k = 5; the Laplacian variance peaks there."""
    rng, k = np.random.default_rng(0), np.arange(8)
    clean = rng.integers(60, 190, (2, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    distance = np.stack([np.abs(k - 3), np.abs(k - 5)])
    noise = rng.standard_normal((2, 1, 32, 32, 3)) * (4 + 8 * distance[:, :, None, None, None])
    iterates = np.rint(clean[:, None] + noise).clip(0, 255).astype(np.uint8)
    sharpness = -distance.astype(np.float32)
    return Trajectory(iterates, np.ones((2, 8), np.float32), sharpness, iterates[:, 0], clean.astype(np.uint8), 1.0)


def test_gaps_are_to_the_best_iterates(run):
    at_input, peak, end = rules.gaps("noise", run, {"peak": laplacian_variance_peak(0), "end": budget(8)})
    assert [gap.rule for gap in (at_input, peak, end)] == ["input", "peak", "end"]
    assert peak.k == [3, 5] and peak.psnr == [0, 0] and peak.lpips == peak.best_lpips and peak.lpips_excess == 0
    assert end.k == [7, 7] and min(end.psnr) > 5 and end.lpips_excess > 0.1
    last, clean = (stack[0].astype(np.float32) / 127.5 - 1 for stack in (run.iterates[:, 7], run.clean))
    np.testing.assert_allclose(end.lpips[0], lpips(last, clean), rtol=1e-4)
    assert at_input.k == [] and at_input.psnr[1] > end.psnr[1]


def test_a_mean_of_iterates_may_beat_the_best_of_them(run):
    """Noise that is independent from iterate to iterate averages out."""
    rng = np.random.default_rng(1)
    iterates = np.rint(run.clean[:, None] + 20 * rng.standard_normal(run.iterates.shape)).clip(0, 255).astype(np.uint8)
    [_, mean] = rules.gaps("noise", dataclasses.replace(run, iterates=iterates), {"mean": averaged(budget(8), 0.9)})
    assert max(mean.psnr) < -2


def test_markdown_has_a_row_for_every_task_and_a_column_for_every_rule(run):
    found = [gap for task in ("noise", "blur") for gap in rules.gaps(task, run, {"peak": laplacian_variance_peak(0)})]
    lines = rules.markdown(found).splitlines()
    assert lines[0] == lines[5] == "| task | input | peak |"
    assert [line.split(" | ")[0] for line in lines] == ["| task", "|---|---|---|", "| noise", "| blur", ""] + [
        "| task",
        "|---|---|---|",
        "| noise",
        "| blur",
    ]
    assert lines[2].endswith("| 0.00 [0.00, 0.00] |") and lines[8].endswith("| 0 % (k 4) |")


def test_the_rules_that_are_compared_have_settings_of_the_method():
    names = [rules._name(settings) for settings in rules.RULES]
    assert len({*names}) == len(names) and "wmv (patience 5)" in names
    assert all(dataclasses.replace(rules.METHOD, **settings).rule().names for settings in rules.RULES)
