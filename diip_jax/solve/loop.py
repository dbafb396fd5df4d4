"""THE LOOP: restoration as inversion, min over (u, eta) of E(H_eta(g(u), args), y), each image stopped by its own rule.

DIIP, BIRD and DIP are this loop with other plugs (see `diip_jax.methods`). One iteration of one image is `_iterate`; it
runs in a `lax.while_loop` until the image's own stop, and `advance` vmaps that over the images of a batch: one XLA
program for the whole batch, in which an image that has stopped is frozen.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from diip_jax.array_types import Any, Array, Bool, Count, Flag, Float, Int, Key, Scalar
from diip_jax.plugs.operators import PictureOperator
from diip_jax.plugs.rules import Candidate, Observation, laplacian_variance
from diip_jax.plugs.rules.rule import current, either
from diip_jax.solve.problem import Problem, Result

# Beside the loop's own names: what an operator estimates, and functions (seen, args) -> array by their names.
Saved = Sequence[str | Callable[[Observation, Any], Array]]


class State(NamedTuple):
    """Where an image is in its optimisation; every leaf has a leading batch axis outside `vmap`.

    Attributes:
        k: index of the next iterate to evaluate; the number of iterates evaluated so far.
        evaluations: of networks, so far.
        key: what the keys of the iterates are made from.
        u: the generator's variable; cache: what it carries from iteration to iteration. eta: the operator's parameters.
        u_moments, eta_moments: states of the two optimisers.
        rule: state of the stopping rule.
        finite: the last iterate whose loss was finite; k is -1 where there was none.
        result: a `Result`; reason: index of the rule that fired, into `problem.rule.names`.
        chosen: what is returned when the optimisation ends here.
        traces: by name `[length, ...]`, NaN where not reached.
    """

    k: Count
    evaluations: Count
    key: Key[Array, "..."]
    u: Any
    cache: Any
    eta: Any
    u_moments: Any
    eta_moments: Any
    rule: Any
    finite: Candidate
    result: Int[Array, "..."]
    reason: Int[Array, "..."]
    chosen: Candidate
    traces: dict[str, Float[Array, "..."]]


def start(
    problem: Problem,
    image_shape: tuple[int, int, int],
    y: Array,
    keys: Key[Array, " B"],
    args: Any = None,
    u0: Any = None,
    stopped: Bool[Array, " B"] | None = None,
    *,
    one_by_one: bool = False,
) -> State:
    """The state before the first iteration, without traces (see `traced`).

    Args:
        image_shape: (H, W, C) of the restored images.
        y: the observations `[B, ...]`.
        keys: one random key per image; an image's result depends on its own key alone.
        args: what is known of each image beside y, a pytree with a leading axis B.
        u0: first variables, with a leading axis B; None: the generator's.
        stopped: images that take no part (padding of an incomplete batch).
        one_by_one: see `advance`.
    """
    stopped = jnp.zeros(len(y), bool) if stopped is None else stopped

    def start_one(y: Array, key: Array, args: Any, u0: Any, stopped: Flag) -> State:
        generator, operator = problem.generator, problem.operator
        u_key, eta_key, iterates_key = jax.random.split(key, 3)
        eta = operator.start(eta_key, image_shape, y, args)
        guess = operator.guess(eta, y, args)

        def begin() -> tuple[Any, Any]:
            if u0 is not None:
                u = generator.project(u0)
            else:
                u = generator.start(u_key, image_shape, None if guess is None else guess.image)
            return u, generator.init_cache(u)

        learned = operator.learned(eta)
        nothing = Candidate(jnp.int32(-1), jnp.zeros(image_shape), learned)
        evaluations = jnp.int32(generator.first_evaluations)
        if guess is None or u0 is not None:
            (u, cache), settled, chosen = begin(), jnp.zeros((), bool), nothing
        else:
            # Where images go one by one a settled one costs nothing further.
            settled = guess.settled | stopped
            none = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(begin))
            u, cache = jax.lax.cond(settled, lambda: none, begin)
            evaluations = jnp.where(settled, 0, evaluations)
            chosen = either(guess.settled, Candidate(jnp.int32(0), _shown(operator, y, guess.image), learned), nothing)
        state = State(
            k=jnp.int32(0),
            evaluations=evaluations + operator.first_evaluations(eta),
            key=iterates_key,
            u=u,
            cache=cache,
            eta=eta,
            u_moments=problem.optimizer.init(u),
            eta_moments=problem.operator_optimizer.init(eta),
            rule=problem.rule.start(nothing, operator.visible(y, args)),
            finite=chosen,
            result=jnp.where(stopped, Result.STOPPED, jnp.where(settled, Result.SETTLED, Result.RUNNING)).astype(
                jnp.int32
            ),
            reason=jnp.int32(0),
            chosen=chosen,
            traces={},
        )
        return jax.tree.map(_strong, state)

    return _each(start_one, one_by_one)(y, keys, args, u0, stopped)


def traced(
    problem: Problem, state: State, save: Saved, length: int, args: Any = None, *, one_by_one: bool = False
) -> State:
    """A state with empty traces of so many iterates.

    Raises:
        ValueError: a name in `save` that the problem does not have.
    """

    def empty(state: State, args: Any) -> dict[str, Array]:
        values = jax.eval_shape(lambda: _values(problem, save, _nothing_seen(state), args))
        return {name: jnp.full((length, *value.shape), jnp.nan) for name, value in values.items()}

    return state._replace(traces=_each(empty, one_by_one)(state, args) if save else {})


def resumed(problem: Problem, state: State, stopped: Bool[Array, " B"]) -> State:
    """A state that goes on where it was: images that only the budget or a callback had stopped run again."""
    again = (state.result == Result.BUDGET) | (state.result == Result.STOPPED) | (state.result == Result.RUNNING)
    ended = jnp.where(state.k < problem.max_iterations, Result.RUNNING, Result.BUDGET)
    result = jnp.where(stopped, Result.STOPPED, jnp.where(again, ended, state.result))
    return state._replace(result=result.astype(jnp.int32))


def advance(
    problem: Problem,
    y: Array,
    state: State,
    until: Count | Int[Array, " B"],
    args: Any = None,
    save: Saved = (),
    *,
    one_by_one: bool = False,
) -> State:
    """Iterates every image until it stops by its rule, or until iterate `until` has been evaluated.

    Called once with `until=problem.max_iterations` it does a whole restoration; called with growing `until` it does the
    same in pieces, so that a caller can look in between.

    Args:
        until: number of iterates, a scalar or `[B]`; traced, so that its value never recompiles.
        args: what is known of each image beside y.
        save: the names that `traced` was given.
        one_by_one: the images of the batch one after the other instead of vmapped. On a CPU that costs little, spends
            nothing on images that have stopped, and makes an image's result independent of its batch to the last bit.
    """

    def advance_one(state: State, y: Array, args: Any, until: Count) -> State:
        def active(state: State) -> Flag:
            return (state.result == Result.RUNNING) & (state.k < until)

        return jax.lax.while_loop(active, lambda state: _iterate(problem, state, y, args, save), state)

    return _each(advance_one, one_by_one)(state, y, args, jnp.broadcast_to(until, state.k.shape))


def advance_to_first_end(
    problem: Problem, y: Array, state: State, until: Int[Array, " B"], args: Any = None, save: Saved = ()
) -> State:
    """`advance`, vmapped, but all pause once one of them has stopped or has come to its own `until`.

    A slot that is free can then be given to another image, see `diip_jax.solve.refill`. One that was done before its
    first iteration is free at once: then nobody iterates.

    Args:
        until: as that of `advance`; not above k for what takes no part.
    """

    def active(state: State) -> Bool[Array, " B"]:
        return (state.result == Result.RUNNING) & (state.k < until)

    began = active(state)
    done_before = ((state.result != Result.RUNNING) & (state.k < until)).any()

    def nobody_has_ended(state: State) -> Flag:
        return began.any() & (active(state) == began).all() & ~done_before

    def iterate(state: State) -> State:
        after = jax.vmap(lambda state, y, args: _iterate(problem, state, y, args, save))(state, y, args)
        return jax.tree.map(
            lambda old, new: jnp.where(began.reshape(-1, *[1] * (new.ndim - 1)), new, old), state, after
        )

    return jax.lax.while_loop(nobody_has_ended, iterate, state)


def _iterate(problem: Problem, state: State, y: Array, args: Any, save: Saved) -> State:
    """One iteration of one image: evaluate iterate k, let the rule judge it, step to the variables of iterate k + 1."""
    generator, operator = problem.generator, problem.operator

    def energy(u: Any, eta: Any) -> tuple[Scalar, tuple[Array, Any]]:
        image, cache = generator.apply(u, state.cache, jax.random.fold_in(state.key, state.k), state.k)
        return problem.loss(operator(eta, image, args), y, args), (image, cache)

    (loss, (image, cache)), (u_grad, eta_grad) = jax.value_and_grad(energy, argnums=(0, 1), has_aux=True)(
        state.u, state.eta
    )

    # Behind the loss: y holds what colour the image takes on to its grey, and what is seen of it is as grey as y.
    image = _shown(operator, y, image)
    seen = Observation(state.k, loss, laplacian_variance(image), image, operator.learned(state.eta))
    rule, verdict = problem.rule.judge(state.rule, seen)
    finite = jnp.isfinite(loss)
    last_finite = either(finite, current(seen), state.finite)
    out_of_budget = jnp.where(state.k + 1 >= problem.max_iterations, Result.BUDGET, Result.RUNNING)
    result = jnp.where(finite, jnp.where(verdict.stop, Result.RULE, out_of_budget), Result.DIVERGED)

    u_step, u_moments = problem.optimizer.update(u_grad, state.u_moments, state.u)
    eta_step, eta_moments = problem.operator_optimizer.update(eta_grad, state.eta_moments, state.eta)

    values = _values(problem, save, seen, args)
    after = State(
        k=state.k + 1,
        evaluations=state.evaluations + generator.evaluations,
        key=state.key,
        u=generator.project(optax.apply_updates(state.u, u_step)),
        cache=cache,
        eta=optax.apply_updates(state.eta, eta_step),
        u_moments=u_moments,
        eta_moments=eta_moments,
        rule=rule,
        finite=last_finite,
        result=result,
        reason=jnp.where(verdict.stop & finite, verdict.reason, state.reason),
        chosen=either(finite, verdict.chosen, last_finite),
        traces={name: trace.at[state.k].set(values[name]) for name, trace in state.traces.items()},
    )
    return _typed_as(state, after)


def _shown(operator: Any, y: Array, image: Array) -> Array:
    """An image in the colours that its observation has."""
    return operator.in_colours_of(y, image) if isinstance(operator, PictureOperator) else image


def _typed_as(before: State, after: State) -> State:
    """What is carried has the types that it began with: a plug may return a number of another width."""
    return jax.tree.map(lambda old, new: new if is_key(old) else jnp.asarray(new, old.dtype), before, after)


def is_key(leaf: Any) -> bool:
    """Whether an array holds random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _values(problem: Problem, save: Saved, seen: Observation, args: Any) -> dict[str, Array]:
    """What is to be traced of an iterate, by name."""
    known = {"loss": seen.loss, "laplacian_variance": seen.laplacian_variance}
    known |= problem.operator.estimates(seen.eta)
    if unknown := [name for name in save if isinstance(name, str) and name not in known]:
        raise ValueError(f"save={', '.join(unknown)}: expected of {', '.join(known)}, or functions (seen, args)")
    return {name_of(one): known[one] if isinstance(one, str) else jnp.asarray(one(seen, args)) for one in save}


def name_of(saved: str | Callable[..., Any]) -> str:
    """What the trace of an entry of `save` is called."""
    return saved if isinstance(saved, str) else getattr(saved, "__name__", type(saved).__name__)


def _nothing_seen(state: State) -> Observation:
    loss = jnp.zeros(())
    return Observation(state.k, loss, loss, state.chosen.image, state.chosen.eta)


def _each(function: Callable[..., Any], one_by_one: bool) -> Callable[..., Any]:
    """The function on every image of a batch: vmapped, or one after the other."""
    if one_by_one:
        return lambda *batch: jax.lax.map(lambda one: function(*one), batch)
    return jax.vmap(function)


def _strong(leaf: Any) -> Array:
    """Without JAX's weak types: a Python number in a plug's first state would be another program's type later."""
    array = jnp.asarray(leaf)
    return array if is_key(array) else array.astype(array.dtype)
