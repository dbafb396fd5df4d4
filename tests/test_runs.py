from pathlib import Path

import numpy as np
import pytest
from networks import tiny_prior, uint8_images
from restorers import Brighter

from diip_jax.commands.settings import DIIPSettings
from diip_jax.evaluate.costs import Cost
from diip_jax.evaluate.entries import Entry, OneShotEntry, Study
from diip_jax.evaluate.runs import compute, duration, jobs_of, table


class Timed:
    """A job whose iterations take time on a clock of its own."""

    now = 0.0

    def __init__(self, name, files, seconds, steps):
        self.name, self.task, self.images = name, "noise", 1
        self.files, self.seconds, self.steps = files, seconds, steps

    def cost(self):
        return Cost(self.seconds, 1, None)

    def left(self):
        return self.files

    def compute(self, progress):
        for added, seconds in self.steps:
            Timed.now += seconds
            progress(added)

    def rows(self, numbers):
        return {}

    def pictures(self):
        return np.zeros((1, 4, 4, 3), np.uint8)


def test_the_time_is_estimated_first_and_corrected_later():
    Timed.now, lines = 0.0, []
    a, b, c = Path("a"), Path("b"), Path("c")
    jobs = [
        # 400 iterations of a second, and they take twice as long.
        Timed("slow", {a: 100, b: 300}, 1.0, [(100, 200), (10, 20), (290, 580)]),
        Timed("there already", {}, 5.0, []),
        # The file b is made by the job before.
        Timed("fast", {b: 300, c: 100}, 2.0, [(100, 200)]),
    ]
    compute(jobs, lines.append, clock=lambda: Timed.now)
    assert lines == [
        "2 runs to compute; measuring what their iterations cost",
        "this will take about 10 min",
        # 100 of 600 s are done and took 200 s; the next iterations come too soon to be told.
        "slow, noise (run 1 of 2): 17% of all done, about 17 min left",
        "slow, noise (run 1 of 2): 67% of all done, about 7 min left",
        "fast, noise (run 2 of 2): 100% of all done, about 0 s left",
        "computed in 17 min",
    ]


def test_nothing_is_said_where_nothing_is_missing():
    lines = []
    compute([Timed("there already", {}, 5.0, [])], lines.append)
    assert lines == []


@pytest.mark.parametrize("seconds, words", [(5.4, "5 s"), (90.0, "2 min"), (3600.0 * 3 + 60 * 12, "3 h 12 min")])
def test_durations_are_for_people(seconds, words):
    assert duration(seconds) == words


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    clean = uint8_images(3)
    study = Study(tmp_path_factory.mktemp("study"), tiny_prior(), clean, perceptual=False)
    variants = {"flat": {"stopping": "loss_slope", "eps": 1e3}}
    entries = [
        Entry("loop", lambda task: DIIPSettings(stride=500, max_iterations=3), ("budget",), 16, variants),
        OneShotEntry("brighter", lambda task: None if task == "blur" else Brighter(5), 2),
    ]
    return study, jobs_of(entries, ["noise", "blur"], study)


def test_rows_over_the_same_images_stand_side_by_side(jobs):
    study, jobs = jobs
    assert [(job.name, job.task, job.images) for job in jobs] == [
        ("loop", "noise", 3),
        ("loop", "blur", 3),
        ("brighter", "noise", 2),
    ]
    rows = table(jobs, study, ["noise", "blur"])
    of_three = ["input (3)", "loop (3), budget", "loop (3), flat", "loop (3), oracle stop"]
    of_two = [name.replace("(3)", "(2)") for name in of_three]
    assert [(row.task, row.method) for row in rows] == [
        *(("noise", name) for name in [*of_three, *of_two, "brighter (2)"]),
        *(("blur", name) for name in of_three),
    ]
    assert [len(row.psnr) for row in rows] == [3] * 4 + [2] * 5 + [3] * 4
    assert not any(job.left() for job in jobs)


def test_rows_say_what_they_cost(jobs):
    study, jobs = jobs
    rows = {(row.task, row.method): row for row in table(jobs, study, ["noise"])}
    assert rows["noise", "loop (3), budget"].evaluations == [6, 6, 6]
    # A slope that is always flat: two iterates of two evaluations.
    assert rows["noise", "loop (3), flat"].evaluations == [4, 4, 4]
    brighter = rows["noise", "brighter (2)"]
    assert brighter.evaluations == [7, 7] and brighter.k == brighter.iterations == [] and brighter.memory_bytes is None
    assert rows["noise", "input (3)"].seconds == []


def test_pictures_are_those_of_the_first_rule(jobs):
    _, jobs = jobs
    np.testing.assert_array_equal(jobs[0].pictures(), jobs[0].trajectory().iterates[:, -1])
    restored = jobs[2].pictures()
    assert restored.shape == (2, 16, 16, 3) and restored.max() <= 255 // 2 + 5
