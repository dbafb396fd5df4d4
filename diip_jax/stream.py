"""Restoration of what comes in one by one, without an end that is known: solutions as they are ready."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from diip_jax.methods.method import Method
from diip_jax.solution import Solution, joined, solution_of
from diip_jax.solve import batch, inputs, refill, slots
from diip_jax.solve.loop import Saved
from diip_jax.solve.problem import Problem


class Given(NamedTuple):
    """An observation to restore.

    Attributes:
        name: what names it to the caller.
        y, args: as those of `diip_jax.restore`, without their leading axis; all of one shape and dtype.
        seed: of its random numbers; None: that of the run.
    """

    name: Any
    y: np.ndarray
    args: Any = None
    seed: int | None = None


class Restored(NamedTuple):
    """What became of an observation.

    Attributes:
        name: what named it.
        solution: as that of `diip_jax.restore` of this image alone; None after a fault.
        fault: what went wrong on its device.
        began, ended: when its first sample got a slot and its last one left its own, on `time.monotonic`.
    """

    name: Any
    solution: Solution | None
    fault: Exception | None
    began: float
    ended: float


def restore_each(
    problem: Problem | Method,
    observations: Iterator[Given | None],
    *,
    seed: int = 0,
    samples: int = 1,
    batch_size: int | Callable[[Problem, Any], int] = 1,
    devices: Sequence[jax.Device] | None = None,
    save: Saved = (),
    piece: Callable[[], int] | None = None,
    look: refill.Look | None = None,
    use: refill.Use | None = None,
) -> Iterator[Restored]:
    """Every observation, restored bit for bit as by `diip_jax.restore`, in the order in which they are ready.

    Never holds more of them than there are slots, and one that waits for its other samples.

    Args:
        observations: yields None where nothing is ready yet; it is asked again.
        seed, samples, devices, save: as those of `diip_jax.restore`.
        batch_size: (image, sample) pairs that are on the devices at once; or what decides that, once, told the problem
            and (y, args, key, u0) of the first pair, such as `diip_jax.solve.size.usual_size`.
        piece, look, use: as those of `diip_jax.solve.refill.refill`; the pairs are shown as (name, sample).

    Raises:
        ValueError: as `diip_jax.restore`, when the first observation that does not fit is taken.
    """
    problem = problem if isinstance(problem, Problem) else problem.problem()
    first = _first(observations)
    if first is None:
        return
    flow = _Flow(problem, first, observations, seed, samples, tuple(save))
    count = batch_size if isinstance(batch_size, int) else batch_size(problem, flow.first_pair())
    layout, fitted, rows = batch.layout_of(problem, flow.image_shape, count, devices, save)
    ended = refill.refill(
        slots.of_layout(layout, count, rows),
        fitted,
        layout.places,
        flow.pairs(),
        piece=piece or (lambda: int(problem.max_iterations)),
        look=look,
        faults=True,
        use=use,
    )
    for one in ended:
        if (whole := flow.completed(one)) is not None:
            yield whole


def _first(observations: Iterator[Given | None]) -> Given | None:
    for given in observations:
        if given is not None:
            return given
        threading.Event().wait(refill.PATIENCE)
    return None


@dataclasses.dataclass
class _Waiting:
    """An observation on its way: samples that have ended, by their number."""

    began: float
    ended: dict[int, refill.Ended] = dataclasses.field(default_factory=dict)


class _Flow:
    """From observations to (image, sample) pairs, and from their ends to solutions."""

    def __init__(
        self,
        problem: Problem,
        first: Given,
        rest: Iterator[Given | None],
        seed: int,
        samples: int,
        save: tuple[Any, ...],
    ) -> None:
        self._problem, self._first, self._rest = problem, first, rest
        self._seed, self._samples = seed, samples
        self._dtype = np.asarray(first.y).dtype
        self._kind = self._kind_of(first)
        self._waiting: dict[Any, _Waiting] = {}
        y, args = self._observed(first)
        self.image_shape = problem.operator.image_shape(y.shape[1:])
        inputs.try_out(problem, self.image_shape, y, args, save)

    def _kind_of(self, given: Given) -> Any:
        leaves, structure = jax.tree.flatten((given.y, given.args))
        return structure, [(np.shape(leaf), np.asarray(leaf).dtype) for leaf in leaves]

    def _observed(self, given: Given) -> tuple[np.ndarray, Any]:
        if self._kind_of(given) != self._kind:
            raise ValueError(
                f"observation {given.name} has shape {np.shape(given.y)}, or args, other than the first one, "
                f"which has {np.shape(self._first.y)}; restore each kind by itself"
            )
        y, args = jax.tree.map(lambda leaf: np.asarray(leaf)[None], (given.y, given.args))
        return inputs.observed(self._problem.operator, y, args)

    def _pairs_of(self, given: Given) -> list[Any]:
        """(y, args, key, u0) of every sample, with a leading axis of 1."""
        y, args = self._observed(given)
        seen = inputs.visible(self._problem, y, args)
        keys = inputs.image_keys(seen, self._seed if given.seed is None else given.seed, self._samples)
        return [(seen, args, keys[sample : sample + 1], None) for sample in range(self._samples)]

    def first_pair(self) -> Any:
        """That of the first sample of the first observation."""
        return self._pairs_of(self._first)[0]

    def pairs(self) -> Iterator[refill.Item | None]:
        """Every sample of every observation."""
        given: Given | None = self._first
        while True:
            if given is None:
                yield None
            else:
                samples = self._pairs_of(given)
                self._waiting[given.name] = _Waiting(time.monotonic())
                for sample, one in enumerate(samples):
                    yield refill.Item((given.name, sample), one)
            try:
                given = next(self._rest)
            except StopIteration:
                return

    def completed(self, one: refill.Ended) -> Restored | None:
        """The observation, if this was the last of its samples."""
        name, sample = one.who
        waiting = self._waiting[name]
        waiting.ended[sample] = one
        if len(waiting.ended) < self._samples:
            return None
        del self._waiting[name]
        ended, now = [waiting.ended[n] for n in range(self._samples)], time.monotonic()
        faults = [each.fault for each in ended if each.fault is not None]
        if faults:
            return Restored(name, None, faults[0], waiting.began, now)
        state, learned = joined([(each.state, each.learned) for each in ended])
        solution = solution_of(self._problem, state, learned, self._samples, self._dtype, now - waiting.began)
        return Restored(name, solution, None, waiting.began, now)
