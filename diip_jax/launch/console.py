"""What the command line says: a line on stdout per image, errors on stderr, and a bar while stderr is a terminal."""

import sys
import time
from collections.abc import Callable
from math import ceil
from typing import Any

from tqdm import tqdm

PROGRAM = "diip_jax.launch"


class Console:
    """Lines and a progress bar that do not get in each other's way.

    The bar counts images; the current batch counts by the fraction of the iteration budget that it has used. The time
    left supposes that every batch takes as many iterations as those before it did; the first, the whole budget.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []  # the lines that `error` was given
        self.watched: Callable[[], None] = lambda: None  # is called after each image
        self._bar: Any = None
        self._images = self._done = 0
        self._budget = 1
        self._batch = 1.0
        self._seconds = 0.0  # spent in iterations
        self._iterations = 0  # of batches, in those seconds
        self._finished_batches = self._finished_iterations = 0
        self._last: tuple[float, int] | None = None
        self._drawn = float("-inf")

    def line(self, text: str) -> None:
        """One line on stdout."""
        self._print(text, sys.stdout)

    def error(self, text: str) -> None:
        """One line on stderr, marked as an error."""
        self.errors.append(" ".join(text.split()))
        self._print(f"{PROGRAM}: error: {' '.join(text.split())}", sys.stderr)

    def _print(self, text: str, file: Any) -> None:
        if self._bar is None:
            print(text, file=file, flush=True)
        else:
            self._bar.write(text, file=file)

    def start(self, images: int, budget: int, batch: float) -> None:
        """Shows the bar if stderr is a terminal.

        Args:
            budget: iterations of an image, at most.
            batch: images restored at once; below 1 where not even all samples of one are.
        """
        self._images, self._budget, self._batch = images, budget, batch
        if sys.stderr.isatty():
            shape = "{desc} |{bar}| {percentage:.0f}% {elapsed}{postfix}"
            self._bar = tqdm(total=images, file=sys.stderr, bar_format=shape, leave=False, dynamic_ncols=True)
            self._show(0.0, "starting")

    def image_done(self) -> None:
        """Counts an image that is finished, skipped or failed."""
        self._done += 1
        self.watched()

    def batch_started(self) -> None:
        """Iterations count from 0 again."""
        self._last = None
        self._show(0.0, "compiling, or fetching the compiled program" if not self._iterations else "next batch")

    def batch_at(self, iterations: int, before: float, after: float, stopped: bool) -> None:
        """The current batch has done so many iterations; called at every look at it.

        Args:
            before, after: images restored before it and with it since `batch_started`.
            stopped: whether it has ended.
        """
        now = time.monotonic()
        # The first look of a batch includes loading and compilation: the clock runs from there.
        if self._last is not None and iterations > self._last[1]:
            self._seconds += now - self._last[0]
            self._iterations += iterations - self._last[1]
        self._last = (now, iterations)
        if stopped:
            self._finished_batches += 1
            self._finished_iterations += iterations
        part = 1.0 if stopped else iterations / self._budget
        self._show(before + (after - before) * part, self._left(iterations, after, stopped), iterations)

    def _left(self, iterations: int, after: float, stopped: bool) -> str:
        if not self._iterations:
            return "time left unknown"
        usual = self._finished_iterations / self._finished_batches if self._finished_batches else self._budget
        batches = ceil(max(0.0, self._images - self._done - after) / self._batch - 1e-9)
        ahead = (0 if stopped else max(usual, iterations) - iterations) + batches * usual
        return f"about {tqdm.format_interval(int(ahead * self._seconds / self._iterations))} left"

    def _show(self, fraction: float, left: str, iterations: int = 0) -> None:
        if self._bar is None:
            return
        self._bar.n = min(self._images, self._done + fraction)
        self._bar.set_description_str(
            f"image {self._done} of {self._images} done, iteration {iterations}/{self._budget}", refresh=False
        )
        self._bar.set_postfix_str(left, refresh=False)
        if time.monotonic() - self._drawn > 0.1 or not iterations:
            self._drawn = time.monotonic()
            self._bar.refresh()

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
