import dataclasses

import numpy as np
import pytest
from networks import uint8_images
from tasks import Brighter, brighter, looped

from diip_jax.commands.settings import DIIPSettings
from diip_jax.evaluate import tables
from diip_jax.evaluate.run import Store
from diip_jax.evaluate.tables import Study, compute, jobs_of, table
from diip_jax.evaluate.task import corrupted

CLEAN = uint8_images(3)


def study_in(folder, prior=None, names=("noise", "blur"), seeds=(0,)):
    tasks = {name: {seed: corrupted(name, CLEAN, seed) for seed in seeds} for name in names}
    return Study(prior, Store(folder), tasks, perceptual=False)


def test_the_time_that_is_left_goes_by_network_evaluations(tmp_path, monkeypatch):
    now, lines = [0.0], []

    class Slow(Brighter):
        evaluations = 30

        def __call__(self, task, seed):
            now[0] += 30.0 * len(task) * self.amount
            return super().__call__(task, seed)

    slow = dataclasses.replace(brighter(images=3), restorer=lambda task, prior: Slow(1), name="slow")
    study = study_in(tmp_path)
    monkeypatch.setattr("diip_jax.evaluate.run.BATCH_SIZE", 2)
    jobs = jobs_of([slow, brighter(9, 1, "fast")], ["noise", "blur"], study)
    assert [(job.entry.name, job.task.name, len(job.task)) for job in jobs] == [
        ("slow", "noise", 3),
        ("slow", "blur", 3),
        ("fast", "noise", 1),
    ]
    compute(jobs, study, lines.append, clock=lambda: now[0])
    # The cheap one comes first. Then two of six images took a minute.
    assert lines == [
        "3 runs to compute",
        "slow, noise (run 2 of 3): 34% of all done, about 2 min left",
        "slow, blur (run 3 of 3): 83% of all done, about 30 s left",
        "computed in 3 min",
    ]
    compute(jobs, study, lines.append)
    assert len(lines) == 4
    # What another job makes counts once.
    half = [*jobs_of([brighter(7, 2, "a"), brighter(7, 2, "b")], ["noise"], study)]
    compute(half, study, lines.append)
    assert lines[4] == "1 runs to compute"


@pytest.fixture(scope="module")
def made(prior, tmp_path_factory):
    study = study_in(tmp_path_factory.mktemp("study"), prior)
    flat = {"flat": {"stopping": "loss_slope", "eps": 1e3}}
    loop = looped("loop", DIIPSettings(stride=500, max_iterations=3), "budget", images=16, **flat)
    return study, jobs_of([loop, brighter()], ["noise", "blur"], study)


def test_rows_over_the_same_images_stand_side_by_side(made):
    study, jobs = made
    rows = table(jobs, ["noise", "blur"], study)
    of_three = ["input (3)", "loop (3), budget", "loop (3), flat", "loop (3), oracle stop"]
    of_two = [name.replace("(3)", "(2)") for name in of_three]
    assert [(row.task, row.method) for row in rows] == [
        *(("noise", name) for name in [*of_three, *of_two, "brighter (2)"]),
        *(("blur", name) for name in of_three),
    ]
    assert [len(row.psnr) for row in rows] == [3] * 4 + [2] * 5 + [3] * 4
    assert rows[1].psnr[:2] == rows[5].psnr
    named = {row.method: row for row in rows[:9]}
    assert named["loop (3), budget"].evaluations == [6, 6, 6]
    # A slope that is always flat: two iterates of two evaluations.
    assert named["loop (3), flat"].evaluations == [4, 4, 4]
    assert named["brighter (2)"].evaluations == [7, 7] and named["brighter (2)"].k == []
    assert named["input (3)"].seconds == []


def test_pictures_are_those_of_the_first_rule(made):
    study, jobs = made
    np.testing.assert_array_equal(jobs[0].pictures(study), jobs[0].run(study).images[:, -1])
    np.testing.assert_array_equal(jobs[2].pictures(study), study.tasks["noise"][0].y[:2] // 2 + 5)


def test_kept_noise_is_charged_for_its_first_evaluations(prior, tmp_path):
    study = study_in(tmp_path, prior, ("noise",))
    blind = looped("Blind", DIIPSettings(stride=500, refresh=1, max_iterations=3, stopping="budget"), "budget")
    row = table(jobs_of([blind], ["noise"], study), ["noise"], study)[1]
    assert row.method == "Blind (2), budget" and row.evaluations == [5, 5]


def test_seeds_are_pooled_row_by_row(tmp_path, monkeypatch):
    study = study_in(tmp_path, names=("noise",), seeds=(0, 4))
    jobs = jobs_of([brighter()], ["noise"], study)
    assert [job.seed for job in jobs] == [0, 4]
    pooled = []
    monkeypatch.setattr(tables, "pooled", lambda rows: pooled.append([row.psnr for row in rows]) or rows[0])
    rows = table(jobs, ["noise"], study)
    assert [row.method for row in rows] == ["input (2)", "brighter (2)"]
    assert [len(each) for each in pooled] == [2, 2] and pooled[1][0] != pooled[1][1]
