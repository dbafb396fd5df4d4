import jax
import numpy as np
import torch
from torch import nn

from diip_jax.models.kernel_network import INPUTS, KernelNetwork


def test_equals_selfdeblurs_in_torch():
    network, noise = KernelNetwork(7), np.random.default_rng(0).random(INPUTS, np.float32)
    params = jax.jit(network.init)(jax.random.key(1), noise)["params"]
    layers = nn.Linear(INPUTS, 1000), nn.Linear(1000, 49)
    for layer, weights in zip(layers, (params["Dense_0"], params["Dense_1"]), strict=True):
        bound = layer.in_features**-0.5
        for ours, theirs in ((weights["kernel"].T, layer.weight), (weights["bias"], layer.bias)):
            # torch draws its own from the same distribution.
            assert np.abs(ours).max() <= bound
            np.testing.assert_allclose(ours.std(), theirs.std().item(), rtol=0.25)
            theirs.data.copy_(torch.from_numpy(np.array(ours)))
    expected = nn.Sequential(layers[0], nn.ReLU6(), layers[1], nn.Softmax(dim=0))(torch.from_numpy(noise))
    kernel = jax.jit(network.apply)({"params": params}, noise)
    np.testing.assert_allclose(kernel, expected.detach().numpy().reshape(7, 7), rtol=1e-5)
