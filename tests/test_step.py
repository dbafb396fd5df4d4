"""A step of the training against its formulas. Several devices and processes: test_train.py."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import uint8_images, unchecked

from diip_jax import distribute
from diip_jax.models import DDPMUNetConfig
from diip_jax.prior import params_sha256, random_prior
from diip_jax.train.objective import Objective, draw_timesteps, loss
from diip_jax.train.step import Optimisation, initial_state, learning_rate, make_update, rounds

# One level: it compiles in a second.
MODEL = DDPMUNetConfig(8, (8,), (False,), blocks_per_level=1, norm_groups=4, middle_attention=False)
PRIOR = dataclasses.replace(random_prior(MODEL), prediction="v_prediction")
MESH = distribute.device_mesh(1)


@functools.cache
def update_of(optimisation, dtype="float32", remat=False):
    template = dataclasses.replace(PRIOR, params=None).with_dtype(dtype)
    return make_update(template, Objective(), optimisation, MESH, remat_blocks=remat)


def trained(steps=3, seed=0, dtype="float32", remat=False, **settings):
    """The state after some steps from `PRIOR` on, and the metrics of each."""
    optimisation = Optimisation(max_steps=10, batch_size=4, warmup_steps=2, **settings)
    state = distribute.whole(initial_state(PRIOR.params, optimisation, seed), MESH)
    metrics = []
    for n in range(steps):
        pictures = distribute.joined(uint8_images(4, side=8, seed=n), MESH)
        state, of_step = update_of(optimisation, dtype, remat)(state, pictures)
        metrics.append(of_step)
    return state, metrics


def by_hand(rates=(1e-4, 2e-4, 3e-4), decay=1e-3, clip=1.0):
    """The same, of a whole batch at once and with AdamW written out."""
    params = averaged = jax.tree.map(np.asarray, PRIOR.params)
    m = v = jax.tree.map(np.zeros_like, params)
    losses, norms = [], []

    @jax.jit
    def value_and_grad(params, x_0, noise, t):
        of = lambda params: loss(Objective(), dataclasses.replace(PRIOR, params=params), x_0, noise, t)  # noqa: E731
        return jax.value_and_grad(of)(params)

    for n, rate in enumerate(rates):
        x_0 = jnp.asarray(uint8_images(4, side=8, seed=n)) / 127.5 - 1
        key_t, key_noise = jax.random.split(jax.random.fold_in(jax.random.key(0), n))
        t = draw_timesteps(Objective(), PRIOR.schedule, 4, key_t)
        value, g = value_and_grad(params, x_0, jax.random.normal(key_noise, x_0.shape), t)
        norm = size_of(g)
        losses.append(float(value))
        norms.append(norm)
        g = jax.tree.map(lambda g, norm=norm: np.asarray(g) * min(1.0, clip / norm), g)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g**2, v, g)
        correct = 1 - 0.9 ** (n + 1), 1 - 0.99 ** (n + 1)

        def adamw(p, m, v, rate=rate, correct=correct):
            return p - rate * (m / correct[0] / (np.sqrt(v / correct[1]) + 1e-8) + decay * p)

        params = jax.tree.map(adamw, params, m, v)
        d = min(0.9995, (1 + n) / (10 + n))
        averaged = jax.tree.map(lambda a, p, d=d: d * a + (1 - d) * p, averaged, params)
    return params, averaged, losses, norms


def size_of(tree):
    """The Euclidean norm of all leaves together, by NumPy, which compiles nothing."""
    return float(np.sqrt(sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in jax.tree.leaves(tree))))


def assert_close(given, expected):
    """Of what the steps have changed, nearly all is the same: Adam goes as far for a gradient of 1e-9 as for any."""
    moved = size_of(jax.tree.map(np.subtract, expected, PRIOR.params))
    error = size_of(jax.tree.map(np.subtract, given, expected)) / moved
    print(f"relative error {error:.1e}")
    assert error < 1e-3


def test_steps_are_those_of_the_formulas():
    state, metrics = trained()
    params, averaged, losses, norms = by_hand()
    np.testing.assert_allclose([m.loss for m in metrics], losses, rtol=1e-5)
    np.testing.assert_allclose([m.gradient_norm for m in metrics], norms, rtol=1e-4)
    assert int(state.step) == 3
    assert_close(state.params, params)
    assert_close(state.averaged, averaged)


def test_rounds_do_not_change_the_gradient():
    _, (whole,) = trained(steps=1, images_at_once=4)
    for at_once in (1, 2):
        _, (split,) = trained(steps=1, images_at_once=at_once)
        np.testing.assert_allclose(split.loss, whole.loss, rtol=1e-5)
        np.testing.assert_allclose(split.gradient_norm, whole.gradient_norm, rtol=1e-4)


def test_the_same_steps_give_the_same_bits():
    first, second, other = (params_sha256(jax.device_get(trained(seed=seed)[0].averaged)) for seed in (3, 3, 4))
    assert first == second != other


def test_remat_changes_nothing_but_memory():
    (_, (plain,)), (_, (remat,)) = trained(steps=1), trained(steps=1, remat=True)
    np.testing.assert_allclose(plain.loss, remat.loss, rtol=1e-6)
    np.testing.assert_allclose(plain.gradient_norm, remat.gradient_norm, rtol=1e-4)


def test_bfloat16_computes_in_it_and_keeps_float32_weights():
    _, (exact,) = trained(steps=1)
    state, (metrics,) = trained(steps=1, dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves((state.params, state.averaged))} == {jnp.dtype("float32")}
    assert float(metrics.loss) == pytest.approx(float(exact.loss), rel=0.02)
    assert float(metrics.loss) != float(exact.loss)


def test_learning_rates():
    def rates(**settings):
        rate = learning_rate(Optimisation(max_steps=10, learning_rate=1.0, warmup_steps=3, **settings))
        return [float(rate(n)) for n in range(10)]

    linear = rates(decay="linear")
    np.testing.assert_allclose(linear[:4], [0.25, 0.5, 0.75, 1.0], atol=1e-6)
    np.testing.assert_allclose(linear[3:], 1 - np.arange(7) / 7, atol=1e-6)
    np.testing.assert_allclose(rates()[3:], (1 + np.cos(np.pi * np.arange(7) / 7)) / 2, atol=1e-6)
    assert rates(decay="none")[3:] == [1.0] * 7
    without = learning_rate(Optimisation(max_steps=10, learning_rate=1.0, warmup_steps=0, decay="linear"))
    assert float(without(0)) == 1.0 and float(without(9)) == pytest.approx(0.1)


def test_rounds():
    assert rounds(Optimisation(batch_size=16), MESH) == 8  # two at once on a CPU
    assert rounds(Optimisation(batch_size=3), MESH) == 3
    assert rounds(Optimisation(batch_size=16, images_at_once=16), MESH) == 1
    for at_once in (0, 3, 32):
        with pytest.raises(ValueError, match=f"images_at_once={at_once}: expected a divisor of the 16 images"):
            rounds(Optimisation(batch_size=16, images_at_once=at_once), MESH)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay": "step"}, "decay='step': expected one of cosine, linear, none"),
        ({"max_steps": 0}, "max_steps=0: expected a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan: expected a number above 0"),
        ({"ema_decay": 1.0}, "ema_decay=1.0: expected at least 0, below 1"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0: expected at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        unchecked(Optimisation, **{**dataclasses.asdict(Optimisation()), **settings})
