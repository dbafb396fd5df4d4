"""Arithmetic of the loop, and the loop without the network."""

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp

from diip_jax.array_types import Image, PRNGKey
from diip_jax.ddim_sampling import visited_steps
from diip_jax.methods import DIIP
from diip_jax.plug import plug
from diip_jax.plugs.generators import DDIM
from diip_jax.prior import Prior
from diip_jax.solve.problem import Problem


@plug(data=("prior",))
class NoNetwork(DDIM):
    """g(z) = z, otherwise as DDIM."""

    def __call__(self, z: Image, key: PRNGKey) -> Image:
        return z


def without_network(problem: Problem) -> Problem:
    """The problem of DIIP with g(z) = z: an iteration of it is what the loop adds to the network.

    That is the optimiser, the projection, the stopping rules, the Laplacian variance and the call.
    """
    return dataclasses.replace(problem, generator=NoNetwork(problem.generator.prior))


def evaluation_flops(prior: Prior) -> float:
    """Floating-point operations of the network for one image, convolutions counted as direct ones.

    XLA's count, lowered for an accelerator, where no convolution is Winograd's.
    """
    x = jnp.zeros((1, *prior.image_shape))
    evaluation = jax.jit(Prior.eps).trace(prior, x, jnp.zeros(1)).lower(lowering_platforms=("tpu",))
    return cast(Any, evaluation.cost_analysis())["flops"]


def iteration_flops(prior: Prior, method: DIIP) -> float:
    """Floating-point operations of the network in one iteration of one image.

    XLA's own count of the loop would ignore how often it runs. The full gradient evaluates every step forwards and
    backwards, and forwards again where it is computed again.
    """
    evaluations = 1 if method.gradient == "detached" else 2 if method.remat == "none" else 3
    return evaluation_flops(prior) * evaluations * len(visited_steps(prior, method.stride, method.variant).t)
