"""What `restore` is given, checked and made ready: observations, args, first variables, random keys."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from diip_jax.array_types import Array
from diip_jax.pixels import from_uint8
from diip_jax.plugs.operators import Operator, PictureOperator
from diip_jax.plugs.rules import Observation
from diip_jax.solve import loop
from diip_jax.solve.loop import Saved, State
from diip_jax.solve.problem import Problem


def as_array(name: str, value: Any) -> np.ndarray:
    """A value as a NumPy array.

    Raises:
        ValueError: it is a tracer, a tensor of torch that records gradients or lies on a device, or no array.
    """
    if isinstance(value, jax.core.Tracer):
        raise ValueError(
            f"{name}: a tracer, expected an array; restore compiles its own program and cannot be called under jit, "
            "vmap or grad: call it outside, with all images at once"
        )
    try:
        array = np.asarray(value)
    except Exception as error:  # torch raises RuntimeError or TypeError, NumPy ValueError, others what they like
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{name}: {type(value).__name__} is no array for NumPy ({reason}); convert it first"
        ) from error
    if array.dtype == object:
        raise ValueError(f"{name}: {type(value).__name__} of objects, expected an array of numbers; convert it first")
    return array


def refuse_tracers(problem: Any) -> None:
    """Raises ValueError where an array of the problem is a tracer."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(problem):
        if isinstance(leaf, jax.core.Tracer):
            as_array(f"problem{jax.tree_util.keystr(path)}", leaf)


def whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number, not a truth value, of at least `least`. Raises ValueError."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name}={value!r}: expected a whole number")
    if value < least:
        raise ValueError(f"{name}={value}: expected at least {least}")
    return int(value)


def _refuse_gaps(y: np.ndarray) -> None:
    """Raises ValueError where a picture holds NaN or infinity, and says where."""
    gaps = np.argwhere(~np.isfinite(y))
    if len(gaps):
        first = tuple(map(int, gaps[0]))
        raise ValueError(
            f"images hold {y[first]} at {list(first)}, in all {len(gaps)} values that are not finite: expected float "
            "in [-1, 1]; what is unknown is said by a mask, see Mask"
        )


def observed(operator: Any, y: np.ndarray | Array, args: Any) -> tuple[np.ndarray, Any]:
    """(y as float32 or complex64, args as NumPy arrays); what does not fit is refused."""
    y = as_array("images", y)
    args = jax.tree_util.tree_map_with_path(
        lambda path, leaf: as_array(f"args{jax.tree_util.keystr(path)}", leaf), args
    )
    if not y.ndim or not len(y):
        raise ValueError(f"images have shape {y.shape}: expected [N, H, W, C] with at least one image")
    whole = y.dtype == np.uint8
    if whole:
        y = np.asarray(from_uint8(y))
    elif jnp.issubdtype(y.dtype, jnp.complexfloating):
        y = y.astype(np.complex64)
    elif jnp.issubdtype(y.dtype, jnp.floating):
        y = y.astype(np.float32)
        y = _of_8_bits(y) if isinstance(operator, PictureOperator) and y.size else y
    else:
        raise ValueError(f"images have dtype {y.dtype}: expected uint8, or float in [-1, 1]")
    for path, leaf in jax.tree_util.tree_leaves_with_path(args):
        if not leaf.ndim or len(leaf) != len(y):
            name = f"args{jax.tree_util.keystr(path)}"
            raise ValueError(f"{name} has shape {leaf.shape}: expected a leading axis of {len(y)}, one for each image")
    if isinstance(operator, PictureOperator):
        _refuse_gaps(y)
    operator.check(y, args)
    if isinstance(operator, PictureOperator) and not whole and y.min() >= 0 and y.max() > 0:
        warnings.warn("images hold no value below 0: float images are expected in [-1, 1], not [0, 1]", stacklevel=4)
    return y, args


def _of_8_bits(y: np.ndarray) -> np.ndarray:
    """Pictures whose every value is one of 0..255 in [-1, 1] exactly as uint8 gives them; the others as they are.

    Such a picture has been scaled in float32 or in float64, and the last bits tell which; a long optimisation would
    enlarge them.
    """
    whole = np.rint((y + 1) * np.float32(127.5))
    exact = whole / np.float32(127.5) - np.float32(1)
    near = (np.abs(y - exact) <= 1e-6) & (np.abs(exact) <= 1)
    return np.where(near.reshape(len(y), -1).all(1).reshape(-1, *[1] * (y.ndim - 1)), exact, y)


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
    """y with 0 where it shows nothing: the result depends on what is shown alone."""
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
    keys = jax.eval_shape(lambda: jax.random.split(_key(0), 1))
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
        leaf, shape = as_array("u0", leaf).astype(one.dtype), one.shape[1:]
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


def image_keys(y: np.ndarray, seed: Any, samples: int = 1) -> Array:
    """One key per (image, sample) pair: of the seed and the number of the sample, the same for every image.

    Of the images only their number matters: a picture of a series, one saved anew or given in another type starts from
    the noise that the others start from.

    Raises:
        ValueError: the seed is no whole number from 0 to 2**32 - 1; of a larger one JAX would drop the upper bits.
    """
    if isinstance(seed, bool | np.bool_) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed!r}: expected a whole number from 0 to 2**32 - 1")
    each = jax.vmap(jax.random.fold_in, (None, 0))(_key(int(seed)), jnp.arange(samples, dtype=jnp.uint32))
    return each[np.tile(np.arange(samples), len(y))]


def _key(seed: int) -> Array:
    """A key of the generator that JAX has by default, also where another one is configured."""
    return jax.random.key(np.uint32(seed), impl="threefry2x32")
