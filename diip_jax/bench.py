"""Compile time, time per iteration and memory of a restoration: `python -m diip_jax.bench`.

One line per gradient mode and batch size: seconds to compile the loop, seconds of one iteration (median, and per
image), GFLOP/s (network evaluations times XLA's count of one), and the memory that the program holds (arguments,
results, temporaries, as XLA plans them).
"""

import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from diip_jax import command, loop
from diip_jax.methods import DIIP
from diip_jax.prior import Prior

PROGRAM = "diip_jax.bench"


@dataclass(frozen=True)
class Measured:
    """Cost of a batch's iteration.

    Attributes:
        compile_seconds: tracing, lowering and compilation of the loop.
        iteration_seconds: median over the repeats, whole batch.
        flops: of one iteration of the batch.
        memory_bytes: arguments, results and temporaries of the program.
    """

    compile_seconds: float
    iteration_seconds: float
    flops: float
    memory_bytes: int


def measure(prior: Prior, method: DIIP, batch_size: int, repeats: int = 10) -> Measured:
    """Times the loop of a method on random images, one iteration a call, after one call to warm up."""
    shape = prior.image_shape
    y = jax.random.uniform(jax.random.key(0), (batch_size, *shape), minval=-1, maxval=1)
    state = jax.jit(lambda prior, y, keys: loop.start(method.problem(prior, shape), y, keys))(
        prior, y, jax.random.split(jax.random.key(1), batch_size)
    )
    state = jax.device_put(state, y.sharding)

    started = time.monotonic()
    program = (
        jax.jit(
            lambda prior, y, state, until: loop.advance(
                method.problem(prior, shape), y, state, until, one_by_one=jax.default_backend() == "cpu"
            ),
            donate_argnames="state",
        )
        .lower(prior, y, state, jnp.int32(0))
        .compile()
    )
    compile_seconds = time.monotonic() - started

    seconds = []
    for k in range(repeats + 1):
        started = time.monotonic()
        state = jax.block_until_ready(program(prior, y, state, jnp.int32(k + 1)))
        seconds.append(time.monotonic() - started)
    memory = cast(Any, program.memory_analysis())
    return Measured(
        compile_seconds=compile_seconds,
        iteration_seconds=float(np.median(seconds[1:])),
        flops=_flops(prior, method, y[:1]) * batch_size,
        memory_bytes=memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes,
    )


def _flops(prior: Prior, method: DIIP, y: jax.Array) -> float:
    """FLOPs of an iteration of one image; XLA's own count of the whole loop ignores how often the loop runs."""
    evaluation = cast(Any, jax.jit(Prior.eps).lower(prior, y, jnp.zeros(1)).compile().cost_analysis())["flops"]
    # The full gradient evaluates every step once forward, once again in the backward pass, and once backward.
    return evaluation * (prior.schedule.num_timesteps // method.stride) * (3 if method.gradient == "full" else 1)


def _flag_values() -> flags.FlagValues:
    values = command.prior_flags()
    flags.DEFINE_list("batch_size", ["1", "8"], "batch sizes", flag_values=values)
    flags.DEFINE_multi_enum(
        "gradient", ["detached", "full"], ["detached", "full"], "gradient modes; repeatable", flag_values=values
    )
    flags.DEFINE_integer("stride", 100, "timesteps that a DDIM step takes", flag_values=values)
    flags.DEFINE_integer("repeats", 10, "timed iterations", lower_bound=1, flag_values=values)
    return values


def _print_table(values: flags.FlagValues) -> None:
    batch_sizes = [int(size) for size in values.batch_size]
    if min(batch_sizes, default=0) < 1:
        raise command.UsageError(f"--batch_size={','.join(values.batch_size)}: expected at least 1")
    prior = command.prior_of(values)
    methods = {
        mode: DIIP(stride=values.stride, gradient=mode, max_iterations=values.repeats + 1, stopping="budget")
        for mode in values.gradient
    }
    print("| gradient | batch | compile (s) | iteration (s) | per image (s) | GFLOP/s | memory (MB) |")
    print("|---|---|---|---|---|---|---|")
    for (mode, method), batch in itertools.product(methods.items(), batch_sizes):
        m = measure(prior, method, batch, values.repeats)
        print(
            f"| {mode} | {batch} | {m.compile_seconds:.1f} | {m.iteration_seconds:.3f} "
            f"| {m.iteration_seconds / batch:.3f} | {m.flops / m.iteration_seconds / 1e9:.0f} "
            f"| {m.memory_bytes / 1e6:.0f} |",
            flush=True,
        )


def main(arguments: Sequence[str]) -> int:
    """Runs the command with these arguments (`sys.argv[1:]`); returns the exit code."""
    return command.run(PROGRAM, str(__doc__), _flag_values(), _print_table, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
