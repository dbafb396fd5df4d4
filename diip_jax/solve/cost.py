"""A problem's loop compiled ahead, for what can be known of it: its memory, its time, iteration by iteration."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax import distribute
from diip_jax.array_types import Array
from diip_jax.solve import batch
from diip_jax.solve.loop import Saved
from diip_jax.solve.problem import Problem


class CompiledLoop(NamedTuple):
    """A compiled loop on a batch of images.

    Attributes:
        iterate: does one more iteration of the batch and waits for it; at most `problem.max_iterations` times.
        devices: how many share the batch.
        compile_seconds: tracing, lowering and compilation.
        memory_bytes: arguments (the prior among them), results and temporaries on every device, as XLA plans them.
    """

    iterate: Callable[[], None]
    devices: int
    compile_seconds: float
    memory_bytes: int


def compile_loop(problem: Problem, y: np.ndarray | Array, args: Any = None, save: Saved = ()) -> CompiledLoop:
    """Compiles the loop of a problem as `diip_jax.restore` runs it.

    Args:
        y: the observations `[B, ...]`, pictures in [-1, 1].
        args: what is known of them beside, with a leading axis B.
        save: what is traced. Where `restore` has run with the same, nothing is compiled anew.
    """
    image_shape = problem.operator.image_shape(y.shape[1:])
    layout, problem, slots = batch.layout_of(problem, image_shape, len(y), save=save)
    problem = distribute.replicate(problem, layout.mesh)
    keys = jax.random.split(jax.random.key(1), len(y))
    given = jax.tree.map(np.asarray, (y, args))
    inputs, stopped = batch.place((*given, keys, None), len(y), slots, layout.mesh)
    state = batch.start(layout, problem, inputs, stopped)
    began = time.monotonic()
    program = batch.advance.lower(layout, problem, inputs[:2], state, jnp.int32(0)).compile()
    compile_seconds = time.monotonic() - began
    k = 0

    def iterate() -> None:
        nonlocal state, k
        k += 1
        until = distribute.replicate(jnp.int32(k), layout.mesh)
        state = jax.block_until_ready(program(problem, inputs[:2], state, until))

    memory = planned_bytes(cast(Any, program.memory_analysis()))
    return CompiledLoop(iterate, layout.mesh.size, compile_seconds, memory)


def sampler_memory(sampler: Any, y: np.ndarray) -> int:
    """Bytes of the program that a `diip_jax.methods.Sampler` restores such images with, on all devices; XLA's plan."""
    split_over = batch.mesh_of(sampler)
    mesh = split_over or distribute.device_mesh(len(y))
    keys = jax.random.split(jax.random.key(0), len(y))
    part, _ = batch.place((y, keys), len(y), distribute.padded_size(len(y), mesh), mesh)
    sampler = distribute.replicate(sampler, mesh)
    program = batch.sample.lower(mesh, sampler, part, in_step=split_over is not None).compile()
    return mesh.size * planned_bytes(program.memory_analysis())


def planned_bytes(memory: Any) -> int:
    """Arguments, results and temporaries of an XLA program, from its `memory_analysis()`."""
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )
