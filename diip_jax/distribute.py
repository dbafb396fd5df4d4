"""A batch over the devices of a process, and the work of a run over several processes.

Devices: a batch is split along its first axis over a mesh of the process's own devices, and `shard_map` runs the loop
on each. `jit` of the same loop over a sharded batch would compile an all-reduce into the loop's condition, and every
device would go on until the slowest image of all; with `shard_map` nothing is exchanged, and each stops by itself.

Processes: each takes its share of the work and works alone, because JAX ends all processes that are connected when one
of them dies. They meet once, at the start.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import jax
import numpy as np

# The store of `meeting`'s coordinator has no public name. What JAX has in public to compare values over processes,
# `multihost_utils.assert_equal`, is a collective of the devices, see `same_everywhere`.
from jax._src import distributed
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from diip_jax import fsdp
from diip_jax.machine import usable_cores, usable_memory

_AXIS = fsdp.AXIS
_WHOLE, _SPLIT = PartitionSpec(), PartitionSpec(_AXIS)

Item = TypeVar("Item")

# Lost processes end a meeting, not this; one that looks through a large folder on slow storage may take its time.
_PATIENCE_MS = 24 * 60 * 60 * 1000
_questions = itertools.count()


def use_every_core() -> None:
    """Makes a device of every CPU core that this process may use, unless the user has said how many there shall be.

    XLA's convolutions hardly gain from a second thread: two images with a core each take 0.6 of the time of one after
    the other with both (docs/performance.md). Does nothing in a process that has used JAX already.
    """
    if cast(Any, jax.config).jax_num_cpu_devices == -1 and "device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", usable_cores())


def device_mesh(batch_size: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The devices that a batch is split over, no more than it has elements.

    Args:
        devices: devices of this process; None for all of them.

    Raises:
        ValueError: no device, or one of another process.
    """
    devices = jax.local_devices() if devices is None else devices
    foreign = [device for device in devices if device.process_index != jax.process_index()]
    if foreign or not devices:
        raise ValueError(f"devices={list(devices)}: expected devices of this process, of {jax.local_devices()}")
    return fsdp.device_mesh(devices[:batch_size])


def mesh_of_all(batch_size: int) -> Mesh:
    """The devices of all processes; of a single process as many as divide a batch of this size.

    Raises:
        ValueError: the devices of several processes do not divide it.
    """
    devices = jax.devices()
    count = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    if jax.process_count() > 1 and count < len(devices):
        raise ValueError(f"batch_size={batch_size}: expected a multiple of the {len(devices)} devices of all processes")
    return fsdp.device_mesh(devices[:count])


def padded_size(batch_size: int, mesh: Mesh) -> int:
    """The smallest size from `batch_size` on that the devices divide."""
    return -(-batch_size // mesh.size) * mesh.size


def on_cpu(mesh: Mesh) -> bool:
    """Whether the devices are CPUs."""
    return mesh.devices.flat[0].platform == "cpu"


def device_memory(mesh: Mesh) -> int | None:
    """Bytes that one of the devices may use, None where it does not say; CPU devices share what the machine has."""
    if on_cpu(mesh):
        memory = usable_memory()
        return None if memory is None else memory // mesh.size
    return (mesh.devices.flat[0].memory_stats() or {}).get("bytes_limit")


def replicate(tree: Any, mesh: Mesh) -> Any:
    """The arrays of a pytree, whole on every device; one that is in it twice, such as a prior's weights, is there once.

    What is split over these very devices already stays so, see `diip_jax.fsdp`.
    """
    return _once_each(tree, NamedSharding(mesh, _WHOLE))


def put(tree: Any, place: jax.Device | Mesh) -> Any:
    """The arrays of a pytree on a device; or as `replicate` on several."""
    return replicate(tree, place) if isinstance(place, Mesh) else _once_each(tree, place)


def _once_each(tree: Any, place: Any) -> Any:
    there: dict[int, Any] = {}

    def once(leaf: Any) -> Any:
        if isinstance(place, NamedSharding) and getattr(getattr(leaf, "sharding", None), "mesh", None) == place.mesh:
            return leaf
        if id(leaf) not in there:
            there[id(leaf)] = jax.device_put(leaf, place)
        return there[id(leaf)]

    return jax.tree.map(once, tree)


def split(tree: Any, mesh: Mesh) -> Any:
    """The arrays of a pytree, each split along its first axis, which the number of devices divides."""
    return jax.device_put(tree, NamedSharding(mesh, _SPLIT))


def whole(tree: Any, mesh: Mesh) -> Any:
    """`replicate` over the devices of all processes, each of which hands in the same arrays."""
    return _of_all_processes(tree, whole_sharding(mesh))


def whole_sharding(mesh: Mesh) -> NamedSharding:
    """Of an array that is whole on every device."""
    return NamedSharding(mesh, _WHOLE)


def joined(tree: Any, mesh: Mesh) -> Any:
    """`split` over the devices of all processes, each of which hands in its own rows; process 0 has the first ones."""
    return _of_all_processes(tree, NamedSharding(mesh, _SPLIT))


def _of_all_processes(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), tree)


def of_each_device(tree: Any) -> Any:
    """Inside `on_each_device`: arrays that are whole on every device, as each device's own.

    Derivatives with respect to them are then each device's own as well, not summed over the devices.
    """
    return jax.tree.map(lambda leaf: jax.lax.pcast(leaf, _AXIS, to="varying"), tree)


def on_each_device(function: Callable[[Any, Any], Any], mesh: Mesh) -> Callable[[Any, Any], Any]:
    """function(whole, part) on every device, with its own part of the second pytree; results are joined likewise.

    Differs from `jit` over split arrays in that loops inside end on every device by themselves.
    """
    # Unchecked: JAX would have every plug start its loop's state from data. Nothing here is summed over devices.
    return jax.shard_map(function, mesh=mesh, in_specs=(_WHOLE, _SPLIT), out_specs=_SPLIT, check_vma=False)


def in_step(function: Callable[[Any, Any], Any], mesh: Mesh) -> Callable[[Any, Any], Any]:
    """The same where weights are split over the devices: one program of all, whose loops end together."""

    return lambda whole, part: constrained(function(whole, part), mesh)


def constrained(tree: Any, mesh: Mesh) -> Any:
    """Inside a program: arrays that are split over the devices along their first axis."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, _SPLIT))


@contextlib.contextmanager
def meeting(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> Iterator[None]:
    """The processes of the run are connected inside; `share` and `jax.process_index` know of them from then on.

    Inside, JAX ends all processes when one of them is lost, or when one does not come within 5 minutes. Afterwards no
    process waits for another, and none ends because another one did.

    Args:
        coordinator: "HOST:PORT" of process 0. None for this and the two others: found out by
            `jax.distributed.initialize` on TPU pods, in Slurm, Open MPI and Kubernetes.
        num_processes, process_id: how many there are, and which one this is, counted from 0.

    Raises:
        ValueError: JAX cannot find out where this process runs.
        RuntimeError: a device was used before, or the port of the coordinator is taken.
    """
    # Without it JAX would look for a cluster also where it has been told everything.
    method = None if coordinator is None else "deactivate"
    jax.distributed.initialize(coordinator, num_processes, process_id, cluster_detection_method=method)
    try:
        yield
    finally:
        jax.distributed.shutdown()


def same_everywhere(digest: bytes) -> bool:
    """Whether all processes of a `meeting` call this with equal digests; it waits for all."""
    # Not a collective of the devices: on CPUs Gloo's first connection takes 150 s instead of one in some runs.
    coordinator, question = distributed.global_state.client, f"diip_jax/{next(_questions)}"
    if coordinator is None:
        raise RuntimeError("same_everywhere is for the processes of a meeting, and this is not in one")
    coordinator.key_value_set(f"{question}/{jax.process_index()}", digest.hex())
    told = {
        coordinator.blocking_key_value_get(f"{question}/{index}", _PATIENCE_MS) for index in range(jax.process_count())
    }
    return len(told) == 1


def share(items: Sequence[Item]) -> Sequence[Item]:
    """This process's part of what is the same list in every process; all of it where there is one process."""
    return items[jax.process_index() :: jax.process_count()]
