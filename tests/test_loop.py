"""The loop against a plain Python reading of the method, with a generator whose every value is known."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import images

from diip_jax import loop
from diip_jax.generators import Generator, to_sphere
from diip_jax.operators import Known, Operator, identity, mask
from diip_jax.stopping import Observation, StoppingRule, Verdict, budget, laplacian_variance, loss_slope

SHAPE = (6, 5, 3)


def _generator(project=lambda u: u):
    return Generator(lambda key: 0.1 * jax.random.normal(key, SHAPE), lambda u, key: jnp.tanh(u), project, SHAPE)


def _problem(**plugs):
    settings = {
        "generator": _generator(),
        "operator": identity(),
        "optimizer": optax.adam(0.05),
        "operator_optimizer": optax.identity(),
        "stopping": budget(1000),
        "max_iterations": 12,
    }
    return loop.Problem(**(settings | plugs))


def _run(problem, y, keys=None, until=None, references=None):
    keys = jax.random.split(jax.random.key(0), len(y)) if keys is None else keys
    state = jax.jit(lambda: loop.start(problem, y, keys))()
    until = jnp.int32(problem.max_iterations if until is None else until)
    return jax.jit(lambda s: loop.advance(problem, y, s, until, references))(state)


def _stops_when_loss_below(threshold):
    """A rule of a user's own."""

    def update(state, seen: Observation):
        return state, Verdict(seen.loss < threshold, jnp.zeros_like(seen.k), seen.k, seen.image)

    return StoppingRule(lambda image, y: (), update, ("threshold",))


@pytest.fixture
def y():
    return 0.8 * images(3, 8)[:, :6, :5]


@pytest.mark.parametrize("project", [False, True])
def test_iterates_equal_a_plain_adam_loop(y, project):
    problem = _problem(generator=_generator(to_sphere if project else lambda u: u))
    state = _run(problem, y)
    keys = jax.random.split(jax.random.key(0), 3)
    for i in range(3):
        u = np.asarray(problem.generator.init(jax.random.split(keys[i])[0]), np.float64)
        m = v = 0.0
        target = np.asarray(y[i], np.float64)
        for k in range(12):
            x = np.tanh(u)
            np.testing.assert_allclose(state.traces["loss"][i, k], np.mean((x - target) ** 2), rtol=1e-4)
            np.testing.assert_allclose(
                state.traces["laplacian_variance"][i, k], laplacian_variance(jnp.asarray(x, jnp.float32)), rtol=1e-3
            )
            if k == 11:
                np.testing.assert_allclose(state.verdict.image[i], x, atol=1e-4)
            g = 2 * (x - target) / x.size * (1 - x**2)
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            u = u - 0.05 * (m / (1 - 0.9 ** (k + 1))) / (np.sqrt(v / (1 - 0.999 ** (k + 1))) + 1e-8)
            u = u * np.sqrt(u.size / np.sum(u * u)) if project else u
    assert state.k.tolist() == [12, 12, 12]


def test_each_image_stops_on_its_own_and_then_stays_frozen(y):
    # The third image is what the generator nearly makes at the start: its loss is small at once.
    y = y.at[2].set(0.0)
    problem = _problem(stopping=_stops_when_loss_below(0.015), max_iterations=200)
    state = _run(problem, y)
    assert state.k[2] < state.k[0] and state.k[2] < state.k[1]
    assert [problem.rule.names[r] for r in state.verdict.reason.tolist()] == ["threshold"] * 3
    for i in range(3):
        k = int(state.k[i])
        losses = state.traces["loss"][i]
        assert losses[k - 1] < 0.015 <= losses[k - 2] if k > 1 else losses[0] < 0.015
        assert np.isnan(losses[k:]).all() and np.isfinite(losses[:k]).all()
        assert int(state.verdict.selected[i]) == k - 1
        # What is returned is the image whose loss was recorded, not one after a further step.
        np.testing.assert_allclose(np.mean((state.verdict.image[i] - y[i]) ** 2), losses[k - 1], rtol=1e-4)


def test_an_image_does_not_depend_on_its_batch(y):
    problem, keys = _problem(), jax.random.split(jax.random.key(0), 3)
    together = _run(problem, y, keys)
    alone = _run(problem, y[1:2], keys[1:2])
    turned = _run(problem, y[::-1], keys[::-1])
    np.testing.assert_allclose(together.verdict.image[1], alone.verdict.image[0], atol=1e-6)
    np.testing.assert_allclose(together.verdict.image, turned.verdict.image[::-1], atol=1e-6)


def _in_numbers(state):
    return state._replace(key=jax.random.key_data(state.key))


def test_one_by_one_is_the_same_as_vmapped(y):
    problem = _problem(stopping=_stops_when_loss_below(0.1), max_iterations=40)
    state = loop.start(problem, y.at[2].set(0.0), jax.random.split(jax.random.key(0), 3))
    vmapped, mapped = (
        jax.jit(lambda s, flag=flag: loop.advance(problem, y, s, jnp.int32(40), one_by_one=flag))(state)
        for flag in (False, True)
    )
    assert len(set(vmapped.k.tolist())) > 1
    chex.assert_trees_all_close(_in_numbers(vmapped), _in_numbers(mapped), rtol=1e-5, atol=1e-6)


def test_advancing_in_pieces_is_advancing_at_once(y):
    problem = _problem(stopping=loss_slope(0.02, k_min=2))
    keys = jax.random.split(jax.random.key(0), 3)
    at_once = _run(problem, y, keys)
    state = loop.start(problem, y, keys)
    for until in (1, 5, 6, 12):
        state = jax.jit(lambda s, n: loop.advance(problem, y, s, n))(state, jnp.int32(until))
        assert (state.k <= until).all()
    chex.assert_trees_all_close(_in_numbers(at_once), _in_numbers(state), rtol=1e-6, atol=1e-7)


def test_the_operators_parameters_are_learned_too(y):
    gain = Operator(
        init=lambda key: jnp.ones(()), apply=lambda eta, x, known: eta * x, estimates=lambda eta: {"gain": eta}
    )
    problem = _problem(operator=gain, operator_optimizer=optax.adam(0.1), max_iterations=30)
    state = _run(problem, 0.3 * y)
    assert (state.eta < 0.9).all()
    # What it was at every iterate is kept; the state is one step ahead of the last.
    np.testing.assert_array_equal(state.estimates["gain"][:, 0], 1.0)
    assert (np.abs(state.estimates["gain"][:, -1] - state.eta) < 0.1).all()
    fixed = _run(problem._replace(operator_optimizer=optax.set_to_zero()), 0.3 * y)
    np.testing.assert_array_equal(fixed.eta, 1.0)


def test_what_is_known_of_each_image_reaches_its_operator(y):
    shown = jnp.ones((3, 6, 5), bool).at[1, 2:5, 1:4].set(False)
    problem = _problem(operator=mask(), max_iterations=60)
    state = loop.start(problem, y, jax.random.split(jax.random.key(0), 3))
    first = jax.vmap(problem.generator.apply)(state.u, state.key)
    run = jax.jit(lambda y: loop.advance(problem, y, state, jnp.int32(60), known=Known(mask=shown)))
    done, other = run(y), run(jnp.where(shown[..., None], y, 0.7))
    # Nothing is learned of what is hidden, and the loss is that of what is shown, whatever stands beside it.
    chex.assert_trees_all_close(_in_numbers(done), _in_numbers(other), rtol=1e-6)
    restored = done.verdict.image
    for i in range(3):
        np.testing.assert_allclose(done.traces["loss"][i, -1], np.mean((restored[i] - y[i])[shown[i]] ** 2), rtol=1e-4)
    np.testing.assert_allclose(restored[~shown], first[~shown], atol=1e-6)
    assert np.abs(restored[shown] - first[shown]).mean() > 0.1


def test_stopping_rules_see_nothing_of_what_is_hidden(y):
    shown = jnp.ones((3, 6, 5), bool).at[1, 2:5, 1:4].set(False)
    rule = StoppingRule(lambda image, y: y, budget(3).update, ("budget",))
    problem = _problem(operator=mask(), stopping=rule)
    state = loop.start(problem, y, jax.random.split(jax.random.key(0), 3), known=Known(mask=shown))
    seen = state.rule[1]
    np.testing.assert_array_equal(np.isnan(seen).all(-1), ~shown)
    np.testing.assert_array_equal(seen[shown], y[shown])


def test_padding_is_never_worked_on(y):
    problem = _problem()
    keys = jax.random.split(jax.random.key(0), 3)
    state = loop.start(problem, y, keys, jnp.array([False, True, False]))
    state = loop.advance(problem, y, state, jnp.int32(12))
    assert state.k.tolist() == [12, 0, 12]


def test_monitors_see_image_and_reference_and_change_nothing(y):
    distance = ("distance", lambda image, reference: jnp.abs(image - reference).mean())
    plain, watched = _run(_problem(), y), _run(_problem(monitors=(distance,)), y, references=0.5 * y)
    np.testing.assert_allclose(
        watched.traces["distance"][:, -1], jnp.abs(watched.verdict.image - 0.5 * y).mean((1, 2, 3)), rtol=1e-5
    )
    np.testing.assert_array_equal(plain.verdict.image, watched.verdict.image)


def test_a_diverging_image_keeps_its_last_finite_iterate_and_its_neighbours_go_on(y):
    def apply(u, key):
        return jnp.where(jnp.abs(u).max() > 0.45, jnp.nan, 1.0) * jnp.tanh(u)

    y = y.at[0].set(0.0)
    problem = _problem(generator=_generator()._replace(apply=apply))
    state = _run(problem, y)
    names = [problem.rule.names[r] for r in state.verdict.reason.tolist()]
    assert names == ["budget", "diverged", "diverged"]
    assert np.isfinite(state.verdict.image).all()
    assert state.verdict.selected.tolist()[1] == int(state.k[1]) - 2
