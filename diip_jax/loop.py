"""THE LOOP: restoration as inversion, min over (u, eta) of E(H_eta(g(u)), y), each image stopped by its own rule.

DIIP, BIRD and DIP are this loop with other plugs (see `diip_jax.methods`). One iteration of one image is `_iterate`; it
runs in a `lax.while_loop` until the image's own stop, and `advance` vmaps that over the images of a batch: one XLA
program for the whole batch, in which an image that has stopped is frozen.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from diip_jax.array_types import Any, Array, Bool, Count, Flag, Float, Image, Images, Key, Observed, Scalar
from diip_jax.generators import Generator
from diip_jax.operators import Known, Operator
from diip_jax.stopping import Observation, StoppingRule, Verdict, budget, diverged, first_of, laplacian_variance, shown


def mean_squared_error(prediction: Observed, y: Observed, known: Known) -> Scalar:
    """E: mean over channels and pixels of (prediction - y)^2, in units of the [-1, 1] range squared.

    Where there is a mask only the pixels count that y shows, whatever it holds at the others.
    """
    error = (prediction - y) ** 2
    return jnp.mean(error) if known.mask is None else jnp.mean(error, where=known.mask[..., None])


class Problem(NamedTuple):
    """The plugs of a restoration method.

    Attributes:
        generator: g, and the set that its variable u lives in.
        operator: H_eta.
        optimizer: optax transformation for u.
        operator_optimizer: optax transformation for eta.
        stopping: when to stop and which iterate to return; the loop adds the iteration budget.
        max_iterations: the budget, and the length of the traces.
        objective: E(prediction, y, known), a scalar.
        monitors: extra traces by name, each (image, reference) -> scalar; they see the reference image, which nothing
            else in the loop does.
    """

    generator: Generator
    operator: Operator
    optimizer: optax.GradientTransformation
    operator_optimizer: optax.GradientTransformation
    stopping: StoppingRule
    max_iterations: int
    objective: Callable[[Observed, Observed, Known], Scalar] = mean_squared_error
    monitors: tuple[tuple[str, Callable[[Image, Image], Scalar]], ...] = ()

    @property
    def rule(self) -> StoppingRule:
        """The stopping rule, with the iteration budget and the guard against divergence that every run has."""
        return first_of(diverged(), self.stopping, budget(self.max_iterations))


class State(NamedTuple):
    """Where an image is in its optimisation; every leaf has a leading batch axis outside `vmap`.

    Attributes:
        k: index of the next iterate to evaluate; the number of iterates evaluated so far.
        key: what the keys of the iterates are made from.
        u: the generator's variable. eta: the operator's parameters.
        u_moments, eta_moments: states of the two optimisers.
        rule: state of the stopping rule.
        verdict: the last verdict; its image is what is returned when the optimisation ends here.
        traces: by name `[max_iterations]`, NaN where not reached: "loss", "laplacian_variance" and the monitors.
        estimates: by name `[max_iterations, ...]`, likewise: what eta stood for at every iterate, such as "kernel". A
            rule may return an earlier iterate, and the operator that goes with it is found here.
    """

    k: Count
    key: Key[Array, "..."]
    u: Any
    eta: Any
    u_moments: Any
    eta_moments: Any
    rule: Any
    verdict: Verdict
    traces: dict[str, Float[Array, " K"]]
    estimates: dict[str, Float[Array, "K ..."]]


def start(
    problem: Problem,
    y: Float[Array, "B h w C"],
    keys: Key[Array, " B"],
    stopped: Bool[Array, " B"] | None = None,
    known: Known = Known(),
) -> State:
    """The state before the first iteration.

    Args:
        y: the degraded images `[B, h, w, C]`, float32 in [-1, 1].
        keys: one random key per image; an image's result depends on its own key alone.
        stopped: images that take no part (padding of an incomplete batch).
        known: what is known of each image's degradation; of what is hidden the stopping rules see nothing either.
    """
    if stopped is None:
        stopped = jnp.zeros(y.shape[0], bool)

    def start_one(y: Observed, key: Array, stopped: Flag, known: Known) -> State:
        u_key, eta_key, iterates_key = jax.random.split(key, 3)
        u, eta = problem.generator.init(u_key), problem.operator.init(eta_key)
        image = jnp.zeros_like(y, shape=problem.generator.image_shape)
        k = jnp.zeros_like(y, shape=(), dtype=jnp.int32)

        def not_reached(value: Any) -> Array:
            return jnp.full_like(y, jnp.nan, shape=(problem.max_iterations, *value.shape))

        names = ["loss", "laplacian_variance", *(name for name, _ in problem.monitors)]
        return State(
            k=k,
            key=iterates_key,
            u=u,
            eta=eta,
            u_moments=problem.optimizer.init(u),
            eta_moments=problem.operator_optimizer.init(eta),
            rule=problem.rule.init(image, shown(y, known.mask)),
            verdict=Verdict(stopped, k, k, image),
            traces={name: not_reached(k) for name in names},
            estimates=jax.tree.map(not_reached, jax.eval_shape(problem.operator.estimates, eta)),
        )

    return jax.vmap(start_one)(y, keys, stopped, known)


def advance(
    problem: Problem,
    y: Float[Array, "B h w C"],
    state: State,
    until: Count,
    references: Images | None = None,
    known: Known = Known(),
    *,
    one_by_one: bool = False,
) -> State:
    """Iterates every image until it stops by its rule, or until iterate `until` has been evaluated.

    Called once with `until=problem.max_iterations` it does a whole restoration; called with growing `until` it does the
    same in pieces, so that a caller can look in between.

    Args:
        until: number of iterates; a traced scalar, so that its value never recompiles.
        references: clean images for the monitors, `[B, H, W, C]`; needed only where there are monitors.
        known: what is known of each image's degradation; what the operator needs.
        one_by_one: the images of the batch one after the other instead of vmapped. On a CPU that costs little, spends
            nothing on images that have stopped, and makes an image's result independent of its batch to the last bit.
    """

    def advance_one(state: State, y: Observed, reference: Any, known: Known) -> State:
        def active(state: State) -> Flag:
            return ~state.verdict.stop & (state.k < until)

        return jax.lax.while_loop(active, lambda state: _iterate(problem, state, y, reference, known), state)

    if one_by_one:
        return jax.lax.map(lambda each: advance_one(*each), (state, y, references, known))
    return jax.vmap(advance_one)(state, y, references, known)


def _iterate(problem: Problem, state: State, y: Observed, reference: Any, known: Known) -> State:
    """One iteration of one image: evaluate iterate k, let the rule judge it, step to the variables of iterate k + 1."""
    generator, operator = problem.generator, problem.operator

    def energy(u: Any, eta: Any) -> tuple[Scalar, Image]:
        image = generator.apply(u, jax.random.fold_in(state.key, state.k))
        return problem.objective(operator.apply(eta, image, known), y, known), image

    (loss, image), (u_grad, eta_grad) = jax.value_and_grad(energy, argnums=(0, 1), has_aux=True)(state.u, state.eta)

    seen = Observation(state.k, loss, laplacian_variance(image), image)
    rule, verdict = problem.rule.update(state.rule, seen)

    u_step, u_moments = problem.optimizer.update(u_grad, state.u_moments, state.u)
    eta_step, eta_moments = problem.operator_optimizer.update(eta_grad, state.eta_moments, state.eta)

    values = {"loss": loss, "laplacian_variance": seen.laplacian_variance}
    values |= {name: monitor(image, reference) for name, monitor in problem.monitors}

    def keep(trace: Array, value: Array) -> Array:
        return trace.at[state.k].set(value)

    return State(
        k=state.k + 1,
        key=state.key,
        u=generator.project(optax.apply_updates(state.u, u_step)),
        eta=optax.apply_updates(state.eta, eta_step),
        u_moments=u_moments,
        eta_moments=eta_moments,
        rule=rule,
        verdict=verdict,
        traces=jax.tree.map(keep, state.traces, values),
        estimates=jax.tree.map(keep, state.estimates, operator.estimates(state.eta)),
    )
