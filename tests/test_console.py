"""Lines and the bar."""

import io
import sys

import pytest

from diip_jax.launch import console as module
from diip_jax.launch.console import Console


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_no_bar_without_a_terminal(capsys):
    console = Console()
    console.start(images=2, budget=10)
    console.iterations_done(5)
    console.line("done")
    console.error("bad\nthing")
    console.close()
    assert capsys.readouterr() == ("done\n", "diip_jax.launch: error: bad thing\n")


def test_bar_shows_images_and_time_left(monkeypatch, clock):
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    console = Console()
    console.start(images=3, budget=100)
    clock[0] = 1.0
    console.iterations_done(0)
    assert "compiling" in stderr.getvalue()
    clock[0] = 5.0
    console.iterations_done(10)  # the first iterations carry the compilation: they time nothing
    assert "time left unknown" in stderr.getvalue()
    clock[0] = 25.0
    console.iterations_done(20)  # 2 s an iteration, 3 * 100 - 20 of them to come
    assert "about 09:20 left" in stderr.getvalue()
    console.image_done(30)
    clock[0] = 45.0
    console.iterations_done(30)  # it stopped early: so may the two to come, at 2 s for each of 30 iterations
    assert "image 1 of 3 done" in stderr.getvalue()
    assert "about 02:00 left" in stderr.getvalue()
    console.close()


def test_lines_go_to_stdout_while_the_bar_is_shown(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Terminal())
    console = Console()
    console.start(images=1, budget=10)
    console.line("a.png -> b.png")
    console.close()
    assert "a.png -> b.png\n" in capsys.readouterr().out


def test_names_are_shown_as_they_are_and_command_no_terminal(capsys):
    console = Console()
    console.line("a  b\n\x1b[31m.png")
    console.note("left out: x")
    console.error("a  b.png: bad\n  thing\n")
    assert capsys.readouterr() == (
        "a  b\\n\\x1b[31m.png\n",
        "diip_jax.launch: left out: x\ndiip_jax.launch: error: a  b.png: bad thing\n",
    )


class Gone(Terminal):
    """A terminal that was closed while it is written to."""

    def write(self, text):
        raise OSError(5, "Input/output error")

    def flush(self):
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("stream", [None, Gone()], ids=["no stream", "gone"])
def test_nothing_that_is_said_raises(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stream)
    console = Console()
    console.start(images=1, budget=10)
    console.iterations_done(10)
    console.line("a.png")
    console.error("b.png")
    console.image_done()
    console.close()


def test_the_bar_of_an_ascii_terminal(monkeypatch):
    raw = io.BytesIO()
    terminal = io.TextIOWrapper(raw, encoding="ascii")
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", terminal)
    console = Console()
    console.start(images=1, budget=10)
    console.line("日.png")
    console.close()
    terminal.flush()
    assert rb"\u65e5.png" in raw.getvalue()
