import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diip_jax.plugs.optimizers import Groups, Turn, decay, opt

PARAMS = {"kernel": jnp.arange(4.0), "gain": jnp.float32(2.0)}
GRADIENTS = [jax.tree.map(lambda p, n=n: jnp.cos(p + n), PARAMS) for n in range(6)]


def path(optimizer, params=PARAMS, gradients=GRADIENTS):
    """The variable after every step; the optimiser crosses jit."""

    @jax.jit
    def step(optimizer, params, state, gradient):
        change, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, change), state

    state, seen = optimizer.init(params), []
    for gradient in gradients:
        params, state = step(optimizer, params, state, gradient)
        seen.append(params)
    return seen


def assert_same(ours, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, theirs)


def transformed(transformation):
    state, params, seen = transformation.init(PARAMS), PARAMS, []
    for gradient in GRADIENTS:
        change, state = transformation.update(gradient, state, params)
        params = optax.apply_updates(params, change)
        seen.append(params)
    return seen


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (opt(optax.adam, 0.1), optax.adam(0.1)),
        (opt(optax.sgd, 0.1, momentum=0.9, nesterov=True), optax.sgd(0.1, momentum=0.9, nesterov=True)),
        (opt(optax.adamw, 0.1, b1=0.8, weight_decay=0.01), optax.adamw(0.1, b1=0.8, weight_decay=0.01)),
        (
            opt(optax.adam, decay(optax.cosine_decay_schedule, 0.1, decay_steps=6, alpha=0.1)),
            optax.adam(optax.cosine_decay_schedule(0.1, 6, 0.1)),
        ),
        (opt(optax.adam, optax.linear_schedule(0.1, 0.0, 6)), optax.adam(optax.linear_schedule(0.1, 0.0, 6))),
    ],
)
def test_it_is_the_transformation_of_its_maker_and_settings(ours, theirs):
    assert_same(path(ours), transformed(theirs))


def test_rates_are_data_and_equal_settings_are_one_program():
    structures = {
        jax.tree.structure(opt(optax.adam, decay(optax.cosine_decay_schedule, rate, 6), b1=0.8)) for rate in (0.1, 0.2)
    }
    assert len(structures) == 1
    assert jax.tree.leaves(opt(optax.adam, 0.3)) == [0.3]
    assert jax.tree.structure(opt(optax.adam, 0.3)) != jax.tree.structure(opt(optax.adam, 0.3, b1=0.8))


def test_groups_have_optimisers_of_their_own():
    seen = path(Groups({"kernel": opt(optax.adam, 0.1), "gain": opt(optax.sgd, 0.01)}))
    alone = {
        name: path(one, PARAMS[name], [g[name] for g in GRADIENTS])
        for name, one in (("kernel", opt(optax.adam, 0.1)), ("gain", opt(optax.sgd, 0.01)))
    }
    for n in range(6):
        assert_same(seen[n], {name: steps[n] for name, steps in alone.items()})


def test_turns_are_taken():
    seen = [PARAMS["gain"], *(params["gain"] for params in path(Turn(opt(optax.adam, 0.1), 1, 3)))]
    assert [bool(a != b) for a, b in itertools.pairwise(seen)] == [False, True, False, False, True, False]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: opt(optax.adam, 0.0), "learning_rate=0.0: expected above 0"),
        (
            lambda: Groups({"kernel": opt(optax.adam, 0.1)}).init(PARAMS),
            "optimisers are given for kernel: the variable has kernel, gain",
        ),
        (lambda: Groups({"kernel": opt(optax.adam, 0.1)}).init(jnp.ones(3)), "the variable has no groups"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
