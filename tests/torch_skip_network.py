"""Deep Image Prior's network in torch, from the description of the paper: the reference of the parity tests."""

import numpy as np
import torch
from torch import nn


class _Block(nn.Module):
    def __init__(self, inputs, outputs, size, stride=1):
        super().__init__()
        self.pad = nn.ReflectionPad2d(size // 2)
        self.conv = nn.Conv2d(inputs, outputs, size, stride)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return nn.functional.leaky_relu(self.norm(self.conv(self.pad(x))), 0.2)


class _Level(nn.Module):
    def __init__(self, inputs, levels, channels, skip_channels, upsampling):
        super().__init__()
        self.skip = _Block(inputs, skip_channels, 1)
        self.down = _Block(inputs, channels, 3, 2)
        self.encoder = _Block(channels, channels, 3)
        lower = (channels, levels - 1, channels, skip_channels, upsampling)
        self.level = _Level(*lower) if levels > 1 else nn.Identity()
        self.up = nn.Upsample(scale_factor=2, mode=upsampling)
        self.join_norm = nn.BatchNorm2d(skip_channels + channels)
        self.decoder = _Block(skip_channels + channels, channels, 3)
        self.mixer = _Block(channels, channels, 1)

    def forward(self, x):
        lower = self.up(self.level(self.encoder(self.down(x))))
        return self.mixer(self.decoder(self.join_norm(torch.cat([self.skip(x), lower], dim=1))))


class TorchSkipNetwork(nn.Module):
    """Always in training mode, as the released code uses it: batch norm takes the statistics of what it is given."""

    def __init__(self, inputs, image_channels, levels, channels, skip_channels, upsampling):
        super().__init__()
        self.level = _Level(inputs, levels, channels, skip_channels, upsampling)
        self.to_image = nn.Conv2d(channels, image_channels, 1)

    def forward(self, noise):
        """`[1, c, H, W]` to an image in (0, 1)."""
        return torch.sigmoid(self.to_image(self.level(noise)))

    def load(self, params):
        """Copies the parameters of the Flax network, and returns this."""
        for name, parameter in self.named_parameters():
            parameter.data.copy_(torch.from_numpy(_as_torch(params, name.split("."))))
        return self


def _as_torch(params, path):
    *modules, leaf = path
    for name in modules:
        params = params[name]
    if leaf == "bias":
        return np.array(params["bias"])
    return np.array(params["kernel"]).transpose(3, 2, 0, 1) if "kernel" in params else np.array(params["scale"])
