"""The loop of a method compiled ahead, for what can be known of it: its memory, its time, iteration by iteration."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from diip_jax import distribute, loop
from diip_jax.array_types import Array
from diip_jax.methods import Method
from diip_jax.methods.inversion import NoiseInversion
from diip_jax.operators import Known
from diip_jax.prior import Prior


class CompiledLoop(NamedTuple):
    """A compiled loop on a batch of images.

    Attributes:
        iterate: does one more iteration of the batch and waits for it; at most `method.max_iterations` times.
        devices: how many share the batch.
        compile_seconds: tracing, lowering and compilation.
        memory_bytes: arguments (the prior among them), results and temporaries on every device, as XLA plans them.
    """

    iterate: Callable[[], None]
    devices: int
    compile_seconds: float
    memory_bytes: int


def compile_loop(
    prior: Prior,
    method: Method,
    image_shape: tuple[int, int, int],
    y: np.ndarray | Array,
    known: Known = Known(),
) -> CompiledLoop:
    """Compiles the loop of a method as `diip_jax.restore` runs it.

    Args:
        image_shape: (H, W, C) of the restored images.
        y: the observations `[B, h, w, C]`, float32 in [-1, 1].
        known: what the method's operator needs of them.
    """
    mesh = distribute.device_mesh(len(y))
    slots = distribute.padded_size(len(y), mesh)
    method = fit_to_devices(method, prior, image_shape, mesh, slots)
    prior = distribute.replicate(prior, mesh)
    stopped = jnp.arange(slots) >= len(y)
    # Padded as `restore` does it: with pairs that count as stopped.
    who = np.where(stopped, 0, np.arange(slots))
    y, known = jax.tree.map(lambda leaf: jnp.asarray(leaf)[who], (y, known))
    keys = jax.random.split(jax.random.key(1), slots)
    y, known, keys, stopped = distribute.split((y, known, keys, stopped), mesh)

    def start(prior: Prior, part: Any) -> loop.State:
        return loop.start(method.problem(prior, image_shape), *part)

    def advance(whole: Any, part: Any) -> loop.State:
        prior, until = whole
        y, known, state = part
        problem = method.problem(prior, image_shape)
        return loop.advance(problem, y, state, until, None, known, one_by_one=distribute.on_cpu(mesh))

    def advance_all(prior: Prior, y: Array, known: Known, state: loop.State, until: Array) -> loop.State:
        return distribute.on_each_device(advance, mesh)((prior, until), (y, known, state))

    state = jax.jit(distribute.on_each_device(start, mesh))(prior, (y, keys, stopped, known))
    began = time.monotonic()
    program = jax.jit(advance_all, donate_argnames="state").lower(prior, y, known, state, jnp.int32(0)).compile()
    compile_seconds = time.monotonic() - began
    memory = cast(Any, program.memory_analysis())
    k = 0

    def iterate() -> None:
        nonlocal state, k
        k += 1
        until = distribute.replicate(jnp.int32(k), mesh)
        state = jax.block_until_ready(program(prior, y, known, state, until))

    return CompiledLoop(
        iterate=iterate, devices=mesh.size, compile_seconds=compile_seconds, memory_bytes=planned_bytes(memory)
    )


def planned_bytes(memory: Any) -> int:
    """Arguments, results and temporaries of an XLA program, from its `memory_analysis()`."""
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )


def fit_to_devices(method: Method, prior: Prior, image_shape: tuple[int, int, int], mesh: Mesh, slots: int) -> Method:
    """The method with what depends on the devices' memory settled, see `NoiseInversion.fitted`."""
    if not isinstance(method, NoiseInversion):
        return method
    at_once = 1 if distribute.on_cpu(mesh) else slots // mesh.size
    return method.fitted(prior, image_shape, at_once, distribute.device_memory(mesh))
