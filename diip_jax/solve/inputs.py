"""What `restore` is given, checked and made ready: observations, args, first variables, random keys."""

import warnings
import zlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from diip_jax.array_types import Array
from diip_jax.plugs.operators import Operator, PictureOperator
from diip_jax.plugs.rules import Observation
from diip_jax.solve import loop
from diip_jax.solve.loop import Saved, State
from diip_jax.solve.problem import Problem


def observed(operator: Any, y: np.ndarray | Array, args: Any) -> tuple[np.ndarray, Any]:
    """(y as float32 or complex64, args as NumPy arrays); what does not fit is refused."""
    y, args = np.asarray(y), jax.tree.map(np.asarray, args)
    if not y.ndim or not len(y):
        raise ValueError(f"images have shape {y.shape}: expected [N, H, W, C] with at least one image")
    whole = y.dtype == np.uint8
    if whole:
        y = y.astype(np.float32) / np.float32(127.5) - np.float32(1)
    elif jnp.issubdtype(y.dtype, jnp.complexfloating):
        y = y.astype(np.complex64)
    elif jnp.issubdtype(y.dtype, jnp.floating):
        y = y.astype(np.float32)
    else:
        raise ValueError(f"images have dtype {y.dtype}: expected uint8, or float in [-1, 1]")
    for path, leaf in jax.tree_util.tree_leaves_with_path(args):
        if not leaf.ndim or len(leaf) != len(y):
            name = f"args{jax.tree_util.keystr(path)}"
            raise ValueError(f"{name} has shape {leaf.shape}: expected a leading axis of {len(y)}, one for each image")
    operator.check(y, args)
    if isinstance(operator, PictureOperator) and not whole and y.min() >= 0 and y.max() > 0:
        warnings.warn("images hold no value below 0: float images are expected in [-1, 1], not [0, 1]", stacklevel=4)
    return y, args


def try_out(problem: Problem, image_shape: tuple[int, int, int], y: np.ndarray, args: Any, save: Saved) -> None:
    """Refuses an operator that does not make y's shape, and args that nothing reads; traced, nothing is computed."""

    def read(eta: Any, image: Array, y: Array, args: Any) -> Any:
        prediction = problem.operator(eta, image, args)
        if prediction.shape != y.shape:
            kind = type(problem.operator).__name__
            raise ValueError(f"{kind} makes {prediction.shape} of an image {image.shape}: y has shape {y.shape}")
        nothing = jnp.zeros(())
        seen = Observation(jnp.int32(0), nothing, nothing, image, eta)
        traced = [jnp.asarray(one(seen, args)) for one in save if callable(one)]
        return problem.loss(prediction, y, args), problem.operator.visible(y, args), traced

    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), (y, args))
    eta = jax.eval_shape(lambda: problem.operator.init(jax.random.key(0), image_shape))
    jaxpr = jax.make_jaxpr(read)(eta, jax.ShapeDtypeStruct(image_shape, jnp.float32), *one).jaxpr
    named = jax.tree_util.tree_leaves_with_path(args)
    reading = [*(variable for equation in jaxpr.eqns for variable in equation.invars), *jaxpr.outvars]
    used = {variable for variable in reading if not isinstance(variable, Literal)}
    unread = [
        f"args{jax.tree_util.keystr(path)}"
        for (path, _), variable in zip(named, jaxpr.invars[len(jaxpr.invars) - len(named) :], strict=True)
        if variable not in used
    ]
    if unread:
        raise ValueError(f"{', '.join(unread)}: neither the operator nor the loss nor `save` reads it; leave it out")


def estimated(operator: Any, image_shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Names of what an operator estimates."""
    return tuple(jax.eval_shape(lambda: operator.estimates(operator.init(jax.random.key(0), image_shape))))


def visible(problem: Problem, y: np.ndarray, args: Any) -> np.ndarray:
    """y with 0 where it shows nothing: the random key depends on what is shown alone."""
    if getattr(type(problem.operator), "visible", None) is Operator.visible:
        return y
    shown = np.asarray(jax.vmap(problem.operator.visible)(y, args))
    return np.where(np.isnan(shown), np.zeros((), y.dtype), y)


def first_variables(
    problem: Problem, image_shape: tuple[int, int, int], u0: Any, given: tuple[np.ndarray, Any], samples: int
) -> Any:
    """u0 with leaves `[N * S, ...]`, or a state; None where there is none.

    Args:
        given: (y, args).

    Raises:
        ValueError: it is not of this problem and these observations.
    """
    if u0 is None:
        return None
    y, args = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), given)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    fresh: Any = jax.eval_shape(lambda p, y, k, a: loop.start(p, image_shape, y, k, a), problem, y, keys, args)
    count = len(given[0])
    if isinstance(u0, State):
        u0 = u0._replace(traces={})
        if _kinds(u0) != _kinds(fresh) or len(u0.k) != count * samples:
            what = f"a state of {len(u0.k)} restorations"
            raise ValueError(f"u0 is {what}, or of another problem: expected {count * samples} of this one")
        return u0
    given_as: Any = jax.tree.structure(u0)
    expected: Any = jax.tree.structure(fresh.u)
    if given_as != expected:
        raise ValueError(f"u0 is {given_as}: expected {expected}, as the generator has it")

    def flat(leaf: Any, one: Any) -> np.ndarray:
        leaf, shape = np.asarray(leaf, one.dtype), one.shape[1:]
        if leaf.shape == (count, *shape):
            leaf = np.repeat(leaf[:, None], samples, axis=1)
        if leaf.shape != (count, samples, *shape):
            raise ValueError(f"u0 has shape {leaf.shape}: expected {(count, *shape)}, one for each image")
        return leaf.reshape(count * samples, *shape)

    return jax.tree.map(flat, u0, fresh.u)


def _kinds(state: Any) -> Any:
    """What tells the states of two problems apart."""
    leaves, structure = jax.tree.flatten(state)
    return str(structure), [(leaf.shape[1:], leaf.dtype) for leaf in leaves]


def image_keys(y: np.ndarray, seed: int, samples: int = 1) -> Array:
    """One key per (image, sample) pair, from the seed and the image's own bytes."""
    digests = np.array([zlib.crc32(image.tobytes()) for image in y], np.uint32)
    return _folded(jax.random.key(seed), digests, samples)


@partial(jax.jit, static_argnames=("samples",))
def _folded(key: Array, digests: Array, samples: int) -> Array:
    fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
    return fold(jax.vmap(jax.random.fold_in, (None, 0))(key, digests), jnp.arange(samples)).reshape(-1)
