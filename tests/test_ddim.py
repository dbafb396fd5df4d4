"""DDIM against diffusers' scheduler, the closed form of the detached gradient, and finite differences."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from networks import ConstantNoise, LinearNoise, images, tiny_prior

from diip_jax.ddim import invert, reverse
from diip_jax.schedule import Schedule, steps


def _diffusers_reverse(prior, z, stride):
    """BIRD's sampler: diffusers' DDIM scheduler with clipping and the direction re-derived from the clipped x0."""
    scheduler = DDIMScheduler(beta_start=1e-4, beta_end=0.02, clip_sample=True, set_alpha_to_one=True)
    scheduler.set_timesteps(1000 // stride)
    x = torch.from_numpy(np.array(z))
    for t in scheduler.timesteps:
        eps = torch.from_numpy(np.array(prior.eps(jnp.asarray(x.numpy()), jnp.full(len(x), int(t)))))
        x = scheduler.step(eps, t, x, eta=0.0, use_clipped_model_output=True).prev_sample
    return x.numpy()


@pytest.mark.parametrize("stride", [100, 250])
def test_reverse_equals_the_diffusers_scheduler(stride):
    prior = tiny_prior()
    z = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    ours, theirs = reverse(prior, z, stride), _diffusers_reverse(prior, z, stride)
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    print(f"relative error of reverse, stride {stride}: {error:.1e}")
    assert error < 2e-5
    assert np.std(theirs) > 0.1


def test_paper_variant_is_algorithm_2_in_float64():
    gain, stride = 0.3, 200
    z = np.random.default_rng(0).standard_normal((1, 4, 4, 3))
    alpha_bar = np.append(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[::-1], 1.0)[::-1]  # index t = 0 .. 1000
    x = z
    for t in range(1000, 0, -stride):
        x0_hat = (x - np.sqrt(1 - alpha_bar[t]) * gain * x) / np.sqrt(alpha_bar[t])
        omega = (x - np.sqrt(alpha_bar[t]) * x0_hat) / np.sqrt(1 - alpha_bar[t])
        x = np.sqrt(alpha_bar[t - stride]) * x0_hat + np.sqrt(1 - alpha_bar[t - stride]) * omega
    ours = reverse(LinearNoise(gain), jnp.asarray(z, jnp.float32), stride, variant="paper")
    np.testing.assert_allclose(ours, x, rtol=1e-4)


def _closed_form_factor(prior, z, stride):
    """Diagonal of d x_0 / d z with the network's output held constant: see BIRD's released code.

    Step t -> t': sqrt(ab'/ab) where x0 was not clipped, sqrt((1 - ab')/(1 - ab)) where it was; at the last step
    (ab' = 1) a clipped pixel gives 0.
    """
    visited = steps(prior.schedule, stride, "code")
    x, factor = np.asarray(z, np.float64), np.ones(z.shape)
    for t, ab, ab_next in zip(*(np.asarray(a, np.float64) for a in visited), strict=True):
        eps = np.asarray(prior.eps(jnp.asarray(x, jnp.float32), jnp.full(len(x), int(t))), np.float64)
        x0 = (x - np.sqrt(1 - ab) * eps) / np.sqrt(ab)
        clipped = np.abs(x0) > 1
        factor *= np.where(clipped, np.sqrt((1 - ab_next) / (1 - ab)), np.sqrt(ab_next / ab))
        x0 = np.clip(x0, -1, 1)
        x = np.sqrt(ab_next) * x0 + np.sqrt(1 - ab_next) * (x - np.sqrt(ab) * x0) / np.sqrt(1 - ab)
    return factor


def test_detached_gradient_equals_its_closed_form():
    prior = tiny_prior()
    # A small start keeps part of the pixels unclipped all the way, so that every kind of factor occurs.
    z = 0.1 * jax.random.normal(jax.random.key(3), (1, 16, 16, 3))
    weights = jax.random.normal(jax.random.key(4), z.shape)
    gradient = jax.grad(lambda z: jnp.sum(weights * reverse(prior, z, 250)))(z)
    expected = np.asarray(weights) * _closed_form_factor(prior, z, 250)
    error = np.abs(gradient - expected).max() / np.abs(expected).max()
    print(f"relative error of the detached gradient: {error:.1e}; pixels with gradient: {np.mean(expected != 0):.2f}")
    assert error < 1e-6
    assert 0.05 < np.mean(expected != 0) < 0.95


def test_detached_gradient_without_clipping_is_one_over_root_alpha_bar():
    z = jnp.zeros((1, 2, 2, 3))
    gradient = jax.grad(lambda z: jnp.sum(reverse(ConstantNoise(0.0), z, 100)))(z)
    np.testing.assert_allclose(gradient, 1 / np.sqrt(Schedule().alpha_bar[900]), rtol=1e-6)
    np.testing.assert_allclose(gradient, 60.83, rtol=1e-4)


@pytest.mark.parametrize("remat", ["none", "block"])
def test_what_is_computed_again_does_not_change_the_full_gradient(remat):
    prior, z = tiny_prior(), jax.random.normal(jax.random.key(0), (1, 16, 16, 3))

    def gradient(remat):
        return jax.grad(lambda z: jnp.sum(reverse(prior, z, 250, gradient="full", remat=remat) ** 2))(z)

    np.testing.assert_allclose(gradient(remat), gradient("step"), rtol=1e-3, atol=1e-3)


def test_full_gradient_equals_finite_differences_in_float64():
    with jax.enable_x64(True):
        prior = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), tiny_prior())
        z = jax.random.normal(jax.random.key(5), (1, 16, 16, 3), jnp.float64)
        direction = jax.random.normal(jax.random.key(6), z.shape, jnp.float64)
        network = dataclasses.replace(prior, dtype="float64")

        def value(z):
            return jnp.sum(jnp.sin(reverse(network, z, 250, variant="paper", gradient="full")))

        slope = jnp.vdot(jax.grad(value)(z), direction)
        h = 1e-6
        central = (value(z + h * direction) - value(z - h * direction)) / (2 * h)
        print(f"full gradient against finite differences: {float(abs(slope / central - 1)):.1e}")
        assert abs(slope / central - 1) < 1e-6
        detached = jnp.vdot(
            jax.grad(lambda z: jnp.sum(jnp.sin(reverse(network, z, 250, variant="paper"))))(z), direction
        )
        assert abs(detached / central - 1) > 1e-3


def test_detached_gradient_never_differentiates_the_network():
    """The network's convolutions occur once in the program of the detached gradient, more often in the full one's."""
    prior, z = tiny_prior(), jnp.zeros((1, 16, 16, 3))

    def convolutions(gradient):
        loss = jax.grad(lambda z: jnp.sum(reverse(prior, z, 250, gradient=gradient) ** 2))
        return str(jax.make_jaxpr(loss)(z)).count("conv_general_dilated")

    forward = str(jax.make_jaxpr(lambda z: prior.eps(z, jnp.zeros(1)))(z)).count("conv_general_dilated")
    assert convolutions("detached") == forward
    assert convolutions("full") > 2 * forward


def test_invert_is_exact_for_a_constant_prediction():
    prior = ConstantNoise(0.1)
    x = 0.3 * images(1)
    z = invert(prior, x)
    np.testing.assert_allclose(reverse(prior, z), x, atol=2e-5)


def test_more_fixed_point_iterations_invert_more_exactly():
    prior, x = LinearNoise(0.4), 0.2 * images(1)
    errors = [
        float(jnp.abs(reverse(prior, invert(prior, x, 200, fixed_point_iterations=n), 200) - x).max())
        for n in (1, 4, 32)
    ]
    assert errors[0] > 5 * errors[1] > 5 * errors[2]
    assert errors[2] < 1e-4


def test_unknown_gradient_and_iterations_are_refused():
    with pytest.raises(ValueError, match="remat='all': expected one of none, step, block"):
        inspect.unwrap(reverse)(ConstantNoise(0.0), jnp.zeros((1, 2, 2, 3)), remat="all")
    with pytest.raises(ValueError, match="gradient='true': expected one of detached, full"):
        inspect.unwrap(reverse)(ConstantNoise(0.0), jnp.zeros((1, 2, 2, 3)), gradient="true")
    with pytest.raises(ValueError, match="fixed_point_iterations=0: expected at least 1"):
        invert(ConstantNoise(0.0), jnp.zeros((1, 2, 2, 3)), fixed_point_iterations=0)
