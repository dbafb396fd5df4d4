"""A batch of a problem over devices: padded, split, run in pieces between which a caller may look in.

A batch is one XLA program from the first iteration to the last stop, whatever its size up to that of the layout; more
images than that take turns in slots, see `diip_jax.solve.refill`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from diip_jax import distribute
from diip_jax.array_types import Array
from diip_jax.prior import Prior
from diip_jax.solve import loop
from diip_jax.solve.loop import Saved, State
from diip_jax.solve.problem import Problem, Result

# Values of an image, a megapixel in colour.
_LARGE = 3 * 2**20


@dataclasses.dataclass(frozen=True)
class Layout:
    """What fixes the program of a batch beside the problem.

    Attributes:
        mesh: the devices that share a batch.
        image_shape: (H, W, C) of the restored images.
        save: what is traced. length: iterates that the traces hold.
        one_by_one: see `diip_jax.solve.loop.advance`.
        in_step: weights are split over the devices, which therefore go through the iterations together; else each goes
            by itself.
    """

    mesh: Mesh
    image_shape: tuple[int, int, int]
    save: tuple[str | Callable[..., Any], ...] = ()
    length: int = 0
    one_by_one: bool = False
    in_step: bool = False

    @property
    def places(self) -> list[jax.Device] | list[Mesh]:
        """What has slots of its own: each device, or all together."""
        return [self.mesh] if self.in_step else list(self.mesh.devices.flat)

    def over_devices(self, function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """function(whole, part) on the devices, each with its part of a batch."""
        return (distribute.in_step if self.in_step else distribute.on_each_device)(function, self.mesh)


def layout_of(
    problem: Problem,
    image_shape: tuple[int, int, int],
    batch_size: int,
    devices: Sequence[jax.Device] | None = None,
    save: Saved = (),
) -> tuple[Layout, Problem, int]:
    """(the layout, the problem with what depends on the devices settled, the size of a batch).

    Raises:
        ValueError: no device, or one of another process; or others than those that a prior is split over.
    """
    split_over = mesh_of(problem)
    if split_over is not None and devices is not None and list(devices) != (those := list(split_over.devices.flat)):
        raise ValueError(f"devices={list(devices)}: the prior is split over {those}; leave devices out")
    mesh = split_over or distribute.device_mesh(batch_size, devices)
    slots = distribute.padded_size(batch_size, mesh)
    one_by_one = split_over is None and distribute.on_cpu(mesh)
    at_once = 1 if one_by_one else slots // mesh.size
    if one_by_one and not is_large(image_shape):
        # XLA unrolls a loop over a single image, and may round differently for it. One that has stopped costs nothing,
        # but memory.
        slots = max(slots, 2 * mesh.size)
    generator = problem.generator.fitted(image_shape, at_once, distribute.device_memory(mesh))
    length = int(problem.max_iterations) if save else 0
    problem = dataclasses.replace(problem, generator=generator)
    layout = Layout(mesh, image_shape, tuple(save), length, one_by_one, in_step=split_over is not None)
    return layout, problem, slots


def is_large(image_shape: tuple[int, ...]) -> bool:
    """Whether memory counts before all on a CPU: the state of an image is dozens of images."""
    return math.prod(image_shape) >= _LARGE


def mesh_of(problem: Any) -> Mesh | None:
    """The devices that the weights in a problem are split over, None where they are whole.

    Raises:
        ValueError: two priors that are split over different devices.
    """
    plugs = jax.tree.leaves(problem, is_leaf=lambda plug: isinstance(plug, Prior))
    found = {plug.mesh for plug in plugs if isinstance(plug, Prior) and plug.mesh is not None}
    if len(found) > 1:
        raise ValueError("priors are split over different devices; split both over the same")
    return next(iter(found), None)


def place(inputs: Any, count: int, slots: int, mesh: Mesh) -> tuple[Any, Array]:
    """(inputs padded to the batch and split over the devices, which of them are padding).

    Args:
        inputs: a pytree whose leaves have a leading axis of `count` elements.
    """
    who = np.minimum(np.arange(slots), count - 1)
    padded = jax.tree.map(lambda leaf: leaf[who], inputs)
    return distribute.split((padded, np.arange(slots) >= count), mesh)


@partial(jax.jit, static_argnames=("layout",))
def start(layout: Layout, problem: Problem, inputs: Any, stopped: Array) -> State:
    """The states of a batch (y, args, keys, u0) before the first iteration; u0 may be states that go on."""

    def on_device(problem: Problem, part: Any) -> State:
        (y, args, keys, u0), stopped = part
        if isinstance(u0, State):
            state = loop.resumed(problem, u0, stopped)
        else:
            state = loop.start(problem, layout.image_shape, y, keys, args, u0, stopped, one_by_one=layout.one_by_one)
        return loop.traced(problem, state, layout.save, layout.length, args, one_by_one=layout.one_by_one)

    return layout.over_devices(on_device)(problem, (inputs, stopped))


@partial(jax.jit, static_argnames=("layout",), donate_argnames=("state",))
def advance(layout: Layout, problem: Problem, inputs: Any, state: State, until: Array) -> State:
    """`diip_jax.solve.loop.advance` of a batch (y, args), on each device until its own images have stopped."""

    def on_device(whole: Any, part: Any) -> State:
        (problem, until), ((y, args), state) = whole, part
        return loop.advance(problem, y, state, until, args, layout.save, one_by_one=layout.one_by_one)

    return layout.over_devices(on_device)((problem, until), (inputs, state))


def estimates(layout: Layout, problem: Problem, eta: Any) -> dict[str, Array]:
    """By name `[B, ...]`: what the operator's parameters of a batch stand for; nothing where there are none."""
    return _estimates(layout, problem, eta) if jax.tree.leaves(eta) else {}


@partial(jax.jit, static_argnames=("layout",))
def _estimates(layout: Layout, problem: Problem, eta: Any) -> dict[str, Array]:

    def on_device(problem: Problem, eta: Any) -> dict[str, Array]:
        each = jax.lax.map if layout.one_by_one else lambda function, batch: jax.vmap(function)(batch)
        return each(problem.operator.estimates, eta)

    return layout.over_devices(on_device)(problem, eta)


def run(
    layout: Layout,
    problem: Problem,
    inputs: Any,
    stopped: Array,
    look: Callable[[State], np.ndarray | None] | None = None,
    every: int = 10,
) -> State:
    """One batch to its end.

    Args:
        problem: on all devices of the layout.
        inputs: (y, args, keys, u0), placed.
        look: is shown the state after every `every` iterations; may return which of the images `[B]` are to stop.
    """
    state = start(layout, problem, inputs, stopped)
    y, args = inputs[:2]
    limit, until = int(problem.max_iterations), 0
    while (running := np.asarray(state.result) == Result.RUNNING).any():
        reached = int(np.asarray(state.k)[running].max())
        until = limit if look is None else min(max(until, reached) + every, limit)
        state = advance(layout, problem, (y, args), state, jnp.int32(until))
        if look is not None and (wanted := look(state)) is not None:
            state = _ended(layout, state, jnp.asarray(wanted))
    return state


@partial(jax.jit, static_argnames=("layout",), donate_argnames=("state",))
def _ended(layout: Layout, state: State, wanted: Array) -> State:
    ends = wanted & (state.result == Result.RUNNING)
    return state._replace(result=jnp.where(ends, Result.STOPPED, state.result))


def sampled(
    sampler: Any, y: np.ndarray, keys: Array, batch_size: int, devices: Sequence[jax.Device] | None = None
) -> np.ndarray:
    """What a `diip_jax.methods.Sampler` makes of at most a batch of images `[b, H, W, C]`, with their keys."""
    split_over = mesh_of(sampler)
    mesh = split_over or distribute.device_mesh(batch_size, devices)
    part, _ = place((y, keys), len(y), distribute.padded_size(batch_size, mesh), mesh)
    return np.asarray(sample(mesh, distribute.replicate(sampler, mesh), part, in_step=split_over is not None))[: len(y)]


@partial(jax.jit, static_argnames=("mesh", "in_step"))
def sample(mesh: Mesh, sampler: Any, part: tuple[Array, Array], in_step: bool = False) -> Array:
    """A sampler on (y, keys) that are split over the devices."""

    def on_device(sampler: Any, part: tuple[Array, Array]) -> Array:
        if in_step or not distribute.on_cpu(mesh):
            return sampler.sample(*part)
        # One by one, as in the loop: to the last bit independent of the batch.
        return jax.lax.map(lambda each: sampler.sample(each[0][None], each[1][None])[0], part)

    return (distribute.in_step if in_step else distribute.on_each_device)(on_device, mesh)(sampler, part)
