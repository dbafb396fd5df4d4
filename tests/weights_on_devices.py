"""`python weights_on_devices.py OUTPUT.npz`: restores with weights split over all devices that XLA_FLAGS asks for."""

import sys
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from networks import images

import diip_jax as dj
from diip_jax import distribute
from diip_jax.models import DDPMUNetConfig
from diip_jax.prior import random_prior
from diip_jax.solve import batch
from diip_jax.solve.cost import planned_bytes

# Its kernels are most of what it needs.
PRIOR = random_prior(DDPMUNetConfig(8, (32, 128), (False, True), blocks_per_level=1, norm_groups=4))
Y = np.asarray(images(9, side=8))


def method(prior, gradient="full", **settings):
    return dj.DIIP(prior, dj.robust(4), 0.02, 4, stride=500, gradient=gradient, remat="step", **settings)


def compiled_loop(problem):
    """The program that `restore` runs on all pictures."""
    layout, problem, slots = batch.layout_of(problem, (8, 8, 3), len(Y), save=("loss",))
    problem = distribute.replicate(problem, layout.mesh)
    given = (Y, None, jax.random.split(jax.random.key(0), len(Y)), None)
    inputs, stopped = batch.place(given, len(Y), slots, layout.mesh)
    state = batch.start(layout, problem, inputs, stopped)
    return batch.advance.lower(layout, problem, inputs[:2], state, jnp.int32(4)).compile()


def main(output: str) -> None:
    split = PRIOR.sharded()
    together = dj.restore(method(split), Y, save=("loss",))
    in_slots = dj.restore(method(split), Y, batch_size=8)
    detached = dj.restore(method(split, "detached", refresh=1), Y[:3])
    loop = compiled_loop(method(split).problem())
    np.savez(
        output,
        devices=len(jax.devices()),
        together=together.images,
        in_slots=in_slots.images,
        loss=together.traces["loss"],
        detached=detached.images,
        weights_of_one=sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(split.params)),
        memory_of_one=planned_bytes(cast(Any, loop.memory_analysis())),
        program=loop.as_text(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
