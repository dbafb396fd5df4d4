"""Lines for people, on every stream."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diip_jax import terminal
from diip_jax.terminal import Forgiving, duration, printable, say

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("日本 é.png", "日本 é.png"),
        (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),
        ("a\nb\tc\x1b[31m.png", r"a\nb\tc\x1b[31m.png"),
        ("\x9b31m\u2028\u2029", r"\x9b31m\u2028\u2029"),
        ("gnp.\u202ea", r"gnp.\u202ea"),
        ("two  spaces", "two  spaces"),
    ],
)
def test_a_name_is_shown_on_one_line_and_commands_no_terminal(name, shown):
    assert printable(name) == shown
    assert shown.encode().decode("ascii", "replace").isprintable() or not shown.isascii()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "utf-16"])
def test_what_an_encoding_lacks_is_an_escape(encoding):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    say("日é -> ü", stream)
    text = raw.getvalue().decode(encoding)
    lacks = encoding in ("ascii", "cp1252", "latin-1")
    assert text.startswith(r"\u65e5" if lacks else "日") and text.endswith("\n")


class Broken(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    def isatty(self):
        raise ValueError("I/O operation on closed file")


def test_a_stream_that_takes_nothing_raises_nothing():
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed, Broken()):
        say("text", stream)
        assert Forgiving(stream).isatty() is False


@pytest.mark.parametrize("how", ["full", "closed", "pipe"])
def test_the_exit_code_is_that_of_the_work(how):
    code = "import sys, time\nfrom diip_jax.terminal import say\nfor n in range(9): say('x' * 9999, sys.stdout)"
    if how == "pipe":
        reading, target = os.pipe()
        os.close(reading)
    else:
        target = os.open("/dev/full" if how == "full" else os.devnull, os.O_WRONLY)
    command = [sys.executable, "-c", code]
    if how == "closed":
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    done = subprocess.run(command, cwd=ROOT, stdout=target, stderr=subprocess.PIPE, text=True)
    os.close(target)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_descriptor_is_not_given_to_a_file(tmp_path):
    code = (
        "import os, sys\nfrom diip_jax.terminal import occupy_standard_descriptors as occupy\nos.close(2)\noccupy()\n"
        "with open(sys.argv[1], 'w') as file:\n    print(file.fileno() > 2)\n    os.write(2, b'a library speaks')"
    )
    path = tmp_path / "picture"
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, path.read_bytes()) == (0, "True\n", b"")


def test_open_descriptors_are_left_alone():
    before = [os.fstat(n) for n in range(3)]
    terminal.occupy_standard_descriptors()
    assert [os.fstat(n) for n in range(3)] == before


@pytest.mark.parametrize("seconds, words", [(5.4, "5 s"), (90.0, "2 min"), (3600.0 * 3 + 60 * 12, "3 h 12 min")])
def test_durations_are_for_people(seconds, words):
    assert duration(seconds) == words
