"""Ctrl-C and SIGTERM at any moment of a command: one line on stderr, and the exit code 130 or 143.

A command imports for seconds before its own code is there to be interrupted. So the package's first import is this
module, which imports nothing that takes time; `python -m diip_jax.COMMAND` is ended here until `run` has the command's
`main`, again while that is `at_once`, and once it is over.
"""

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LATER_SECONDS = 0.05
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Terminated(BaseException):
    """SIGTERM, raised in the main thread of a command that sees to its end, see `diip_jax.run.signals`."""


_RAISED = {KeyboardInterrupt: signal.SIGINT, Terminated: signal.SIGTERM}


def guard() -> None:
    """Where the package is imported for a command: ends the process at a signal. A signal that is ignored stays so."""
    # Python has "-m" there while it looks for the module.
    if sys.argv[:1] == ["-m"] and _program().startswith("diip_jax."):
        _end_at(signal.SIG_DFL, signal.default_int_handler)


def run(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Ends the process with the exit code of a command's `main`, which is interrupted by KeyboardInterrupt."""
    try:
        with _nothing_swallowed():
            if signal.getsignal(signal.SIGINT) is _end:
                signal.signal(signal.SIGINT, _interrupt)
            code = main(sys.argv[1:])
            if signal.getsignal(signal.SIGINT) is _interrupt:  # what JAX and threads do at the end is not for handling
                signal.signal(signal.SIGINT, _end if code < 128 else signal.SIG_IGN)
    except (KeyboardInterrupt, Terminated) as asked:
        _end(_RAISED[type(asked)], None)
    if code > 128:
        # What was finished is written. Devices may be at work still, and Python's own end would take from under them
        # what they work on.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):  # closed, or gone
                stream.flush()
        os._exit(code)
    sys.exit(code)


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Inside, a signal ends a command at once: where nothing is left half done, and an exception would be swallowed."""
    earlier = {number: signal.getsignal(number) for number in _SIGNALS}
    if earlier[signal.SIGINT] is not _interrupt or threading.current_thread() is not threading.main_thread():
        yield  # no command, or one that sees to its signals itself
        return
    for number in _SIGNALS:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _end_at(*usual: Any) -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) in usual:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Says so and ends at once: an exception here would be raised inside somebody's import, who may swallow it."""
    which = signal.Signals(number)
    with contextlib.suppress(OSError):
        os.write(2, f"{_program()}: error: {_WORDS[which]}\n".encode())
    os._exit(128 + which)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """As `signal.default_int_handler`, but not that: asyncio puts its own in the place of that one."""
    raise KeyboardInterrupt


@contextlib.contextmanager
def _nothing_swallowed() -> Iterator[None]:
    """Inside, a signal during a callback or a destructor, where Python only prints it, interrupts what follows as well.

    JAX has such a callback in every garbage collection.
    """
    earlier = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if (number := _RAISED.get(unraisable.exc_type)) is not None:
            # Later: now the main thread is still in what swallowed it.
            again = threading.Timer(_LATER_SECONDS, _thread.interrupt_main, [number])
            again.daemon = True
            again.start()
        else:
            earlier(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = earlier


def _program() -> str:
    """What stands behind `-m` in the command line; "" if nothing does."""
    arguments = iter(sys.orig_argv[1:])
    for argument in arguments:
        if not argument.startswith("-") or argument.startswith(("--", "-c")):
            break
        if argument in ("-X", "-W"):
            next(arguments, "")
        options, m, name = argument.partition("m")
        if m and not options.startswith(("-X", "-W")):
            return name or next(arguments, "")
    return ""


guard()
