"""Slots that are refilled: an image stays in its slot until its own stop, then the next one takes its place.

A fixed batch waits for its slowest image. Here every device has so many slots and works on them in pieces. A piece ends
as soon as one of its images stops (or has gone as far as it may); the host takes that image out, puts the next one in
and starts the next piece. Every device goes by itself, and all take from one queue: nothing is exchanged between them,
none waits for another.
"""

import concurrent.futures
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from diip_jax import distribute
from diip_jax.array_types import Array
from diip_jax.configuration import usual_configuration
from diip_jax.solve import loop, slots
from diip_jax.solve.loop import State
from diip_jax.solve.problem import Problem, Result
from diip_jax.solve.slots import Slots

# Seconds between two looks at a source that has nothing ready, while a device stands idle for it.
PATIENCE = 0.005


class Item(NamedTuple):
    """An image to restore.

    Attributes:
        who: what names it to the caller.
        inputs: (y, args, key, u0) with a leading axis of 1; u0 may be None, or a state that goes on.
    """

    who: Any
    inputs: Any


class Ended(NamedTuple):
    """An image that has left its slot. All on the host, with a leading axis of 1.

    Attributes:
        state: where it ended; None after a fault of its device.
        learned: by name, what the operator's parameters stand for.
        fault: what went wrong on its device.
    """

    who: Any
    state: State | None
    learned: dict[str, np.ndarray]
    fault: Exception | None = None


@dataclasses.dataclass
class Use:
    """How well the slots were used.

    Attributes:
        iterations: of images.
        capacity: iterations that the devices computed, those of empty and frozen slots included.
        pieces: how many were run.
        steps: iterations that took place one after the other on a device: vmapped images take theirs at once.
    """

    iterations: int = 0
    capacity: int = 0
    pieces: int = 0
    steps: int = 0

    @property
    def share(self) -> float:
        """Of the computed iterations, those that were of an image; 1 where there were none."""
        return self.iterations / self.capacity if self.capacity else 1.0


# What a caller may do between two pieces of a device: it is shown the state, the slots `[n]` that hold an image and who
# is in them, and returns which rows are to stop, or None.
Look = Callable[[State, np.ndarray, list[Any]], np.ndarray | None]


class _Device:
    """The slots of one device; or of several that go in step, because weights are split over them."""

    def __init__(self, kind: Slots, problem: Problem, place: jax.Device | Mesh, use: Use) -> None:
        self._kind, self._place, self._use = kind, place, use
        self._problem = distribute.put(problem, place)
        self._given: Any = None
        self._state: Any = None
        self.clear()

    def clear(self) -> list[Any]:
        """Empties the slots; who was in them."""
        before = [who for who in getattr(self, "_holds", []) if who is not None]
        self._given = self._state = None
        self._holds: list[Any] = [None] * self._kind.count
        self._k = np.zeros(self._kind.rows, np.int64)
        return before

    @property
    def held(self) -> int:
        return sum(who is not None for who in self._holds)

    @property
    def full(self) -> bool:
        return self.held == self._kind.count

    def insert(self, item: Item) -> None:
        slot = self._holds.index(None)
        self._holds[slot] = (item.who,)
        inputs = distribute.put(item.inputs, self._place)
        if self._state is None:
            self._given, self._state = slots.empty(self._kind, self._problem, inputs)
        index = distribute.put(np.int32(slot), self._place)
        self._given, self._state = slots.insert(self._kind, self._problem, self._given, self._state, inputs, index)
        if self._kind.large:
            # Or the next program would be compiled meanwhile, in memory that both have to share.
            jax.block_until_ready(self._state)
        self._k[slot] = int(item.inputs[3].k[0]) if isinstance(item.inputs[3], State) else 0

    def dispatch(self, most: int, aligned: bool) -> None:
        """Starts a piece of at most so many iterations.

        Args:
            aligned: every image pauses where its own count of iterations is a multiple of `most`.
        """
        until = self._k + (most - self._k % most if aligned else most)
        until[[*(holds is None for holds in self._holds), *[True] * (self._kind.rows - self._kind.count)]] = 0
        on_device = distribute.put(until.astype(np.int32), self._place)
        self._state = slots.advance(self._kind, self._problem, self._given, self._state, on_device)

    @usual_configuration()  # that of `restore` is one of its own thread
    def wait(self) -> tuple[np.ndarray, np.ndarray]:
        """(result, k) of the slots once the piece has ended."""
        return np.asarray(self._state.result), np.asarray(self._state.k)

    def counted(self, k: np.ndarray) -> None:
        """Notes where the images are, and what it took to bring them there."""
        done = np.where([who is not None for who in self._holds], (k - self._k)[: self._kind.count], 0)
        self._k = k.astype(np.int64)
        self._use.iterations += int(done.sum())
        self._use.capacity += int(done.sum() if self._kind.one_by_one else done.max() * len(done))
        self._use.steps += int(done.sum() if self._kind.one_by_one else done.max())
        self._use.pieces += 1

    def look(self, look: Look) -> np.ndarray | None:
        """The results of the slots after the caller has looked; None where it stops nothing."""
        occupied = np.array([slot for slot, who in enumerate(self._holds) if who is not None])
        wanted = look(self._state, occupied, [self._holds[slot][0] for slot in occupied])
        if wanted is None:
            return None
        self._state = slots.stop(self._state, distribute.put(wanted, self._place))
        return np.asarray(self._state.result)

    def taken(self, result: np.ndarray) -> Iterator[Ended]:
        """The images that have stopped; their slots are free."""
        for slot, holds in enumerate(self._holds):
            if holds is not None and result[slot] != Result.RUNNING:
                index = distribute.put(np.int32(slot), self._place)
                state, learned = jax.device_get(slots.take(self._kind, self._problem, self._state, index))
                self._holds[slot] = None
                yield Ended(holds[0], jax.tree.map(_typed, self._state, state), learned)


def _typed(kind: Array, leaf: np.ndarray) -> Any:
    if not loop.is_key(kind):
        return leaf
    return jax.random.wrap_key_data(jnp.asarray(leaf), impl=jax.random.key_impl(kind))


def refill(
    kind: Slots,
    problem: Problem,
    devices: Sequence[jax.Device | Mesh],
    source: Iterator[Item | None],
    *,
    piece: Callable[[], int],
    look: Look | None = None,
    faults: bool = False,
    use: Use | None = None,
) -> Iterator[Ended]:
    """Every image of the source, as it ends.

    Everything here runs in the caller's thread, the devices' programs at the same time; other threads only wait.

    Args:
        kind: of the slots of every device.
        devices: see `diip_jax.solve.batch.Layout.places`.
        source: yields None where nothing is ready yet; it is asked again while the devices work.
        piece: iterations of the next piece at most; where there is a `look`, those of an image between two of them.
        look: see `Look`; an image is looked at after every so many iterations of its own, and when it has stopped.
        faults: a fault of a device costs the images that are on it, which are told with it; else it is raised.
        use: is counted up.
    """
    queue = _Queue(source)
    workers = [_Device(kind, problem, device, Use() if use is None else use) for device in devices]
    waiting = concurrent.futures.ThreadPoolExecutor(len(workers))
    running: dict[concurrent.futures.Future[Any], _Device] = {}
    idle = list(workers)
    try:
        while running or not queue.ended or any(worker.held for worker in workers):
            yield from _fill(idle, queue, faults)
            for worker in [worker for worker in idle if worker.held]:
                most = piece()
                try:
                    worker.dispatch(most, aligned=look is not None)
                except Exception as fault:
                    yield from _lost(worker, fault, faults)
                else:
                    idle.remove(worker)
                    running[waiting.submit(worker.wait)] = worker
            if not running:
                # Nothing to wait for but the source.
                threading.Event().wait(0 if queue.ended else PATIENCE)
                continue
            hungry = bool(idle) and not queue.ended
            first = concurrent.futures.FIRST_COMPLETED
            ready, _ = concurrent.futures.wait(running, PATIENCE if hungry else None, first)
            for future in ready:
                worker = running.pop(future)
                idle.append(worker)
                try:
                    result, k = future.result()
                    worker.counted(k)
                    stopped = None if look is None else worker.look(look)
                    yield from worker.taken(result if stopped is None else stopped)
                except Exception as fault:
                    yield from _lost(worker, fault, faults)
    finally:
        # Who interrupts the run does not wait for the piece.
        waiting.shutdown(wait=False, cancel_futures=True)


class _Queue:
    """A source that remembers whether it has ended."""

    def __init__(self, source: Iterator[Item | None]) -> None:
        self._source, self.ended = source, False

    def next(self) -> Item | None:
        if self.ended:
            return None
        try:
            return next(self._source)
        except StopIteration:
            self.ended = True
            return None


def _fill(idle: list[_Device], queue: _Queue, faults: bool) -> Iterator[Ended]:
    """Free slots of devices that stand still get what is ready, the emptiest device first."""
    while (free := [worker for worker in idle if not worker.full]) and (item := queue.next()) is not None:
        worker = min(free, key=lambda worker: worker.held)
        try:
            worker.insert(item)
        except Exception as fault:
            yield from _lost(worker, fault, faults)


def _lost(worker: _Device, fault: Exception, told: bool) -> Iterator[Ended]:
    lost = worker.clear()
    if not told:
        raise fault
    for holds in lost:
        yield Ended(holds[0], None, {}, fault)
