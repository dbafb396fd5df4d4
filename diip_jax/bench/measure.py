"""Compilation, time, arithmetic and memory of the loop."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from diip_jax import distribute, loop
from diip_jax.methods import DIIP
from diip_jax.prior import Prior


class Program(NamedTuple):
    """A compiled loop on a batch of random images.

    Attributes:
        iterate: does one more iteration of the batch and waits for it; at most `method.max_iterations` times.
        devices: how many share the batch.
        compile_seconds: tracing, lowering and compilation.
        memory_bytes: arguments, results and temporaries on every device, as XLA plans them.
        flops: of an iteration of the batch, see `iteration_flops`.
    """

    iterate: Callable[[], None]
    devices: int
    compile_seconds: float
    memory_bytes: int
    flops: float


def compiled(prior: Prior, method: DIIP, batch_size: int) -> Program:
    """Compiles the loop of a method as `diip_jax.restore` runs it."""
    shape = prior.image_shape
    mesh = distribute.device_mesh(batch_size)
    slots = distribute.padded_size(batch_size, mesh)
    prior = distribute.replicate(prior, mesh)
    y = jax.random.uniform(jax.random.key(0), (slots, *shape), minval=-1, maxval=1)
    keys, stopped = jax.random.split(jax.random.key(1), slots), jnp.arange(slots) >= batch_size
    y, keys, stopped = distribute.split((y, keys, stopped), mesh)

    def start(prior: Prior, part: Any) -> loop.State:
        return loop.start(method.problem(prior, shape), *part)

    def advance(whole: Any, part: Any) -> loop.State:
        prior, until = whole
        y, state = part
        return loop.advance(method.problem(prior, shape), y, state, until, one_by_one=distribute.on_cpu(mesh))

    state = jax.jit(distribute.on_each_device(start, mesh))(prior, (y, keys, stopped))
    began = time.monotonic()
    program = (
        jax.jit(
            lambda prior, y, state, until: distribute.on_each_device(advance, mesh)((prior, until), (y, state)),
            donate_argnames="state",
        )
        .lower(prior, y, state, jnp.int32(0))
        .compile()
    )
    compile_seconds = time.monotonic() - began
    memory = cast(Any, program.memory_analysis())
    k = 0

    def iterate() -> None:
        nonlocal state, k
        k += 1
        state = jax.block_until_ready(program(prior, y, state, distribute.replicate(jnp.int32(k), mesh)))

    return Program(
        iterate=iterate,
        devices=mesh.size,
        compile_seconds=compile_seconds,
        memory_bytes=memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes,
        flops=batch_size * iteration_flops(prior, method),
    )


@dataclasses.dataclass(frozen=True)
class WithoutNetwork(DIIP):
    """DIIP with g(z) = z: an iteration of it is what the loop adds to the network.

    That is the optimiser, the projection, the stopping rules, the Laplacian variance, the traces, and the call.
    """

    def problem(self, prior: Prior, image_shape: tuple[int, int, int]) -> loop.Problem:
        problem = super().problem(prior, image_shape)
        return problem._replace(generator=problem.generator._replace(apply=lambda z, key: z))


def iteration_flops(prior: Prior, method: DIIP) -> float:
    """Floating-point operations of the network in one iteration of one image, convolutions counted as direct ones.

    XLA's count of one evaluation, lowered for an accelerator, where no convolution is Winograd's; XLA's count of the
    loop would ignore how often it runs. The full gradient evaluates every step forwards and backwards, and forwards
    again where it is computed again.
    """
    x = jnp.zeros((1, *prior.image_shape))
    evaluation = jax.jit(Prior.eps).trace(prior, x, jnp.zeros(1)).lower(lowering_platforms=("tpu",))
    evaluations = 1 if method.gradient == "detached" else 2 if method.remat == "none" else 3
    flops = cast(Any, evaluation.cost_analysis())["flops"]
    return flops * evaluations * (prior.schedule.num_timesteps // method.stride)
