"""Being asked to stop, as a process is."""

import signal
import subprocess
import sys
import time

import pytest

CODE = """
import hashlib, signal, sys, time
from diip_jax.run.signals import Terminated, ends_on_signals
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what runs in a shell's background
try:
    with ends_on_signals(0.5):
        print("ready", flush=True)
        {work}
except (Terminated, KeyboardInterrupt) as asked:
    print(type(asked).__name__, flush=True)
    {then}
"""


def ended(number, work, then="sys.exit(3)"):
    """(exit code, what it said, seconds) of a process that is asked to stop."""
    code = CODE.format(work=work, then=then)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)  # it has said so before it is at its work
    began = time.monotonic()
    process.send_signal(number)
    said, _ = process.communicate(timeout=20)
    return process.returncode, said, time.monotonic() - began


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGTERM, "Terminated"), (signal.SIGINT, "KeyboardInterrupt")])
def test_a_signal_is_raised(number, raised):
    assert ended(number, "time.sleep(30)")[:2] == (3, f"{raised}\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_what_hears_no_signal_ends_in_time(number, code):
    # In C with the GIL given up, as XLA's compiler is.
    work = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**8)"
    returned, said, seconds = ended(number, work)
    assert (returned, said) == (code, "") and seconds < 6


def test_who_does_not_come_to_an_end_is_ended():
    assert ended(signal.SIGTERM, "time.sleep(30)", "time.sleep(30)")[:2] == (143, "Terminated\n")


def test_a_program_that_ends_by_itself_is_left_alone():
    code = "import time; from diip_jax.run.signals import ends_on_signals as s\nwith s(0.1): pass\ntime.sleep(0.5)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
