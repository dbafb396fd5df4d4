"""DIP through the loop, against torch, and its settings."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from dip_in_batches import TINY
from networks import images
from torch_skip_network import TorchSkipNetwork

import diip_jax as dj
from diip_jax.plugs.optimizers import opt
from diip_jax.solve import loop

SHAPE = (16, 16, 3)


def test_it_is_what_torch_computes():
    """Gradient at the first weights, and the first three iterates, from the same weights and the same noise."""
    method, y = dataclasses.replace(TINY, input_noise=0.0, max_iterations=4), images(1)
    problem = method.problem()
    state = jax.jit(lambda: loop.start(problem, SHAPE, y, jax.random.split(jax.random.key(0), 1)))()

    def energy(u):
        return problem.loss(problem.generator(u, jax.random.key(1)), y[0], None)

    first = jax.tree.map(lambda leaf: leaf[0], state.u)
    gradient = jax.jit(jax.grad(energy))(first)
    network = TorchSkipNetwork(4, 3, 2, 8, 4, "bilinear").load(first["weights"])
    of_gradient = TorchSkipNetwork(4, 3, 2, 8, 4, "bilinear").load(gradient["weights"])
    noise = torch.from_numpy(np.array(state.u["noise"]).transpose(0, 3, 1, 2))
    target = torch.from_numpy(np.array(y).transpose(0, 3, 1, 2))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    advance = jax.jit(lambda state, until: loop.advance(problem, y, state, until))
    for k in range(4):
        optimizer.zero_grad()
        image = 2 * network(noise) - 1
        torch.nn.functional.mse_loss(image, target).backward()
        if k == 0:
            pairs = list(zip(of_gradient.parameters(), network.parameters(), strict=True))
            largest = max(theirs.grad.abs().max() for _, theirs in pairs)
            for ours, theirs in pairs:
                np.testing.assert_allclose(ours.detach(), theirs.grad, atol=1e-4 * largest)
        state = advance(state, jnp.int32(k + 1))
        np.testing.assert_allclose(state.chosen.image[0], image[0].detach().numpy().transpose(1, 2, 0), atol=1e-4)
        optimizer.step()
    assert np.abs(gradient["noise"]).max() == 0
    np.testing.assert_array_equal(state.u["noise"][0], first["noise"])


def test_restores_without_a_prior():
    y = np.asarray(images(2))
    solution = dj.restore(TINY, y, save=("loss",))
    assert solution.images.shape == y.shape and solution.reasons == [["budget"], ["budget"]]
    assert (solution.traces["loss"][..., -1] < 0.95 * solution.traces["loss"][..., 0]).all()
    np.testing.assert_array_equal(solution.stats["evaluations"], solution.stats["iterations"])


def test_an_image_has_a_network_of_its_own(tmp_path):
    # Without the suite's older code generator, whose sums round differently in batches of other sizes.
    flags = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    environment = os.environ | {"XLA_FLAGS": flags}
    script, output = Path(__file__).with_name("dip_in_batches.py"), tmp_path / "images.npz"
    subprocess.run([sys.executable, str(script), str(output)], env=environment, check=True)
    with np.load(output) as saved:
        np.testing.assert_array_equal(saved["together"][1:], saved["alone"])


def test_vmapped_networks_are_the_same_as_one_by_one():
    y = images(2)
    problem = TINY.problem()
    state = jax.jit(lambda: loop.start(problem, SHAPE, y, jax.random.split(jax.random.key(0), 2)))()
    vmapped, mapped = (
        jax.jit(lambda s, flag=flag: loop.advance(problem, y, s, jnp.int32(4), one_by_one=flag))(state)
        for flag in (False, True)
    )
    np.testing.assert_allclose(vmapped.chosen.image, mapped.chosen.image, atol=1e-4)


def test_every_iterate_is_shown_other_noise():
    """With weights that stay as they are, only the noise moves the image."""
    y, seen = images(1), []
    for input_noise in (0.0, 0.5):
        method = dataclasses.replace(TINY, input_noise=input_noise)
        problem = dataclasses.replace(method.problem(), optimizer=opt(optax.sgd, 1e-30))
        state = jax.jit(lambda problem=problem: loop.start(problem, SHAPE, y, jax.random.split(jax.random.key(0), 1)))()
        state = loop.traced(problem, state, ("loss",), 6)
        advance = jax.jit(lambda s, problem=problem: loop.advance(problem, y, s, jnp.int32(6), None, ("loss",)))
        seen.append(advance(state).traces["loss"][0])
    np.testing.assert_allclose(seen[0], seen[0][0], rtol=1e-6)
    assert len(set(seen[1].tolist())) == 6


def test_sizes_that_the_levels_do_not_divide_are_refused():
    for shape in ((1, 24, 16, 3), (1, 16, 16, 3)):
        with pytest.raises(ValueError, match=r"levels=4: images are \d+x16, but .* multiples of 16 from 32 on"):
            dj.restore(dataclasses.replace(TINY, levels=4), np.zeros(shape, np.uint8))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_batch_is_one_program_that_lowers_for_accelerators(platform):
    def run(problem, y, keys):
        return loop.advance(problem, y, loop.start(problem, SHAPE, y, keys), jnp.int32(5)).chosen.image

    keys = jax.random.split(jax.random.key(0), 2)
    program = jax.export.export(jax.jit(run), platforms=[platform])(TINY.problem(), jnp.zeros((2, 16, 16, 3)), keys)
    text = program.mlir_module()
    assert "stablehlo.convolution" in text and "stablehlo.while" in text
    assert "f64" not in text and "callback" not in text
