"""What the command line says: a line on stdout per image, errors on stderr, and a bar while stderr is a terminal."""

import re
import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from diip_jax.terminal import Forgiving, printable, say

PROGRAM = "diip_jax.launch"


class Console:
    """Lines and a progress bar that do not get in each other's way, and raise nothing: see `diip_jax.terminal`.

    The bar counts images; those on the devices count by the share of the iteration budget that they have used. The time
    left supposes that every image takes as many iterations as those that have ended, the first ones the whole budget.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []  # the lines that `error` was given
        self.watched: Callable[[], None] = lambda: None  # is called after each image
        self._bar: Any = None
        self._images = self._done = 0
        self._budget = 1
        self._ended = self._iterations_of_ended = 0
        self._clock: tuple[float, int] | None = None
        self._drawn = float("-inf")

    def line(self, text: str) -> None:
        """One line on stdout."""
        self._print(printable(text), sys.stdout)

    def note(self, text: str) -> None:
        """One line on stderr that is no error."""
        self._print(f"{PROGRAM}: {printable(text)}", sys.stderr)

    def error(self, text: str) -> None:
        """One line on stderr, marked as an error."""
        # A message may be laid out over several lines; spaces within one may be those of a file name.
        line = re.sub(r"\s*\n\s*", " ", text.strip())
        self.errors.append(line)
        self._print(f"{PROGRAM}: error: {printable(line)}", sys.stderr)

    def _print(self, text: str, file: Any) -> None:
        if self._bar is None:
            say(text, file)
        else:
            self._bar.write(text, file=Forgiving(file))

    def start(self, images: int, budget: int) -> None:
        """Shows the bar if stderr is a terminal.

        Args:
            budget: iterations of an image, all its samples together, at most.
        """
        self._images, self._budget = images, budget
        stderr = Forgiving(sys.stderr)
        if stderr.isatty():
            shape = "{desc} |{bar}| {percentage:.0f}% {elapsed}{postfix}"
            self._bar = tqdm(total=images, file=stderr, bar_format=shape, leave=False, dynamic_ncols=True)
            self._show(0.0, "starting")

    def image_done(self, iterations: int = 0) -> None:
        """Counts an image that is finished, skipped or failed.

        Args:
            iterations: that it took; 0 where it was not restored.
        """
        self._done += 1
        if iterations:
            self._ended += 1
            self._iterations_of_ended += iterations
        self.watched()

    def iterations_done(self, iterations: int) -> None:
        """All images of the run together have done so many iterations so far."""
        now = time.monotonic()
        # What lies before the first iterations is loading and compilation.
        if self._clock is None and iterations:
            self._clock = (now, iterations)
        under_way = max(0, iterations - self._iterations_of_ended)
        self._show(under_way / self._budget, self._left(now, iterations, under_way))

    def _left(self, now: float, iterations: int, under_way: int) -> str:
        if self._clock is None:
            return "compiling, or fetching the compiled program"
        if iterations <= self._clock[1]:
            return "time left unknown"
        usual = self._iterations_of_ended / self._ended if self._ended else self._budget
        ahead = max(0.0, (self._images - self._done) * usual - under_way)
        seconds = ahead * (now - self._clock[0]) / (iterations - self._clock[1])
        return f"about {tqdm.format_interval(int(seconds))} left"

    def _show(self, under_way: float, left: str) -> None:
        if self._bar is None:
            return
        self._bar.n = min(self._images, self._done + under_way)
        self._bar.set_description_str(f"image {self._done} of {self._images} done", refresh=False)
        self._bar.set_postfix_str(left, refresh=False)
        if time.monotonic() - self._drawn > 0.1:
            self._drawn = time.monotonic()
            self._bar.refresh()

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
