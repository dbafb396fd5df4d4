"""Being asked to stop: Ctrl-C and SIGTERM take effect between two steps, when the state can be saved."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import jax
from jax.experimental import multihost_utils


@contextlib.contextmanager
def interruption() -> Iterator[Callable[[int], int | None]]:
    """A function of the step that has been done: the signal that asks for the end after it, or None.

    A second signal ends the process as it does everywhere. In a run of several processes it is JAX that passes a
    SIGTERM on to all of them and names the step after which all end; Ctrl-C ends them at once.
    """
    if jax.process_count() > 1:
        yield lambda step: signal.SIGTERM if multihost_utils.reached_preemption_sync_point(step) else None
        return
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # where Python takes no signals
        yield lambda step: None
        return

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, earlier[signal.Signals(number)])

    earlier = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda step: received[0] if received else None
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
