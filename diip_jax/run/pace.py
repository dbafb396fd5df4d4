"""How long the pieces of a run are: as long as keeps it responsive, measured while it goes."""

import time
from collections.abc import Callable

from diip_jax.solve.refill import Use

# Between two pieces a run can be interrupted and says where it is; on an accelerator a look costs about a millisecond.
_SECONDS = 1.0
_MOST = 100


class Pace:
    """Iterations of the next piece; to be called before each.

    Args:
        use: what the run counts up.
        devices: that work at the same time.
        in_turn: images of a device that are computed one after the other in a piece; 1 where they are vmapped.
        clock: seconds.
    """

    def __init__(self, use: Use, devices: int, in_turn: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._use, self._devices, self._in_turn, self._clock = use, devices, in_turn, clock
        self._began = (0.0, 0)
        self._calls = 0

    def __call__(self) -> int:
        self._calls += 1
        # The first piece of each device includes compilation: the clock runs from the second one on.
        if self._calls <= 2 * self._devices or not self._use.steps:
            self._began = (self._clock(), self._use.steps)
            return 1
        seconds, steps = self._clock() - self._began[0], self._use.steps - self._began[1]
        if not steps or seconds <= 0:
            return 1
        each = seconds * self._devices / steps * self._in_turn
        return max(1, min(_MOST, int(_SECONDS / each)))


def divisor(most: int, whole: int) -> int:
    """The largest number up to `most` that divides `whole`; `most` itself where that is 0."""
    return next(n for n in range(most, 0, -1) if whole % n == 0)
