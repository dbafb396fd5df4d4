"""`python tests/killed_runs.py KILL|TERM|INT MOMENTS`: a run of the command, stopped so many times and begun again.

Prints what was found after each; raises AssertionError where a picture was lost, half-written, or done again although
it was finished. Half of the moments are anywhere in the start of the command, the others while it restores and writes.
"""

import functools
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from command_line import checkpoint, own_programs, picture
from PIL import Image

ITERATIONS = 400
SETTINGS = ["--method=diip", "--stride=500", f"--max_iterations={ITERATIONS}", "--stopping=budget", "--skip_existing"]
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}
# A shell's background ignores Ctrl-C, and what it starts inherits that.
COMMAND = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "launch"
runpy.run_module("diip_jax.launch", run_name="__main__")
"""


@functools.cache
def environment() -> dict[str, str]:
    """With compiled programs that no other process reads: a kill may leave one of them half written."""
    return own_programs(Path(tempfile.mkdtemp(dir=checkpoint().parent)))


@functools.cache
def seconds_of_a_start() -> float:
    """How long the command takes for one picture, when its programs are compiled."""
    with tempfile.TemporaryDirectory() as place:
        for name in ("first", "second"):
            began = time.monotonic()
            subprocess.run(command_of(Path(place, name), 1), check=True, capture_output=True, env=environment())
        return time.monotonic() - began


def command_of(folder: Path, pictures: int) -> list[str]:
    """The command that restores so many pictures from folder/in to folder/out."""
    for n in range(pictures):
        picture(folder / "in" / f"{n:03}.png", n)
    given = [str(folder / "in"), f"--output_dir={folder / 'out'}", f"--checkpoint={checkpoint()}"]
    return [sys.executable, "-c", COMMAND, *given, *SETTINGS]


def finished(out: Path) -> dict[str, tuple[int, int]]:
    """What tells the finished pictures of the folder: when their record and picture were written, each whole."""
    found = {}
    for record in sorted(out.glob("*.json")):
        told = json.loads(record.read_text())
        assert told["iterations"] == ITERATIONS, f"{record} is of another run"
        with Image.open(record.with_suffix(".png")) as restored:
            restored.load()
        found[record.stem] = record.stat().st_mtime_ns, record.with_suffix(".png").stat().st_mtime_ns
    return found


def stopped(command: list[str], number: int, seconds: float, out: Path | None) -> tuple[int, float, str]:
    """(exit code, seconds from the signal to the end, what it said) of a run that is stopped after some seconds.

    Args:
        out: they count from the first new record in this folder; None: from the start.
    """
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment(), **pipes) as process:
        before = 0 if out is None else len(list(out.glob("*.json")))
        while out is not None and process.poll() is None and len(list(out.glob("*.json"))) == before:
            time.sleep(0.005)
        try:
            told, _ = process.communicate(timeout=seconds)
            return process.returncode, 0.0, told
        except subprocess.TimeoutExpired:
            began = time.monotonic()
            process.send_signal(number)
            told, _ = process.communicate(timeout=60)
            return process.returncode, time.monotonic() - began, told


def main(kind: str, moments: int, pictures: int | None = None) -> None:
    """Stops a run at so many moments. Every one of them finds the folder further than the one before, or as it was."""
    number, draw = signal.Signals[f"SIG{kind}"], random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        command = command_of(folder, pictures or 4 * moments)
        start, out, restored, before = seconds_of_a_start(), folder / "out", 0, {}
        for moment in range(moments):
            working = moment % 2 == 1
            after = draw.uniform(0, 1) if working else start * draw.uniform(0, 1.1)
            code, took, told = stopped(command, number, after, out if working else None)
            now = finished(out)
            # A signal may come before Python itself has begun to listen, or when it has ceased to.
            deaf = code == -number and (not working or " restored, " in told)
            assert code in (0, CODES[number]) or deaf, f"exit code {code}: {told}"
            assert took < 10, f"it took {took:.1f} s to end"
            assert all(now.get(stem) == times for stem, times in before.items()), (
                "finished work was lost, or done again"
            )
            restored += len(now) - len(before)
            since = "the first new picture" if working else "the start"
            print(f"{moment + 1}: {kind} {after:.2f} s after {since}: code {code} in {took:.1f} s, {len(now)} finished")
            before = now
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        assert done.returncode == 0, done.stderr
        now = finished(out)
        assert all(now.get(stem) == times for stem, times in before.items())
        assert len(now) == len(list((folder / "in").iterdir())) == restored + done.stdout.count(" -> ")
        left = [path.name for path in out.iterdir() if path.suffix not in (".png", ".json")]
        assert not left, left
        print(f"all {len(now)} pictures once, and nothing else")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
