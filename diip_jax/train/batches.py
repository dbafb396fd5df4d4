"""The endless sequence of training batches, by Grain: the same for the same seed, wherever it is taken up again.

Which picture is where in it, and how it is cut, depends on the seed and on the position, not on threads or processes.
"""

import threading
from collections.abc import Callable
from typing import Any, SupportsIndex

import grain
import numpy as np

from diip_jax import distribute
from diip_jax.image_reading import ImageError
from diip_jax.train.cuts import Cut, Pixels
from diip_jax.train.pictures import Pictures

# Prepared pictures are kept in memory up to this share of it; those beyond are decoded each time.
_CACHE_SHARE = 0.25
_THREADS = 16


class Prepared:
    """The prepared pictures of a training by their number, for Grain.

    One that cannot be used is told of once, and the next one that can takes its place everywhere.
    """

    def __init__(self, pictures: Pictures, cut: Cut, at_least: int, report: Callable[[str], None]):
        """
        Args:
            at_least: so many pictures must be usable.
            report: gets a line for each that is not.
        """
        self._pictures, self._cut, self._at_least, self._report = pictures, cut, at_least, report
        self._cache: dict[int, Pixels] = {}
        self._left = int(_CACHE_SHARE * distribute.usable_memory())
        self._unusable: set[int] = set()
        self._lock = threading.Lock()
        self._check_enough("")

    def __len__(self) -> int:
        return len(self._pictures.names)

    def __getitem__(self, index: SupportsIndex) -> Pixels:
        """Raises ImageError: too few pictures are left that can be used."""
        number = int(index)
        while True:
            try:
                return self._prepared(number)
            except ImageError as error:
                self._count(number, error)
                number = (number + 1) % len(self)

    def _prepared(self, number: int) -> Pixels:
        if number in self._cache:
            return self._cache[number]
        name = self._pictures.names[number]
        prepared = self._cut.prepared(self._pictures.read(number), name)
        with self._lock:
            if number not in self._cache and prepared.nbytes <= self._left:
                self._cache[number] = prepared
                self._left -= prepared.nbytes
        return prepared

    def _count(self, number: int, error: ImageError) -> None:
        with self._lock:
            if number not in self._unusable:
                self._unusable.add(number)
                self._report(f"{error}; left out")
        self._check_enough(f" ({len(self._unusable)} cannot be used, such as {error})")

    def _check_enough(self, why: str) -> None:
        usable = len(self) - len(self._unusable)
        if usable < self._at_least:
            raise ImageError(
                self._pictures.source,
                f"has {usable} pictures to train on, fewer than a batch of {self._at_least}: give more, or a smaller "
                f"--batch_size{why}",
            )


def batches(
    prepared: Prepared, cut: Cut, batch_size: int, seed: int, *, process: int = 0, processes: int = 1
) -> grain.DatasetIterator:
    """An endless iterator over this process's rows of every batch, uint8 `[rows, size, size, channels]`.

    Each picture is shown once before any is shown again, in an order that is another one each time. The iterator's
    `get_state` and `set_state` hold the position.
    """
    rows = batch_size // processes
    cores = distribute.usable_cores()
    reading = grain.ReadOptions(num_threads=min(_THREADS, cores), prefetch_buffer_size=2 * min(_THREADS, cores))
    dataset: Any = grain.MapDataset.source(prepared).seed(seed).shuffle().repeat().random_map(cut.at_random)
    # In batches of a process's rows, process 0 has the first, process 1 the second, and together they have one batch.
    return iter(dataset.batch(rows)[process::processes].to_iter_dataset(reading))


def held_out_images(pictures: Pictures, cut: Cut, report: Callable[[str], None]) -> np.ndarray:
    """The middle of every picture that can be used, uint8 `[N, size, size, channels]`.

    Args:
        report: gets a line for each that cannot.

    Raises:
        ImageError: none can be used.
    """
    images = []
    for number, name in enumerate(pictures.names):
        try:
            images.append(cut.centred(cut.prepared(pictures.read(number), name)))
        except ImageError as error:
            report(f"{error}; left out")
    if not images:
        raise ImageError(pictures.source, f"has no picture that can be used to judge by, of {len(pictures.names)}")
    return np.stack(images)
