"""Weights that are split over devices and gathered where they are used: fully sharded data parallelism (FSDP).

Every device holds its part of each kernel (ZeRO stage 3, Rajbhandari et al., 2020, arXiv:1910.02054; Zhao et al., 2023,
arXiv:2304.11277), and its own images. A layer's whole kernel is there while the layer is computed, forwards and again
backwards. What that costs is communication, in every evaluation of the network.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from diip_jax.array_types import Array, Params

AXIS = "batch"  # over which images are split, too
# What `gathered` is made of.
_GATHERING = ("optimization_barrier", "sharding_constraint")


def device_mesh(devices: Sequence[jax.Device]) -> Mesh:
    """Devices in a row, for weights and images."""
    return Mesh(np.array(devices), (AXIS,))


def split(params: Params, mesh: Mesh) -> Params:
    """The parameters of a Flax network with its kernels split, each along its longest axis that the devices divide.

    A kernel without such an axis, and whatever else there is, is small and whole on every device.
    """

    def placed(path: tuple[Any, ...], leaf: Any) -> Array:
        axes = [(side, axis) for axis, side in enumerate(np.shape(leaf)) if side % mesh.size == 0]
        if path[-1].key != "kernel" or not axes:
            return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec()))
        # Of axes of one length the last, that of the output channels.
        return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(*[None] * max(axes)[1], AXIS)))

    return jax.tree_util.tree_map_with_path(placed, params)


def gathered(kernel: Array, x: Array, mesh: Mesh) -> tuple[Array, Array]:
    """(the whole kernel of a layer, its input x), inside a program over the mesh."""
    # The kernel waits for x. Else a compiler would gather it before the first iteration, for in the gathering nothing
    # changes from then on; or before the first layer, to have it early.
    kernel, x = jax.lax.optimization_barrier((kernel, x))
    return jax.lax.with_sharding_constraint(kernel, NamedSharding(mesh, PartitionSpec())), x


def forgetful(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose backward pass gathers the kernels again; it keeps everything else."""
    return jax.checkpoint(function, policy=_is_kept, prevent_cse=False)


def _is_kept(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name not in _GATHERING
