"""How many images a device restores at once, where nobody has said: from its memory, and from time measured on it."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from diip_jax import distribute
from diip_jax.machine import usable_memory
from diip_jax.solve import batch, slots
from diip_jax.solve.cost import planned_bytes
from diip_jax.solve.loop import Saved
from diip_jax.solve.problem import Problem, Result

# An accelerator is given so many at once without looking at its clock.
_USUAL = 8
# Of its memory, what the program may take: slots are filled and emptied by others, beside it.
_SHARE = 0.8
# Twice as many have to be faster by this, per image; and there have to be so many images for every slot, or too many
# slots stand empty at the end.
_GAIN, _IMAGES_A_SLOT = 0.05, 4
_TIMED = 3
# Memory that the restoration of a large image takes on a CPU, over that of the image: state and temporary arrays.
_OF_AN_IMAGE = 25

# Programs that have been measured in this process, by all that their time depends on.
_measured: dict[Any, int] = {}


def usual_size(
    problem: Problem,
    inputs: Any,
    images: int,
    *,
    devices: Sequence[jax.Device] | None = None,
    save: Saved = (),
) -> int:
    """How many (image, sample) pairs are to be restored at once, on all devices together.

    CPU: one for each device, which is a core (`diip_jax.distribute.use_every_core`). Images of a device are computed
    one after the other there, whatever their number; where the copies of the prior would take more than a
    quarter of the memory, or the images more than half of it, fewer devices take part. Accelerator, each:

    1. 8, or its share of the images if that is less.
    2. Half as many, again and again, while XLA's plan of the program does not fit into 0.8 of the device's memory.
    3. Where it did fit, twice as many, again and again, while that fits, leaves at least four images for every slot and
       takes at least 5 % less time for an iteration of an image, measured with the very program that will run.

    Where the prior is split over the devices, all this is of them together. A kind of program is measured once in a
    process.

    Args:
        inputs: (y, args, key, u0) of an image, with a leading axis of 1.
        images: how many pairs there are at most.
        devices, save: as those of `diip_jax.restore`.
    """
    split_over = batch.mesh_of(problem)
    if split_over is not None:
        devices, places, in_step = list(split_over.devices.flat), 1, split_over.size
    else:
        devices = jax.local_devices() if devices is None else devices
        places, in_step = len(devices), 1
    if devices[0].platform == "cpu":
        image_shape = problem.operator.image_shape(inputs[0].shape[1:])
        return min(_cpu_devices(problem, image_shape, len(devices)) if split_over is None else in_step, images)
    each = -(-images // places)
    kinds = jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), (problem, inputs))
    key = (jax.tree.structure(kinds), str(jax.tree.leaves(kinds)), tuple(save), devices[0], each // _IMAGES_A_SLOT)
    if key not in _measured:
        trial = Trial(problem, inputs, devices[0], save)
        _measured[key] = chosen(trial.fits, trial.seconds, min(_USUAL * in_step, each), each // _IMAGES_A_SLOT)
    return min(_measured[key] * places, images)


def _cpu_devices(problem: Problem, image_shape: tuple[int, int, int], devices: int) -> int:
    memory = usable_memory()
    if memory is None:
        return devices
    # Every device has its copy of the parameters and an image, and CPU devices have one memory.
    copies = memory // max(1, 4 * sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(problem.generator)))
    pictures = memory // (2 * _OF_AN_IMAGE * 4 * math.prod(image_shape))
    return max(1, min(devices, copies, pictures))


def chosen(fits: Callable[[int], bool], seconds: Callable[[int], float], first: int, most: int) -> int:
    """Halves `first` until it fits; where it fits at once, doubles it as long as it pays, up to `most`.

    Args:
        seconds: of an iteration of so many images, per image.
    """
    count = first
    while count > 1 and not fits(count):
        count //= 2
    if count < first:
        return count
    took = None
    while 2 * count <= most and fits(2 * count):
        took = seconds(count) if took is None else took
        if (next_one := seconds(2 * count)) > (1 - _GAIN) * took:
            break
        count, took = 2 * count, next_one
    return count


class Trial:
    """The programs of one device with slots, tried out on copies of an image.

    Args:
        inputs: as those of `usual_size`.
        device: one of them; unused where the prior is split over several.
        vmapped: as accelerators have it; None: as this device has it.
    """

    def __init__(
        self, problem: Problem, inputs: Any, device: jax.Device, save: Saved = (), vmapped: bool | None = None
    ) -> None:
        self._given, self._inputs, self._device, self._save = problem, inputs, device, save
        self._vmapped = vmapped

    def fits(self, count: int) -> bool:
        """Whether so many at once leave enough of the device's memory."""
        limit = distribute.device_memory(distribute.device_mesh(1, [self._device]))
        try:
            return limit is None or self.memory_bytes(count) <= _SHARE * limit
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return False  # some compilers refuse what does not fit

    def memory_bytes(self, count: int) -> int:
        """Of the program for so many at once, the prior included, as XLA plans it."""
        place, kind, problem, given, state = self._filled(count)
        until = distribute.put(np.zeros(kind.rows, np.int32), place)
        program = slots.advance.lower(kind, problem, given, state, until).compile()
        return planned_bytes(cast(Any, program.memory_analysis()))

    def seconds(self, count: int) -> float:
        """Of an iteration of so many at once, per image; the median of some. Infinite where memory ran out."""
        try:
            return self._timed(count)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return float("inf")

    def _timed(self, count: int) -> float:
        place, kind, problem, given, state = self._filled(count)
        times = []
        for n in range(_TIMED + 1):  # the first one compiles, or loads the program
            until = distribute.put(np.full(kind.rows, n + 1, np.int32), place)
            # A rule that stops, or a loss that is not finite, would leave nothing to measure.
            state = state._replace(k=jnp.full_like(state.k, n), result=jnp.full_like(state.result, Result.RUNNING))
            began = time.monotonic()
            state = jax.block_until_ready(slots.advance(kind, problem, given, state, until))
            times.append(time.monotonic() - began)
        return float(np.median(times[1:])) / count

    def _filled(self, count: int) -> tuple[jax.Device | Mesh, slots.Slots, Problem, Any, Any]:
        """(where, kind, problem, given, state) with the image in every slot."""
        image_shape = self._given.operator.image_shape(self._inputs[0].shape[1:])
        devices = [self._device] if batch.mesh_of(self._given) is None else None
        layout, problem, rows = batch.layout_of(self._given, image_shape, count, devices, self._save)
        [place] = layout.places
        kind = slots.of_layout(layout, count, rows)
        if self._vmapped is not None:
            kind = dataclasses.replace(kind, one_by_one=not self._vmapped)
        problem, inputs = distribute.put((problem, self._inputs), place)
        given, state = slots.empty(kind, problem, inputs)
        for slot in range(count):
            index = distribute.put(np.int32(slot), place)
            given, state = slots.insert(kind, problem, given, state, inputs, index)
        return place, kind, problem, given, state
