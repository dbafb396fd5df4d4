"""A device that no longer answers: no thread of the process can end its program, so the process ends."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from diip_jax.terminal import say


@contextlib.contextmanager
def watchdog(
    progress: Callable[[], Any],
    patience: float,
    clock: Callable[[], float] = time.monotonic,
    leave: Callable[[int], Any] = os._exit,
) -> Iterator[None]:
    """Inside, the process leaves with exit code 1, at once, when there was no progress for some time.

    Whoever started it (Ray, Kubernetes, Slurm) starts it again, and records say what was finished.

    Args:
        progress: equal to what it was before where nothing has happened; called in a thread.
        patience: seconds.
    """

    def watch() -> None:
        seen, since = progress(), clock()
        while not over.wait(patience / 20):
            if (now := progress()) != seen:
                seen, since = now, clock()
            elif clock() - since > patience:
                say(f"diip_jax: nothing has moved for {patience:.0f} s, the device is stuck", sys.stderr)
                leave(1)
                return

    over = threading.Event()
    thread = threading.Thread(target=watch, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
