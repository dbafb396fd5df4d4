"""Runs that are asked to stop, or killed, again and again; `python tests/killed_runs.py KILL 20` does so more often."""

import killed_runs
import pytest


@pytest.mark.parametrize("kind", ["TERM", "INT", "KILL"])
def test_a_run_that_is_stopped_again_and_again_comes_to_its_end(kind):
    killed_runs.main(kind, moments=2, pictures=5)
