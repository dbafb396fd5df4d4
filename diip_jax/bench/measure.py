"""Arithmetic of the loop, and the gradient alone, which its time is compared with."""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp

from diip_jax import distribute
from diip_jax.methods import DIIP
from diip_jax.operators import Known
from diip_jax.prior import Prior


def gradient_alone(prior: Prior, method: DIIP, batch_size: int) -> Callable[[], None]:
    """A function that computes the gradients of a batch of random images once, on the devices that the loop would use.

    What an iteration of the loop takes longer is its rest: the optimiser, the stopping rules, the traces.
    """
    shape = prior.image_shape
    mesh = distribute.device_mesh(batch_size)
    slots = distribute.padded_size(batch_size, mesh)
    y = jax.random.uniform(jax.random.key(0), (slots, *shape), minval=-1, maxval=1)
    z = jax.random.normal(jax.random.key(1), (slots, *shape))
    prior, part = distribute.replicate(prior, mesh), distribute.split((y, z), mesh)

    def gradients(prior: Prior, part: Any) -> Any:
        problem = method.problem(prior, shape)

        def gradient(each: Any) -> Any:
            y, z = each
            return jax.grad(lambda z: problem.objective(problem.generator.apply(z), y, Known()))(z)

        return jax.lax.map(gradient, part) if distribute.on_cpu(mesh) else jax.vmap(gradient)(part)

    program = jax.jit(distribute.on_each_device(gradients, mesh)).lower(prior, part).compile()

    def compute() -> None:
        jax.block_until_ready(program(prior, part))

    return compute


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
