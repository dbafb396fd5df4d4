"""Work ahead of the devices and behind them: order, bounds, faults."""

import threading
import time

import pytest

from diip_jax.run.pipeline import Ahead, Behind

LIGHT = {"weigh": lambda result: 0, "limit": 1}


def drained(ahead):
    while (ready := next(ahead, "end")) != "end":
        if ready is not None:
            yield ready


def test_results_come_in_order_with_their_faults():
    ahead = Ahead(lambda n: 6 // n, [3, 0, 2], threads=2, room=2, **LIGHT)
    seen = [(job, future.exception() or future.result()) for job, future in drained(iter(ahead))]
    ahead.close()
    assert seen[0] == (3, 2) and seen[2] == (2, 3)
    assert isinstance(seen[1][1], ZeroDivisionError)


def test_no_more_is_held_than_there_is_room_for():
    begun = []
    ahead = Ahead(begun.append, range(100), threads=2, room=5, **LIGHT)
    results = drained(iter(ahead))
    for taken in range(10):
        next(results)
        time.sleep(0.005)
        assert len(begun) <= taken + 1 + 5
    ahead.close()
    assert len(begun) < 20


def test_what_is_held_ahead_weighs_no_more_than_the_limit():
    begun = []

    def load(weight):
        begun.append(weight)
        return weight

    # Alone until the first is known; then three of the heaviest, but one even where that is above the limit.
    weights = [3, 3, 3, 3, 3, 3, 20, 3, 3, 3]
    results = drained(iter(Ahead(load, weights, threads=2, room=5, weigh=lambda weight: weight, limit=10)))
    held = []
    for taken, (job, future) in enumerate(results):
        assert job == future.result()
        held.append(len(begun) - taken)
    assert max(held) == 3
    # Two more may have begun before that one was known.
    assert held[weights.index(20) + 2 :] == [1, 1]
    assert begun == weights


def test_what_is_not_ready_is_not_waited_for():
    gate = threading.Event()
    results = iter(Ahead(lambda n: gate.wait(), [1], threads=1, room=1, **LIGHT))
    assert next(results) is None
    gate.set()
    assert next(drained(results))[0] == 1


def test_behind_tells_in_the_callers_thread_and_waits_where_there_is_no_room():
    told, gate = [], threading.Event()

    def done(job, future):
        told.append((job, threading.current_thread() is threading.main_thread(), future.exception()))

    behind = Behind(lambda n: gate.wait() and 1 // n, done, room=2)
    behind.put(1)
    behind.put(0)
    assert told == []
    gate.set()
    behind.put(2)
    assert told[0] == (1, True, None)
    behind.close()
    assert [job for job, _, _ in told] == [1, 0, 2]
    assert isinstance(told[1][2], ZeroDivisionError)


def test_an_error_in_telling_loses_no_thread():
    def done(job, future):
        raise RuntimeError("full")

    gate = threading.Event()
    behind = Behind(lambda n: gate.wait() and n, done, room=5)
    behind.put(1)
    gate.set()
    with pytest.raises(RuntimeError, match="full"):
        behind.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encode")]
