"""Lines for people: whatever is in a file name, and whatever has become of the stream, nothing else depends on it."""

import os
import unicodedata
from typing import Any

# Line separators, control characters (escape sequences begin with one), and bytes of a name that are no UTF-8.
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    r"""The text on one line of characters that a terminal shows as they are; others as `\n`, `\x1b`, `\xe9`.

    A byte of a file name that is no UTF-8, which Python keeps as a lone surrogate, is shown as that byte.
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # PEP 383
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.category(character) in _UNPRINTABLE or character in _BIDIRECTIONAL:
        return character.encode("unicode_escape").decode()
    return character


class Forgiving:
    """A text stream whose `write` and `flush` raise nothing.

    What its encoding lacks is written as an escape. One that takes nothing more (a full disk, a closed pipe, a terminal
    that is gone) is left alone from then on; its file descriptor then leads nowhere, so that Python's own last flush
    does not fail either, which would change the exit code.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream  # None where Python was started with the descriptor closed

    def write(self, text: str) -> int:
        try:
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:
                self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        except (OSError, ValueError, AttributeError):  # ValueError: closed; AttributeError: None
            self._lost()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError, AttributeError):
            self._lost()

    def isatty(self) -> bool:
        try:
            return bool(self._stream.isatty())
        except (OSError, ValueError, AttributeError):
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lost(self) -> None:
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nowhere, self._stream.fileno())
            finally:
                os.close(nowhere)
        except (OSError, ValueError, AttributeError):
            pass  # it has no descriptor: nothing will be flushed


def say(text: str, stream: Any) -> None:
    """Writes a line, or several, to a stream at once. Raises nothing: see `Forgiving`."""
    forgiving = Forgiving(stream)
    forgiving.write(f"{text}\n")
    forgiving.flush()


def occupy_standard_descriptors() -> None:
    """Opens those of 0, 1 and 2 that are closed, on nothing.

    Otherwise the next file that is opened gets the number, and what a library writes to standard error goes into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, for people."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
