"""Decoding ahead of the devices and encoding behind them, in threads, with bounds on how much is held.

Both are driven by the caller's thread, in which everything is counted and said; the threads only read, or only write.
"""

import concurrent.futures
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Job = TypeVar("Job")
Value = TypeVar("Value")


class Ahead(Generic[Job, Value]):
    """What a function makes of jobs, in their order, some of them ahead of when they are asked for.

    Args:
        function: called in a thread.
        jobs: taken one by one, as there is room.
        threads: how many work at once.
        room: results, and calls that are on the way, that are held at most.
        weigh: what a result weighs, in the unit of `limit`.
        limit: what is held weighs no more if each is as heavy as the heaviest so far; but one is always held. Until the
            first is there, nothing is known of them, and it is alone on the way.
    """

    def __init__(
        self,
        function: Callable[[Job], Value],
        jobs: Iterable[Job],
        threads: int,
        room: int,
        weigh: Callable[[Value], int],
        limit: int,
    ) -> None:
        self._function, self._jobs, self._room = function, iter(jobs), room
        self._weigh, self._limit = weigh, limit
        self._heaviest: int | None = None
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, "decode")
        self._held: deque[tuple[Job, concurrent.futures.Future[Value]]] = deque()

    def __iter__(self) -> Iterator[tuple[Job, concurrent.futures.Future[Value]] | None]:
        """(job, a future that is done) of every job; None where the next one is not ready yet."""
        while True:
            while len(self._held) < self._fitting() and (job := next(self._jobs, None)) is not None:
                self._held.append((job, self._pool.submit(self._function, job)))
            if not self._held:
                return
            if self._held[0][1].done():
                self._look_at(self._held[0][1])
                yield self._held.popleft()
            else:
                yield None

    def _fitting(self) -> int:
        for _, future in self._held:
            self._look_at(future)
        if self._heaviest is None:
            return 1
        return self._room if self._heaviest * self._room <= self._limit else max(1, self._limit // self._heaviest)

    def _look_at(self, future: concurrent.futures.Future[Value]) -> None:
        if future.done() and future.exception() is None:
            self._heaviest = max(self._heaviest or 0, self._weigh(future.result()))

    def wait(self, seconds: float) -> None:
        """Until the next one is ready, and no longer than that."""
        if self._held:
            concurrent.futures.wait([self._held[0][1]], seconds)

    def close(self) -> None:
        """Drops what was not asked for."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Behind(Generic[Job, Value]):
    """Calls of a function that are done in a thread, one after the other.

    Args:
        function: called in the thread.
        done: told, in the caller's thread, of every job and the future that holds its result.
        room: jobs that wait at most; `put` waits where there are more.
    """

    def __init__(
        self,
        function: Callable[[Job], Value],
        done: Callable[[Job, concurrent.futures.Future[Value]], None],
        room: int,
    ) -> None:
        self._function, self._done, self._room = function, done, room
        self._pool = concurrent.futures.ThreadPoolExecutor(1, "encode")
        self._held: deque[tuple[Job, concurrent.futures.Future[Value]]] = deque()

    def put(self, job: Job) -> None:
        """One more job."""
        self._held.append((job, self._pool.submit(self._function, job)))
        self.tell(len(self._held) - self._room)

    def tell(self, waiting_for: int = 0) -> None:
        """Tells of what is done, having waited for so many of the oldest jobs."""
        while self._held and (waiting_for > 0 or self._held[0][1].done()):
            job, future = self._held.popleft()
            concurrent.futures.wait([future])
            waiting_for -= 1
            self._done(job, future)

    def close(self) -> None:
        """Waits for all and tells of them."""
        try:
            self.tell(len(self._held))
        finally:
            self._pool.shutdown(wait=True)
