"""What a step of the training costs, beside the same step in torch."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from diip_jax import distribute
from diip_jax.bench.measure import evaluation_flops
from diip_jax.prior import Prior
from diip_jax.train.objective import Objective
from diip_jax.train.step import Optimisation, initial_state, make_update, rounds


class Step(NamedTuple):
    """A compiled step of the training.

    Attributes:
        run: does one more.
        compile_seconds: that compiling it took.
        memory_bytes: that the program holds on a device.
        rounds: in which a device goes through its share of the batch.
        devices: over which the batch is split.
    """

    run: Callable[[], None]
    compile_seconds: float
    memory_bytes: int
    rounds: int
    devices: int


def training_step(prior: Prior, batch_size: int) -> Step:
    """A step of a training of the prior as it is by default, on random pictures.

    Raises:
        ValueError: the prior predicts what has no target.
    """
    settings = Optimisation(batch_size=batch_size)
    mesh = distribute.mesh_of_all(batch_size)
    update: Any = make_update(dataclasses.replace(prior, params=None), Objective(), settings, mesh)
    state = distribute.whole(initial_state(prior.params, settings, 0), mesh)
    pictures = np.random.default_rng(0).integers(0, 256, (batch_size, *prior.image_shape), dtype=np.uint8)
    batch = distribute.joined(pictures, mesh)
    began = time.monotonic()
    program = update.lower(state, batch).compile()
    seconds = time.monotonic() - began
    memory = program.memory_analysis()
    held = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    return Step(_stepping(program, state, batch), seconds, held, rounds(settings, mesh), mesh.size)


def _stepping(program: Callable[[Any, Any], tuple[Any, Any]], state: Any, batch: Any) -> Callable[[], None]:
    kept = [state]

    def run() -> None:
        kept[0], metrics = program(kept[0], batch)
        jax.block_until_ready((kept[0], metrics))

    return run


def step_flops(prior: Prior, batch_size: int) -> float:
    """Floating-point operations of the network in a step, convolutions counted as direct ones.

    The backward pass has twice those of the forward pass: gradients with respect to images and to weights.
    """
    return 3 * batch_size * evaluation_flops(prior)
