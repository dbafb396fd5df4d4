"""The loop against a plain Python reading of the method, with a generator whose every value is known."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import images

from diip_jax.plug import plug
from diip_jax.plugs.generators import Generator, to_sphere
from diip_jax.plugs.losses import masked_mse
from diip_jax.plugs.operators import Identity, Mask, Operator
from diip_jax.plugs.optimizers import opt
from diip_jax.plugs.rules import LossSlope, Rule, laplacian_variance
from diip_jax.solve import loop
from diip_jax.solve.problem import Problem, Result

SHAPE = (6, 5, 3)


@plug()
class Tanh(Generator):
    """g(u) = tanh(u), on the sphere or not; from some size of u on NaN."""

    sphere: bool = False
    breaks_at: float = np.inf

    def init(self, key, image_shape):
        return 0.1 * jax.random.normal(key, image_shape)

    def __call__(self, u, key):
        return jnp.where(jnp.abs(u).max() > self.breaks_at, jnp.nan, 1.0) * jnp.tanh(u)

    def project(self, u):
        return to_sphere(u) if self.sphere else u


@plug()
class Noisy(Tanh):
    """With noise that is drawn anew for every iterate."""

    def __call__(self, u, key):
        return super().__call__(u, key) + 0.1 * jax.random.normal(key, u.shape)


@plug(data=("threshold",))
class Below(Rule):
    """A rule of a user's own."""

    threshold: float

    def __call__(self, state, seen):
        return state, seen.loss < self.threshold


@plug()
class Gain(Operator):
    def init(self, key, image_shape):
        return jnp.ones(())

    def __call__(self, eta, x, args):
        return eta * x

    def estimates(self, eta):
        return {"gain": eta}


@plug()
class Seen(Rule):
    """Remembers what it was shown of y."""

    def init(self, image, y):
        return y

    def __call__(self, state, seen):
        return state, False


def _problem(**plugs):
    settings = {"generator": Tanh(), "optimizer": opt(optax.adam, 0.05), "max_iterations": 12}
    return Problem(**(settings | plugs))


def _run(problem, y, keys=None, until=None, args=None, save=("loss", "laplacian_variance"), one_by_one=False):
    keys = jax.random.split(jax.random.key(0), len(y)) if keys is None else keys
    until = jnp.int32(problem.max_iterations if until is None else until)

    def run(problem, y, keys, until, args):
        state = loop.start(problem, SHAPE, y, keys, args, one_by_one=one_by_one)
        state = loop.traced(problem, state, save, length, args, one_by_one=one_by_one)
        return loop.advance(problem, y, state, until, args, save, one_by_one=one_by_one)

    length = int(problem.max_iterations)
    return jax.jit(run)(problem, y, keys, until, args)


@pytest.fixture
def y():
    return 0.8 * images(3, 8)[:, :6, :5]


@pytest.mark.parametrize("sphere", [False, True])
def test_iterates_equal_a_plain_adam_loop(y, sphere):
    problem = _problem(generator=Tanh(sphere))
    state = _run(problem, y)
    keys = jax.random.split(jax.random.key(0), 3)
    for i in range(3):
        u = np.asarray(problem.generator.init(jax.random.split(keys[i], 3)[0], SHAPE), np.float64)
        m = v = 0.0
        target = np.asarray(y[i], np.float64)
        for k in range(12):
            x = np.tanh(u)
            np.testing.assert_allclose(state.traces["loss"][i, k], np.mean((x - target) ** 2), rtol=1e-4)
            np.testing.assert_allclose(
                state.traces["laplacian_variance"][i, k], laplacian_variance(jnp.asarray(x, jnp.float32)), rtol=1e-3
            )
            if k == 11:
                np.testing.assert_allclose(state.chosen.image[i], x, atol=1e-4)
            g = 2 * (x - target) / x.size * (1 - x**2)
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            u = u - 0.05 * (m / (1 - 0.9 ** (k + 1))) / (np.sqrt(v / (1 - 0.999 ** (k + 1))) + 1e-8)
            u = u * np.sqrt(u.size / np.sum(u * u)) if sphere else u
        np.testing.assert_allclose(state.u[i], u, atol=1e-4)
    assert state.k.tolist() == [12, 12, 12] and state.result.tolist() == [Result.BUDGET] * 3


def test_each_image_stops_on_its_own_and_then_stays_frozen(y):
    # The third image is what the generator nearly makes at the start: its loss is small at once.
    y = y.at[2].set(jnp.array([0.0, 0.01, 0.0]))
    state = _run(_problem(rule=Below(0.015), max_iterations=200), y)
    assert state.k[2] < state.k[0] and state.k[2] < state.k[1]
    assert state.result.tolist() == [Result.RULE] * 3
    for i in range(3):
        k, losses = int(state.k[i]), np.asarray(state.traces["loss"][i])
        assert losses[k - 1] < 0.015 <= losses[k - 2] if k > 1 else losses[0] < 0.015
        assert np.isnan(losses[k:]).all() and np.isfinite(losses[:k]).all()
        assert int(state.chosen.k[i]) == k - 1
        # What is returned is the image whose loss was recorded, not one after a further step.
        np.testing.assert_allclose(np.mean((state.chosen.image[i] - y[i]) ** 2), losses[k - 1], rtol=1e-4)


def test_an_image_does_not_depend_on_its_batch(y):
    problem, keys = _problem(), jax.random.split(jax.random.key(0), 3)
    together, alone, turned = (
        _run(problem, y, keys),
        _run(problem, y[1:2], keys[1:2]),
        _run(problem, y[::-1], keys[::-1]),
    )
    np.testing.assert_allclose(together.chosen.image[1], alone.chosen.image[0], atol=1e-6)
    np.testing.assert_allclose(together.chosen.image, turned.chosen.image[::-1], atol=1e-6)


def _in_numbers(state):
    return state._replace(key=jax.random.key_data(state.key))


def test_one_by_one_is_the_same_as_vmapped(y):
    problem = _problem(rule=Below(0.1), max_iterations=40)
    vmapped, mapped = (_run(problem, y.at[2].set(0.0), one_by_one=flag) for flag in (False, True))
    assert len(set(vmapped.k.tolist())) > 1
    chex.assert_trees_all_close(_in_numbers(vmapped), _in_numbers(mapped), rtol=1e-5, atol=1e-6)


def test_advancing_in_pieces_is_advancing_at_once(y):
    problem = _problem(rule=LossSlope(0.02, k_min=2))
    at_once = _run(problem, y, save=())
    state = loop.start(problem, SHAPE, y, jax.random.split(jax.random.key(0), 3))
    for until in (1, 5, 6, 12):
        state = jax.jit(lambda s, n: loop.advance(problem, y, s, n))(state, jnp.int32(until))
        assert (state.k <= until).all()
    chex.assert_trees_all_close(_in_numbers(at_once), _in_numbers(state), rtol=1e-6, atol=1e-7)


def test_a_resumed_state_goes_on_where_only_the_budget_had_ended_it(y):
    short, long = _problem(rule=Below(0.1), max_iterations=3), _problem(rule=Below(0.1), max_iterations=40)
    ended = _run(short, y.at[2].set(0.0), save=())
    assert ended.result.tolist() == [Result.BUDGET, Result.BUDGET, Result.RULE]
    again = loop.resumed(long, ended, jnp.array([False, True, False]))
    assert again.result.tolist() == [Result.RUNNING, Result.STOPPED, Result.RULE]
    assert loop.resumed(short, ended, jnp.zeros(3, bool)).result.tolist() == ended.result.tolist()


def test_the_operators_parameters_are_learned_too(y):
    problem = _problem(operator=Gain(), operator_optimizer=opt(optax.adam, 0.1), max_iterations=30)
    state = _run(problem, 0.3 * y, save=("gain",))
    assert (state.eta < 0.9).all()
    # What it was at every iterate is kept; the state is one step ahead of the last, the candidate is not.
    np.testing.assert_array_equal(state.traces["gain"][:, 0], 1.0)
    np.testing.assert_array_equal(state.traces["gain"][:, -1], state.chosen.eta)
    assert (np.abs(state.chosen.eta - state.eta) < 0.1).all() and (state.chosen.eta != state.eta).all()
    frozen = dataclasses.replace(problem, operator_optimizer=opt(optax.sgd, 1e-30))
    np.testing.assert_array_equal(_run(frozen, 0.3 * y).eta, 1.0)


def test_what_is_known_of_each_image_reaches_its_operator_and_loss(y):
    shown = jnp.ones((3, 6, 5), bool).at[1, 2:5, 1:4].set(False)
    problem = _problem(operator=Mask(), loss=masked_mse, max_iterations=60)
    first = jnp.tanh(loop.start(problem, SHAPE, y, jax.random.split(jax.random.key(0), 3), {"mask": shown}).u)
    done, other = (_run(problem, given, args={"mask": shown}) for given in (y, jnp.where(shown[..., None], y, 0.7)))
    # Nothing is learned of what is hidden, and the loss is that of what is shown, whatever stands beside it.
    chex.assert_trees_all_close(_in_numbers(done), _in_numbers(other), rtol=1e-6)
    restored = done.chosen.image
    for i in range(3):
        np.testing.assert_allclose(done.traces["loss"][i, -1], np.mean((restored[i] - y[i])[shown[i]] ** 2), rtol=1e-4)
    np.testing.assert_allclose(restored[~shown], first[~shown], atol=1e-6)
    assert np.abs(restored[shown] - first[shown]).mean() > 0.1


def test_stopping_rules_see_nothing_of_what_is_hidden(y):
    shown = jnp.ones((3, 6, 5), bool).at[1, 2:5, 1:4].set(False)
    problem = _problem(operator=Mask(), rule=Seen())
    seen = loop.start(problem, SHAPE, y, jax.random.split(jax.random.key(0), 3), {"mask": shown}).rule
    np.testing.assert_array_equal(np.isnan(seen).all(-1), ~shown)
    np.testing.assert_array_equal(seen[shown], y[shown])


def test_padding_is_never_worked_on(y):
    problem = _problem()
    keys = jax.random.split(jax.random.key(0), 3)
    state = loop.start(problem, SHAPE, y, keys, stopped=jnp.array([False, True, False]))
    assert loop.advance(problem, y, state, jnp.int32(12)).k.tolist() == [12, 0, 12]


def test_what_is_saved_changes_nothing(y):
    def distance(seen, args):
        return jnp.abs(seen.image - args["clean"]).mean()

    plain, watched = _run(_problem(), y), _run(_problem(), y, args={"clean": 0.5 * y}, save=("loss", distance))
    np.testing.assert_allclose(
        watched.traces["distance"][:, -1], jnp.abs(watched.chosen.image - 0.5 * y).mean((1, 2, 3)), rtol=1e-5
    )
    np.testing.assert_array_equal(plain.chosen.image, watched.chosen.image)
    with pytest.raises(ValueError, match="save=kernel: expected of loss, laplacian_variance, or functions"):
        _run(_problem(), y, save=("kernel",))


def test_a_diverging_image_keeps_its_last_finite_iterate_and_its_neighbours_go_on(y):
    state = _run(_problem(generator=Tanh(breaks_at=0.45)), y.at[0].set(0.0))
    assert state.result.tolist() == [Result.BUDGET, Result.DIVERGED, Result.DIVERGED]
    assert np.isfinite(state.chosen.image).all()
    assert state.chosen.k.tolist()[1] == int(state.k[1]) - 2


def test_first_variables_may_be_given(y):
    state = loop.start(_problem(), SHAPE, y, jax.random.split(jax.random.key(0), 3), u0=y)
    np.testing.assert_array_equal(state.u, y)
    on_sphere = loop.start(_problem(generator=Tanh(True)), SHAPE, y, jax.random.split(jax.random.key(0), 3), u0=y)
    np.testing.assert_allclose(jnp.linalg.norm(on_sphere.u.reshape(3, -1), axis=1), 90**0.5, rtol=1e-5)


def test_identity_has_nothing_to_learn(y):
    assert jax.tree.leaves(_run(_problem(operator=Identity()), y).eta) == []


def test_every_iterate_has_a_key_of_its_own(y):
    def first_value(seen, args):
        return seen.image[0, 0, 0]

    still = _problem(generator=Noisy(), optimizer=opt(optax.sgd, 1e-30))
    values = np.asarray(_run(still, y, save=(first_value,)).traces["first_value"])
    assert values.shape == (3, 12) and len(np.unique(values)) == 36
