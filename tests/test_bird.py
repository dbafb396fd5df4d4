import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from networks import UNET, images, tiny_prior, unchecked
from torch.nn import functional as F
from torch_networks import DDPMNetwork, prior_of, randomise

import diip_jax as dj
from diip_jax.methods.bird import BIRD
from diip_jax.solve import loop

RNG = np.random.default_rng(0)
KERNEL = RNG.random((5, 5)).astype(np.float32)
KERNEL /= KERNEL.sum()
SHAPE = (16, 16, 3)


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
    network = randomise(DDPMNetwork(UNET))
    prior, y = prior_of(network, UNET), images(1)
    method = BIRD(prior, dj.Blur(dj.KnownKernel(5)), stride=250, gradient=gradient, max_iterations=4)
    problem, known = method.problem(), {"kernel": jnp.asarray(KERNEL)[None]}
    state = loop.start(problem, SHAPE, y, jax.random.split(jax.random.key(0), 1), known)

    def energy(z):
        args = {"kernel": known["kernel"][0]}
        return problem.loss(problem.operator((), problem.generator(z, jax.random.key(1)), args), y[0], args)

    z = torch.tensor(np.array(state.u).transpose(0, 3, 1, 2), requires_grad=True)
    target = torch.tensor(np.array(y).transpose(0, 3, 1, 2))
    weight = torch.tensor(KERNEL).flip(0, 1).expand(3, 1, 5, 5)
    optimizer = torch.optim.Adam([z], lr=method.learning_rate)
    advance = jax.jit(lambda state, until: loop.advance(problem, y, state, until, known))
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


def test_the_returned_operator_is_that_of_the_returned_iterate():
    method = BIRD(tiny_prior(), dj.Blur(3), dj.windowed_moving_variance(2, patience=2), stride=250, max_iterations=8)
    solution = dj.restore(method, np.asarray(images(2)), save=("kernel",), seed=1)
    n, at = np.arange(2), solution.selected[:, 0]
    assert (at < solution.stats["iterations"][:, 0] - 1).any()
    np.testing.assert_allclose(solution.operator["kernel"][:, 0], solution.traces["kernel"][n, 0, at], atol=1e-7)


def test_alternating_updates_take_turns():
    method = BIRD(tiny_prior(), dj.GainOffset(), updates="alternating", stride=500, max_iterations=5)
    problem, y = method.problem(), images(1)
    advance = jax.jit(lambda state, until: loop.advance(problem, y, state, until))
    states = [jax.jit(lambda: loop.start(problem, SHAPE, y, jax.random.split(jax.random.key(0), 1)))()]
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
    settings = {"operator": dj.Identity(), "learning_rate": 0.02, "stride": 250, "max_iterations": 30}
    y = np.asarray(images(1))
    losses = dj.restore(BIRD(tiny_prior(), **settings), y, save=("loss",)).traces["loss"][0, 0]
    rule = dj.first_of(dj.LossThreshold(float(losses[12]) + 1e-6), dj.Discrepancy())
    stopped = dj.restore(BIRD(tiny_prior(), rule=rule, **settings), y, save=("loss",))
    assert stopped.reasons == [["loss_threshold"]] and stopped.selected[0, 0] <= 12
    assert stopped.traces["loss"][0, 0, stopped.selected[0, 0]] <= losses[12] + 1e-6


def test_what_is_hidden_has_no_influence_at_all():
    y, masks = np.asarray(images(2)), np.ones((2, 16, 16), bool)
    masks[0, 4:9, 4:9] = masks[1, :3] = False
    method = BIRD(tiny_prior(), dj.Mask(), stride=250, max_iterations=5)
    other = np.where(masks[..., None], y, np.float32(-0.3))
    first, second = (dj.restore(method, given, {"mask": masks}).images for given in (y, other))
    np.testing.assert_array_equal(first, second)


def test_the_published_numbers():
    prior = tiny_prior()
    paper = BIRD.paper(prior, dj.Downsample(factor=8))
    assert (paper.learning_rate, paper.operator_learning_rate, paper.max_iterations) == (0.003, 0.003, 200)
    assert (paper.stride, paper.variant, paper.gradient, paper.updates) == (100, "paper", "full", "joint")
    assert paper.rule == dj.Never() and paper.operator == dj.Downsample(factor=8)
    released = [(dj.Identity(), 0.01, 200), (dj.Mask(), 0.01, 200), (dj.Downsample(), 0.001, 100)]
    for operator, rate, iterations in released:
        code = BIRD.code(prior, operator)
        assert (code.learning_rate, code.max_iterations) == (rate, iterations)
        assert (code.stride, code.variant, code.gradient, code.rule) == (100, "code", "detached", dj.Never())
    code = BIRD.code(prior)
    assert code.operator == dj.Blur(dj.KernelNetwork(41), "zero")
    assert (code.learning_rate, code.operator_learning_rate, code.max_iterations) == (0.003, 2e-4, 100)
    assert BIRD.code(prior, max_iterations=7).max_iterations == 7
    with pytest.raises(ValueError, match="operator=VaryingBlur: there are released scripts for Identity, Mask, "):
        BIRD.code(prior, dj.VaryingBlur(5))


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"updates": "never"}, "updates='never': expected one of joint, alternating"),
        ({"operator_learning_rate": 0.0}, "operator_learning_rate=0.0: expected above 0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: expected above 0"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    defaults = {"prior": tiny_prior(), "operator": dj.Identity(), "learning_rate": 1.0, "operator_learning_rate": 1.0}
    with pytest.raises(ValueError, match=message):
        unchecked(BIRD, **(defaults | {"max_iterations": 1, "updates": "joint"} | setting))


def test_a_kernel_larger_than_the_image_is_refused():
    method = BIRD(tiny_prior(), dj.Blur(17), stride=500, max_iterations=2)
    with pytest.raises(ValueError, match="kernel_size=17: larger than the image, which is 16x16"):
        dj.restore(method, np.asarray(images(1)))
