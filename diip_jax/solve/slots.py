"""The programs of a device with slots, or of several in step: images are put in, advanced together, taken out singly.

The slot is an argument, so there is one program of each for all slots. An image's result depends neither on its slot
nor on its neighbours: it is started by the same program in all of them, and slots that have stopped are frozen.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from diip_jax import distribute
from diip_jax.array_types import Array
from diip_jax.solve import loop
from diip_jax.solve.batch import Layout, is_large
from diip_jax.solve.loop import State
from diip_jax.solve.problem import Problem, Result


@dataclasses.dataclass(frozen=True)
class Slots:
    """What fixes the programs of a device beside the problem; most fields are those of `diip_jax.solve.batch.Layout`.

    Attributes:
        count: images that a device has at once. rows: of its arrays, that many or more.
        mesh: the devices, where weights are split over them; None: one.
    """

    count: int
    rows: int
    image_shape: tuple[int, int, int]
    save: tuple[str | Callable[..., Any], ...] = ()
    length: int = 0
    one_by_one: bool = False
    mesh: Mesh | None = None

    @property
    def large(self) -> bool:
        """Whether one of its images is a device's whole memory, see `is_large`."""
        return is_large(self.image_shape) and self.one_by_one

    def placed(self, tree: Any) -> Any:
        """Inside a program: arrays of all slots where they belong."""
        return tree if self.mesh is None else distribute.constrained(tree, self.mesh)


def of_layout(layout: Layout, count: int, rows: int) -> Slots:
    """The slots of each place of a layout, for `count` images at once in batches of `rows`."""
    places, mesh = len(layout.places), layout.mesh if layout.in_step else None
    shape = layout.image_shape
    return Slots(-(-count // places), rows // places, shape, layout.save, layout.length, layout.one_by_one, mesh)


def _started(slots: Slots, problem: Problem, inputs: Any) -> State:
    y, args, keys, u0 = inputs
    nobody = jnp.zeros(1, bool)
    if isinstance(u0, State):
        state = loop.resumed(problem, u0, nobody)
    else:
        state = loop.start(problem, slots.image_shape, y, keys, args, u0, nobody, one_by_one=slots.one_by_one)
    return loop.traced(problem, state, slots.save, slots.length, args, one_by_one=slots.one_by_one)


@partial(jax.jit, static_argnames=("slots",))
def empty(slots: Slots, problem: Problem, inputs: Any) -> tuple[Any, State]:
    """Slots without an image, for images such as this one: (y, args) and states."""
    kinds = jax.eval_shape(lambda: (inputs[:2], _started(slots, problem, inputs)))

    def nothing(kind: Any) -> Array:
        shape = (slots.rows, *kind.shape[1:])
        return jnp.broadcast_to(inputs[2][0], shape) if loop.is_key(kind) else jnp.zeros(shape, kind.dtype)

    given, state = jax.tree.map(nothing, kinds)
    return slots.placed((given, state._replace(result=jnp.full(slots.rows, jnp.int32(Result.STOPPED)))))


@partial(jax.jit, static_argnames=("slots",), donate_argnames=("given", "state"))
def insert(slots: Slots, problem: Problem, given: Any, state: State, inputs: Any, slot: Array) -> tuple[Any, State]:
    """An image put into a slot, whatever was there."""
    fresh = (inputs[:2], _started(slots, problem, inputs))
    return slots.placed(jax.tree.map(lambda every, one: every.at[slot].set(one[0]), (given, state), fresh))


@partial(jax.jit, static_argnames=("slots",), donate_argnames=("state",))
def advance(slots: Slots, problem: Problem, given: Any, state: State, until: Array) -> State:
    """A piece: every image iterates to its own `until` `[rows]` or its stop.

    Vmapped, all end with the first of them. One by one (CPU), each goes all the way: what has stopped costs nothing
    there, and nobody waits for the others.
    """
    y, args = given
    if slots.one_by_one:
        return loop.advance(problem, y, state, until, args, slots.save, one_by_one=True)
    return slots.placed(loop.advance_to_first_end(problem, y, state, until, args, slots.save))


@partial(jax.jit, static_argnames=("slots",))
def take(slots: Slots, problem: Problem, state: State, slot: Array) -> tuple[State, dict[str, Array]]:
    """What is in a slot, and what its operator's parameters stand for."""
    one = jax.tree.map(lambda every: every[slot][None], state)
    eta = one.chosen.eta
    learned = jax.lax.map(problem.operator.estimates, eta) if jax.tree.leaves(eta) else {}
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if loop.is_key(leaf) else leaf, one), learned


@partial(jax.jit, donate_argnames=("state",))
def stop(state: State, wanted: Array) -> State:
    ends = wanted & (state.result == Result.RUNNING)
    return state._replace(result=jnp.where(ends, Result.STOPPED, state.result))
