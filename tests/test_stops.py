"""Runs that are asked to stop, or killed, again and again: nothing is lost, half-written or done twice without need."""

import signal
import subprocess
import sys
import time

from command_line import checkpoint, picture, pixels, record

SETTINGS = ["--method=diip", "--stride=500", "--max_iterations=30", "--stopping=budget", "--batch_size=1"]
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}


def stopped(command, out, number, after):
    """(exit code, seconds from the signal to the end, images restored) of a run stopped after so many new records."""
    before = {path.name for path in out.glob("*.json")} if out.exists() else set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and len({path.name for path in out.glob("*.json")} - before) < after:
            time.sleep(0.005)
        began = time.monotonic()
        process.send_signal(number)
        told, _ = process.communicate(timeout=60)
        return process.returncode, time.monotonic() - began, told.count(" -> ")


def test_a_run_that_is_stopped_again_and_again_comes_to_its_end(tmp_path):
    given = [str(picture(tmp_path / "in" / f"{n}.png", n)) for n in range(6)]
    out = tmp_path / "out"
    # A shell's background ignores Ctrl-C, and what it starts inherits that.
    code = "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\nsys.argv[0] = 'launch'\n"
    code += "import runpy; runpy.run_module('diip_jax.launch', run_name='__main__')"
    command = [sys.executable, "-c", code, *given, f"--checkpoint={checkpoint()}", *SETTINGS, f"--output_dir={out}"]
    command.append("--skip_existing")
    restored = 0
    # At once, then after so many images; the kill last, which alone may leave something half-written.
    for number, after in ((signal.SIGTERM, 0), (signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGKILL, 1)):
        returned, seconds, lines = stopped(command, out, number, after)
        if after:  # before that it may not have come so far as to hear it
            assert returned in (CODES[number], 0) and seconds < 10
        restored += lines
        records = list(out.glob("*.json"))
        for path in records:
            assert record(path)["iterations"] == 30 and pixels(path.with_suffix(".png")).shape == (16, 16, 3)
        # A kill may come between a record and the line that tells of it.
        assert restored <= len(records) if number == signal.SIGKILL else restored == len(records)
        assert number == signal.SIGKILL or not list(out.glob(".*"))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    finished = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert finished == {f"{n}.{kind}" for n in range(6) for kind in ("png", "json")}
    assert len(records) + done.stdout.count(" -> ") == 6
