"""A process whose device is stuck leaves; one that goes on, however slowly, does not."""

import subprocess
import sys
import time

from diip_jax.run.watchdog import watchdog

STUCK = """
import threading
from diip_jax.run.watchdog import watchdog
try:
    with watchdog(lambda: 0, 0.5):
        threading.Thread(target=threading.Event().wait).start()  # which would keep the process from ending
        threading.Event().wait()
finally:
    print("cleaned up")
"""


def test_a_stuck_process_leaves_at_once():
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "nothing has moved for 0 s, the device is stuck" in done.stderr
    assert done.stdout == ""  # cleaning up would wait for the device


def left(progress, seconds_a_look):
    """What it left with, in some looks at a clock that says each time so many seconds more."""
    codes, looks = [], []

    def clock():
        looks.append(1)
        return seconds_a_look * len(looks)

    with watchdog(progress, 0.02, clock, codes.append):
        end = time.monotonic() + 20
        while not codes and len(looks) < 100 and time.monotonic() < end:
            time.sleep(0.01)
    return codes


def test_it_leaves_where_nothing_moves_and_only_there():
    moving = iter(range(10**9))
    assert left(lambda: next(moving), 1000) == []
    assert left(lambda: 7, 1000) == [1]


def test_it_ends_with_what_it_watches():
    codes = []
    with watchdog(lambda: 0, 0.05, leave=codes.append):
        pass
    time.sleep(0.2)
    assert codes == []
