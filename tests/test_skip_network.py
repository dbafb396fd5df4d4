import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch_skip_network import TorchSkipNetwork

from diip_jax.models.skip_network import SkipNetwork


def _noise(height, width, channels=6):
    return jax.random.uniform(jax.random.key(2), (1, height, width, channels))


def _varied(params, seed=0):
    """Parameters that all matter: norms start at 1 and 0, which hides a mistake."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + 0.2 * jnp.asarray(rng.standard_normal(leaf.shape, np.float32)), params)


@pytest.mark.parametrize("upsampling", ["bilinear", "nearest"])
@pytest.mark.parametrize("height, width", [(16, 16), (8, 12)])
def test_equals_the_network_in_torch(upsampling, height, width):
    network, noise = SkipNetwork(3, 2, 8, 4, upsampling), _noise(height, width)
    params = _varied(jax.jit(network.init)(jax.random.key(0), noise)["params"])
    reference = TorchSkipNetwork(6, 3, 2, 8, 4, upsampling).load(params)
    theirs = reference(torch.from_numpy(np.array(noise).transpose(0, 3, 1, 2))).detach().numpy().transpose(0, 2, 3, 1)
    ours = jax.jit(network.apply)({"params": params}, noise)
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    print(f"relative error, {upsampling}, {height}x{width}: {error:.1e}")
    assert error <= 1e-5
    assert theirs.std() > 0.1


def test_has_the_parameters_of_the_published_network_and_starts_like_torch():
    network, noise = SkipNetwork(3), jax.ShapeDtypeStruct((1, 64, 64, 32), jnp.float32)
    shapes = jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0), noise)["params"])
    reference = TorchSkipNetwork(32, 3, 5, 128, 4, "bilinear")
    assert sum(leaf.size for leaf in shapes) == sum(parameter.numel() for parameter in reference.parameters())

    small = SkipNetwork(3, 1, 32, 4)
    params = jax.jit(small.init)(jax.random.key(0), _noise(8, 8))["params"]["level"]
    theirs = TorchSkipNetwork(6, 3, 1, 32, 4, "bilinear").level
    for name in ("down", "encoder", "decoder", "skip"):
        conv = getattr(theirs, name).conv
        ours, bound = params[name]["conv"], conv.weight[0].numel() ** -0.5
        assert max(np.abs(leaf).max() for leaf in ours.values()) <= bound
        np.testing.assert_allclose(ours["kernel"].std(), conv.weight.std().item(), rtol=0.25)


def test_says_which_sizes_it_takes():
    assert SkipNetwork(3).size_multiple == 32
    assert SkipNetwork(3, levels=2).size_multiple == 4
