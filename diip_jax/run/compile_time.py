"""How much of a time JAX was tracing, lowering and compiling."""

import functools
import time
from collections.abc import Iterable

import jax


def began() -> None:
    """From here on is taken note; what was before is forgotten."""
    _intervals().clear()


def counted() -> int:
    """How many times it has traced, lowered or compiled something since."""
    return len(_intervals())


def within(start: float, end: float) -> float:
    """Seconds of it between two times of `time.monotonic`."""
    inside = [(max(begin, start), min(over, end)) for begin, over in list(_intervals()) if over > start and begin < end]
    return covered(inside)


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union: traces nest, and would count twice in a sum."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


@functools.cache
def _intervals() -> list[tuple[float, float]]:
    """Beginnings and ends of JAX's tracing, lowering and compiling, on `time.monotonic`; one list, ever growing."""
    intervals: list[tuple[float, float]] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            intervals.append((time.monotonic() - duration_secs, time.monotonic()))

    jax.monitoring.register_event_duration_secs_listener(listen)
    return intervals
