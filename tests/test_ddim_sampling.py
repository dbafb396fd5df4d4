"""DDIM against diffusers' scheduler, the closed form of the detached gradient, and finite differences."""

import dataclasses
import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from networks import ConstantNoise, LinearNoise, images, tiny_prior
from torch_networks import diffusers_network, prior_of

from diip_jax.convert.scheduler_configs import diffusion_from_diffusers
from diip_jax.ddim_sampling import invert, reverse
from diip_jax.models import DDPMUNetConfig
from diip_jax.schedule import Sampler, Schedule, steps


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


SMALL = DDPMUNetConfig(8, (8, 16), (False, True), blocks_per_level=1, norm_groups=4)
BOUNDS = (
    {},
    {"clip_sample_range": 2.5},
    {"clip_sample": False},
    {"thresholding": True, "sample_max_value": 3.0, "dynamic_thresholding_ratio": 0.9},
)
# Every prediction, spacing and terminal noise in 10 steps, and a part of them in 50; all bounds and ends go round.
CHAINS = [
    (10 if n % 4 else 50, prediction, zero_snr, spacing, BOUNDS[n % 4] | {"set_alpha_to_one": n % 3 > 0})
    for n, (prediction, zero_snr, spacing) in enumerate(
        case
        for case in itertools.product(
            ("epsilon", "v_prediction", "sample"), (False, True), ("leading", "trailing", "linspace")
        )
        if case[:2] != ("epsilon", True)
    )
] + [
    (50, "v_prediction", True, "trailing", {}),
    (50, "sample", True, "linspace", {"clip_sample_range": 2.5}),
    (50, "epsilon", False, "leading", {"steps_offset": 1, "thresholding": True, "sample_max_value": 3.0}),
]


@pytest.fixture(scope="module")
def small():
    network = diffusers_network(SMALL)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of so small a network more would only wait for each other
    yield network, prior_of(network, SMALL)
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("count", "prediction", "zero_snr", "spacing", "more"), CHAINS)
def test_the_whole_chain_is_that_of_diffusers(count, prediction, zero_snr, spacing, more, small):
    """diffusers' network and scheduler against what the conversion makes of them, with every key of the scheduler."""
    network, prior = small
    scheduler = DDIMScheduler(
        prediction_type=prediction, rescale_betas_zero_snr=zero_snr, timestep_spacing=spacing, **more
    )
    diffusion = diffusion_from_diffusers({"_class_name": "DDIMScheduler", **scheduler.config})
    prior = dataclasses.replace(
        prior, schedule=diffusion.schedule, prediction=diffusion.prediction, sampler=diffusion.sampler
    )
    if zero_snr:
        # Its own rescaling in float32 leaves an error of 1e-3 in 1 - alpha_bar_0, and so one of 1e-4 in the image.
        betas = rescale_zero_terminal_snr(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
        scheduler.alphas_cumprod = torch.cumprod(1 - betas, dim=0)
        if not scheduler.config.set_alpha_to_one:
            scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    scheduler.set_timesteps(count)
    z = np.random.default_rng(0).standard_normal((2, 8, 8, 3), np.float32)
    x = torch.from_numpy(z.transpose(0, 3, 1, 2))
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t).sample, t, x, use_clipped_model_output=True).prev_sample
    theirs = x.numpy().transpose(0, 2, 3, 1)
    ours = reverse(prior, jnp.asarray(z), 1000 // count, gradient="full")
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    ends = "terminal SNR 0" if zero_snr else "as trained"
    print(f"relative error: {error:.1e} ({count} steps, {prediction}, {ends}, {spacing}, {more})")
    assert error <= 1e-5
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
    visited = steps(prior.schedule, stride)
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


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_detached_gradient_holds_eps_whatever_the_network_predicts(prediction):
    prior = dataclasses.replace(tiny_prior(), prediction=prediction)
    z = 0.1 * jax.random.normal(jax.random.key(3), (1, 16, 16, 3))
    gradient = jax.grad(lambda z: jnp.sum(reverse(prior, z, 250)))(z)
    visited, x, expected = steps(prior.schedule, 250), z, np.ones(z.shape)
    for t, ab, ab_next in zip(*(np.asarray(a, np.float64) for a in visited), strict=True):
        x0 = np.asarray(prior.denoise(x, jnp.full(1, int(t))).x0_hat, np.float64)
        expected *= np.where(np.abs(x0) > 1, np.sqrt((1 - ab_next) / (1 - ab)), np.sqrt(ab_next / ab))
        x0 = np.clip(x0, -1, 1)
        x = np.sqrt(ab_next) * x0 + np.sqrt(1 - ab_next) * (x - np.sqrt(ab) * x0) / np.sqrt(1 - ab)
        x = jnp.asarray(x, jnp.float32)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)
    assert 0.05 < np.mean(expected != 0) < 0.95


def test_detached_gradient_is_diagonal_with_a_threshold():
    sampler = Sampler(thresholding=True, sample_max_value=10.0, dynamic_thresholding_ratio=0.5)
    prior = dataclasses.replace(tiny_prior(), sampler=sampler)
    z = jax.random.normal(jax.random.key(3), (1, 16, 16, 3))
    _, tangent = jax.jvp(lambda z: reverse(prior, z, 500), (z,), (jnp.zeros_like(z).at[0, 3, 5, 1].set(1),))
    other = jnp.ones_like(z, bool).at[0, 3, 5, 1].set(False)
    assert not np.any(tangent[other])
    assert np.any(jax.grad(lambda z: jnp.sum(reverse(prior, z, 500)))(z))


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_a_terminal_alpha_bar_of_0_has_a_full_gradient_and_no_detached_one(prediction):
    schedule = Schedule(rescale_betas_zero_snr=True)
    prior = dataclasses.replace(tiny_prior(), schedule=schedule, prediction=prediction)
    z = jax.random.normal(jax.random.key(0), (1, 16, 16, 3))
    gradient = jax.grad(lambda z: jnp.sum(reverse(prior, z, 250, variant="paper", gradient="full")))(z)
    assert np.isfinite(gradient).all() and np.any(gradient)
    assert np.isfinite(invert(prior, images(1), 250, variant="paper")).all()
    with pytest.raises(ValueError, match=r"gradient='detached': alpha_bar is 0 at t = 999 .*; use gradient='full'"):
        reverse(prior, z, 250, variant="paper")
    assert np.isfinite(jax.grad(lambda z: jnp.sum(reverse(prior, z, 250)))(z)).all()  # ends at 750


def test_noise_that_nothing_clips_is_refused_where_it_is_amplified():
    prior, z = tiny_prior(), jax.random.normal(jax.random.key(0), (1, 16, 16, 3))
    cosine = dataclasses.replace(prior, schedule=Schedule(beta_schedule="cosine"))
    with pytest.raises(ValueError, match=r"alpha_bar is 2\.4e-09 at t = 999 .* noise 20\d+ times, and nothing"):
        reverse(cosine, z, 250, variant="paper")
    unclipped = dataclasses.replace(cosine, sampler=Sampler(timestep_spacing="trailing", clip_sample=False))
    with pytest.raises(ValueError, match="nothing clips it; use variant='code' and a clipping sampler"):
        reverse(unclipped, z, 250)
    clipped = dataclasses.replace(cosine, sampler=Sampler(timestep_spacing="trailing"))
    v = dataclasses.replace(cosine, prediction="v_prediction")
    assert np.abs(reverse(clipped, z, 250)).max() <= 1
    assert np.abs(reverse(v, z, 250, variant="paper")).max() < 10


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
