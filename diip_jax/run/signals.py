"""SIGTERM and Ctrl-C: what is finished is published, and the process ends in time.

Clusters send SIGTERM and kill some seconds later. Python runs a signal's handler in the main thread between two of its
own steps, and a compilation or a long iteration of XLA is one step: a thread of its own therefore sees to the end.
"""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import FrameType

from diip_jax.startup import Terminated

_GRACE = 8.0


@contextlib.contextmanager
def ends_on_signals(grace: float = _GRACE) -> Iterator[None]:
    """Inside, SIGTERM raises `Terminated`; after it, or after Ctrl-C, the process lives on for `grace` seconds at most.

    For the main thread of a program that ends with this: whoever goes on after a signal is ended, too, with the exit
    code 128 + the signal's number.
    """

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    def see_to_the_end() -> None:
        # The interpreter's C handler writes the signal's number as it comes in, whatever the main thread is doing.
        while (told := reading.recv(1)) and told[0] not in (signal.SIGTERM, signal.SIGINT):
            pass
        if told:
            time.sleep(grace)
            os._exit(128 + told[0])
        reading.close()

    reading, writing = socket.socketpair()
    writing.setblocking(False)
    earlier = signal.getsignal(signal.SIGTERM)
    if earlier is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, terminate)
    woken = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    seeing = threading.Thread(target=see_to_the_end, name="signals", daemon=True)
    seeing.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGTERM, earlier)
        # The thread ends, unless a signal has come, which it reads first: threads that wait for a device may hold the
        # process up on its way out.
        writing.close()
        seeing.join(0.2)
