"""What a run has done, and how fast: counts for people, JSON lines for programs."""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from diip_jax.solve.refill import Use

_EVERY = 10.0  # seconds between two lines


class Summary:
    """Counts of a run, and its lines in a file where one is wanted.

    A line is one JSON object: `event` ("progress" or "end"), `seconds` since the run began, `images` (restored,
    skipped, failed), `images_per_hour` (restored), `slot_use` (share of the computed iterations that were of an image),
    `iterations` (of images), `network_evaluations` (of finished images), `bytes_read`, `bytes_written` (pictures and
    records) and `failures`, by cause.

    Args:
        path: the file; lines are appended. None for none.
        clock: seconds.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.use = Use()
        self.images = self.restored = self.skipped = 0
        self.evaluations = self.bytes_read = self.bytes_written = 0
        self.failures: Counter[str] = Counter()
        self._path, self._clock = path, clock
        self._began = self._told = clock()

    def log_to(self, path: Path) -> None:
        """Lines go to this file from now on."""
        self._path = path

    def progress_text(self) -> str:
        """How many of `images` are finished."""
        return f"{self.restored + self.skipped} of {self.images} images are finished"

    @property
    def failed(self) -> int:
        """Images that failed."""
        return self.failures.total()

    def moved(self) -> tuple[int, ...]:
        """Another value whenever something has been read, computed, written, skipped or given up."""
        return self.use.pieces, self.restored, self.skipped, self.failed, self.bytes_read, self.bytes_written

    def facts(self, event: str) -> dict[str, Any]:
        """The object of a line."""
        seconds = self._clock() - self._began
        return {
            "event": event,
            "seconds": round(seconds, 3),
            "images": {"restored": self.restored, "skipped": self.skipped, "failed": self.failed},
            "images_per_hour": round(3600 * self.restored / seconds, 1) if seconds else 0.0,
            "slot_use": round(self.use.share, 4),
            "iterations": self.use.iterations,
            "network_evaluations": self.evaluations,
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "failures": dict(self.failures),
        }

    def progress(self) -> None:
        """A line, where the last one is some seconds old."""
        if self._clock() - self._told >= _EVERY:
            self._write("progress")

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """Writes the last line at the end, however that comes."""
        try:
            yield
        finally:
            self._write("end")

    def _write(self, event: str) -> None:
        self._told = self._clock()
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.facts(event)) + "\n")
