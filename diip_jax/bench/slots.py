"""What slots that are refilled gain over fixed batches, on images whose stops are spread.

The work is that of an accelerator, vmapped, also where it is measured on a CPU. How many iterations each image takes is
written into it, so that both ways do the same.
"""

import dataclasses
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax import distribute
from diip_jax.array_types import Array, Flag, Image
from diip_jax.methods import DIIP
from diip_jax.models import DDPMUNetConfig
from diip_jax.plug import plug
from diip_jax.plugs.rules import Observation, Rule
from diip_jax.prior import random_prior
from diip_jax.solve import batch, refill, slots
from diip_jax.solve.problem import Problem

_SHORTEST, _LONGEST = 10, 150
_SIDE = 16


class SlotUse(NamedTuple):
    """How a number of images was restored.

    Attributes:
        share: of the iterations that the device computed, those that were of an image.
        steps: iterations of the device, in each of which all slots take part.
        evaluations: of the network, those for empty and frozen slots included.
        seconds: wall time without compilation.
    """

    share: float
    steps: int
    evaluations: int
    seconds: float


@plug()
class _Told(Rule):
    """Stops after as many iterations as the first number of y tells, in 1/200."""

    def init(self, image: Image, y: Array) -> Any:
        return jnp.round(200 * y.ravel()[0]).astype(jnp.int32)

    def __call__(self, iterations: Any, seen: Observation) -> tuple[Any, Flag]:
        return iterations, seen.k + 1 >= iterations


def _problem() -> Problem:
    network = DDPMUNetConfig(_SIDE, (8, 16), (False, True), blocks_per_level=1, norm_groups=4)
    return DIIP(random_prior(network), _Told(), stride=500, max_iterations=_LONGEST).problem()


def spread_stops(images: int, seed: int = 0) -> np.ndarray:
    """`[images]` iterations of each, uniform from 10 to 150."""
    return np.random.default_rng(seed).integers(_SHORTEST, _LONGEST + 1, images)


def _observations(iterations: np.ndarray) -> tuple[np.ndarray, Array]:
    y = np.random.default_rng(1).uniform(-1, 1, (len(iterations), _SIDE, _SIDE, 3)).astype(np.float32)
    y[:, 0, 0, 0] = iterations / 200
    return y, jax.random.split(jax.random.key(0), len(y))


def fixed_batches(iterations: np.ndarray, count: int) -> SlotUse:
    """Batches of `count` images, each of which waits for its slowest."""
    layout, problem, rows = batch.layout_of(_problem(), (_SIDE, _SIDE, 3), count, jax.local_devices()[:1])
    layout = dataclasses.replace(layout, one_by_one=False)
    problem = distribute.replicate(problem, layout.mesh)
    y, keys = _observations(iterations)

    def run(which: np.ndarray) -> np.ndarray:
        inputs, stopped = batch.place((y[which], None, keys[which], None), len(which), rows, layout.mesh)
        return np.asarray(batch.run(layout, problem, inputs, stopped).k)

    batches = np.array_split(np.arange(len(y)), range(count, len(y), count))
    run(batches[0])
    began = time.monotonic()
    steps = sum(int(run(which).max()) for which in batches)
    seconds = time.monotonic() - began
    return _use(int(iterations.sum()), steps, count * steps, problem, seconds)


def refilled_slots(iterations: np.ndarray, count: int) -> SlotUse:
    """`count` slots; where an image stops, the next one takes its place."""
    device = jax.local_devices()[:1]
    layout, problem, rows = batch.layout_of(_problem(), (_SIDE, _SIDE, 3), count, device)
    kind = dataclasses.replace(slots.of_layout(layout, count, rows), one_by_one=False)
    y, keys = _observations(iterations)

    def run(which: np.ndarray) -> refill.Use:
        use = refill.Use()
        source = (refill.Item(n, (y[n : n + 1], None, keys[n : n + 1], None)) for n in which.tolist())
        ended = refill.refill(kind, problem, device, source, piece=lambda: _LONGEST, use=use)
        found = len(list(ended))
        if found != len(which):
            raise AssertionError(f"{found} of {len(which)} images came back")
        return use

    run(np.arange(min(count + 1, len(y))))
    began = time.monotonic()
    use = run(np.arange(len(y)))
    return _use(use.iterations, use.steps, use.capacity, problem, time.monotonic() - began)


def _use(iterations: int, steps: int, capacity: int, problem: Problem, seconds: float) -> SlotUse:
    return SlotUse(iterations / capacity, steps, capacity * int(problem.generator.evaluations), seconds)
