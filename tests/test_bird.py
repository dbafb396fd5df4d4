import dataclasses
import inspect
import itertools
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diip_jax.methods.inversion import Inversion, NoiseInversion
from diip_jax.operators import Known
from networks import TINY, images, tiny_prior, unchecked
from torch.nn import functional as F
from torch_networks import DDPMNetwork, prior_of, randomise

import diip_jax
from diip_jax import loop
from diip_jax.methods import bird, method_named
from diip_jax.methods.bird import BIRD

RNG = np.random.default_rng(0)
KERNEL = RNG.random((5, 5)).astype(np.float32)
KERNEL /= KERNEL.sum()


def torch_reverse(network: torch.nn.Module, z: torch.Tensor, gradient: str) -> torch.Tensor:
    """DDIM with stride 250 as BIRD's released code runs it, from its description: t = 750, 500, 250, 0."""
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0).float()
    x = z
    for t in (750, 500, 250, 0):
        with torch.set_grad_enabled(gradient == "full"):
            eps = network(x, torch.full((1,), float(t)))
        a, a_next = alpha_bar[t], alpha_bar[t - 250] if t else torch.ones(())
        x0_hat = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
        x = a_next.sqrt() * x0_hat + (1 - a_next).sqrt() * (x - a.sqrt() * x0_hat) / (1 - a).sqrt()
    return x


@pytest.mark.parametrize("gradient", ["detached", "full"])
def test_with_the_true_operator_it_is_what_torch_computes(gradient):
    """Gradient at the first z, and the first three iterates, from the same weights and the same z."""
    network = randomise(DDPMNetwork(TINY))
    prior, y = prior_of(network, TINY), images(1)
    method = BIRD(kernel_size=5, kernel_model="known", stride=250, gradient=gradient, max_iterations=4)
    problem = method.problem(prior, (16, 16, 3))
    known = Known(kernel=jnp.asarray(KERNEL)[None])
    state = loop.start(problem, y, jax.random.split(jax.random.key(0), 1))

    def energy(z):
        x = problem.generator.apply(z, jax.random.key(1))
        return problem.objective(problem.operator.apply((), x, Known(kernel=known.kernel[0])), y[0], Known())

    z = torch.tensor(np.array(state.u).transpose(0, 3, 1, 2), requires_grad=True)
    target = torch.tensor(np.array(y).transpose(0, 3, 1, 2))
    weight = torch.tensor(KERNEL).flip(0, 1).expand(3, 1, 5, 5)
    optimizer = torch.optim.Adam([z], lr=method.learning_rate)
    advance = jax.jit(lambda state, until: loop.advance(problem, y, state, until, known=known))
    ours = np.asarray(jax.jit(jax.grad(energy))(state.u[0]))
    for k in range(3):
        optimizer.zero_grad()
        blurred = F.conv2d(F.pad(torch_reverse(network, z, gradient), (2, 2, 2, 2), "reflect"), weight, groups=3)
        F.mse_loss(blurred, target).backward()
        if k == 0:
            theirs = z.grad[0].numpy().transpose(1, 2, 0)
            np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
        optimizer.step()
        with torch.no_grad():
            z *= (z.numel() / (z**2).sum()).sqrt()
        state = advance(state, jnp.int32(k + 1))
        np.testing.assert_allclose(state.u[0], z[0].detach().numpy().transpose(1, 2, 0), atol=1e-4)


@pytest.mark.parametrize("degradation", get_args(bird.Degradation))
def test_every_degradation_restores_images_of_its_size(degradation):
    side = 4 if degradation == "downsample" else 16
    masks = np.ones((2, side, side), bool) if degradation == "mask" else None
    restored = diip_jax.restore(
        tiny_prior(),
        np.asarray(images(2, side)),
        "bird",
        masks=masks,
        degradation=degradation,
        kernel_size=3,
        learning_rate=0.02,
        operator_learning_rate=0.02,
        stopping="budget",
        stride=250,
        max_iterations=15,
    )
    assert restored.images.shape == (2, 16, 16, 3)
    losses = restored.traces["loss"]
    assert (losses[..., -1] < 0.95 * losses[..., 0]).all()
    expected = {"identity": set(), "mask": set(), "gain_offset": {"kernel", "gain", "offset"}}
    assert set(restored.operator) == expected.get(degradation, {"kernel"})
    for values in restored.operator_traces.values():
        assert np.abs(np.diff(values, axis=2)).max((1, 2, *range(3, values.ndim))).min() > 0  # learned for each image


def test_the_returned_operator_is_that_of_the_returned_iterate():
    settings = {"degradation": "blur", "kernel_size": 3, "stride": 250, "max_iterations": 8}
    restored = diip_jax.restore(tiny_prior(), np.asarray(images(2)), "bird", **settings)
    assert restored.selected.tolist() == [[7], [7]]
    np.testing.assert_array_equal(restored.operator["kernel"], restored.operator_traces["kernel"][:, :, 7])
    earlier = dataclasses.replace(restored, selected=np.array([[2], [5]]))
    kernels = restored.operator_traces["kernel"]
    np.testing.assert_array_equal(earlier.operator["kernel"][:, 0], [kernels[0, 0, 2], kernels[1, 0, 5]])


def test_alternating_updates_take_turns():
    method = BIRD(degradation="gain_offset", kernel_size=1, updates="alternating", stride=500, max_iterations=5)
    problem = method.problem(tiny_prior(), (16, 16, 3))
    y = images(1)
    advance = jax.jit(lambda state, until: loop.advance(problem, y, state, until))
    states = [jax.jit(lambda: loop.start(problem, y, jax.random.split(jax.random.key(0), 1)))()]
    for k in range(4):
        states.append(advance(states[-1], jnp.int32(k + 1)))
    moved = [
        (bool((a.u != b.u).any()), bool((a.eta["offset"] != b.eta["offset"]).any()))
        for a, b in itertools.pairwise(states)
    ]
    # Rounding in the projection may move z where it does not step.
    assert [eta for _, eta in moved] == [False, True, False, True] and moved[0][0] and moved[2][0]
    for k in (1, 3):
        np.testing.assert_allclose(states[k].u, states[k + 1].u, rtol=1e-6)


def test_the_loss_threshold_ends_the_run():
    settings = {"degradation": "identity", "learning_rate": 0.02, "stride": 250, "max_iterations": 30}
    y = np.asarray(images(1))
    losses = diip_jax.restore(tiny_prior(), y, "bird", **settings).traces["loss"][0, 0]
    stopped = diip_jax.restore(tiny_prior(), y, "bird", loss_threshold=float(losses[12]) + 1e-6, **settings)
    assert stopped.stop_reasons == [["loss_threshold"]] and stopped.selected[0, 0] <= 12
    assert stopped.traces["loss"][0, 0, stopped.selected[0, 0]] <= losses[12] + 1e-6


@pytest.mark.parametrize("stopping", ["paper", "robust", "laplacian_variance", "loss_slope", "budget"])
def test_rules_of_diip_may_be_chosen(stopping):
    names = BIRD(stopping=stopping).rule().names
    assert names == ("loss_threshold", *diip_jax.DIIP(stopping=stopping).rule().names)


def test_what_is_hidden_has_no_influence_at_all():
    y, masks = np.asarray(images(2)), np.ones((2, 16, 16), bool)
    masks[0, 4:9, 4:9] = masks[1, :3] = False
    settings = {"degradation": "mask", "stride": 250, "max_iterations": 5}
    other = np.where(masks[..., None], y, np.float32(-0.3))
    first, second = (
        diip_jax.restore(tiny_prior(), given, "bird", masks=masks, **settings).images for given in (y, other)
    )
    np.testing.assert_array_equal(first, second)


def test_the_presets_are_the_published_numbers():
    paper = method_named("bird", {"degradation": "downsample", "scale": 8}, "paper")
    assert (paper.learning_rate, paper.operator_learning_rate, paper.max_iterations) == (0.003, 0.003, 200)
    assert (paper.stride, paper.variant, paper.gradient, paper.updates) == (100, "paper", "full", "joint")
    assert (paper.degradation, paper.scale, paper.stopping) == ("downsample", 8, "budget")
    released = {
        "identity": (0.01, 200),
        "mask": (0.01, 200),
        "downsample": (0.001, 100),
        "blur": (0.003, 100),
    }
    for degradation, numbers in released.items():
        code = method_named("bird", {"degradation": degradation}, "code")
        assert (code.learning_rate, code.max_iterations) == numbers
        assert (code.stride, code.variant, code.gradient, code.stopping) == (100, "code", "detached", "budget")
    assert method_named("bird", {"degradation": "downsample"}, "code").kernel_size == 1
    code = method_named("bird", {}, "code")
    assert (code.degradation, code.kernel_model, code.kernel_size, code.boundary) == ("blur", "network", 41, "zero")
    assert code.operator_learning_rate == 2e-4
    assert method_named("bird", {"kernel_size": 9}, "code") == dataclasses.replace(code, kernel_size=9)


@pytest.mark.parametrize(
    "settings, preset, message",
    [
        ({"degradation": "varying_blur"}, "code", "preset='code': expected one of paper"),
        ({}, "thesis", "preset='thesis': expected one of paper, code"),
    ],
)
def test_other_presets_are_refused(settings, preset, message):
    with pytest.raises(ValueError, match=message):
        method_named("bird", settings, preset)


@pytest.mark.parametrize(
    "setting, message",
    [
        (
            {"degradation": "rain"},
            "degradation='rain': expected one of identity, blur, varying_blur, downsample, mask,",
        ),
        ({"kernel_model": "prior"}, "kernel_model='prior': expected one of network, logits, known"),
        ({"boundary": "wrap"}, "boundary='wrap': expected one of zero, reflect, valid"),
        ({"updates": "never"}, "updates='never': expected one of joint, alternating"),
        ({"kernel_size": 8}, "kernel_size=8: expected an odd number, 1 or more"),
        ({"scale": 1}, "scale=1: expected at least 2"),
        ({"operator_learning_rate": 0.0}, "operator_learning_rate=0.0: expected above 0"),
        ({"loss_threshold": -1.0}, "loss_threshold=-1.0: expected at least 0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: expected above 0"),
        ({"degradation": "varying_blur", "kernel_model": "known"}, "kernel_model='known': varying_blur has several"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    defaults = {field.name: field.default for field in dataclasses.fields(BIRD)}
    with pytest.raises(ValueError, match=message):
        unchecked(BIRD, **(defaults | setting))


def test_a_kernel_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="kernel_size=17: larger than the image, which is 16x16"):
        diip_jax.restore(tiny_prior(), np.asarray(images(1)), "bird", kernel_size=17, stride=500, max_iterations=2)


def test_every_setting_is_documented():
    documented = inspect.getdoc(BIRD) + inspect.getdoc(Inversion) + inspect.getdoc(NoiseInversion)
    for field in dataclasses.fields(BIRD):
        assert field.name in documented


@pytest.mark.parametrize("degradation", ["blur", "downsample", "gain_offset", "varying_blur"])
def test_unknown_kernels_stay_centred_unless_as_published(degradation):
    def column(method):
        operator = method.operator(3)
        # All mass of every kernel in the third column from the left.
        eta = jax.tree.map(lambda leaf: jnp.zeros_like(leaf), operator.init(jax.random.key(0)))
        logits = jnp.full((5, 5), -30.0).at[:, 3].set(0.0)
        eta = jax.tree.map(lambda leaf: jnp.broadcast_to(logits, leaf.shape) if leaf.shape[-1:] == (5,) else leaf, eta)
        return operator.estimates(eta)["kernel"].sum(axis=-2).reshape(-1, 5)

    settings = {"degradation": degradation, "kernel_size": 5, "kernel_model": "logits"}
    np.testing.assert_allclose(
        column(BIRD(**settings)), np.eye(5)[[2]].repeat(len(column(BIRD(**settings))), 0), atol=1e-5
    )
    as_published = column(BIRD(**settings, centre_kernel=bird.PAPER["centre_kernel"]))
    np.testing.assert_allclose(as_published, np.eye(5)[[3]].repeat(len(as_published), 0), atol=1e-5)
