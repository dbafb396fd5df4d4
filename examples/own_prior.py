"""A prior of one's own: here a denoiser in closed form, D(params, x, sigma), and no network at all.

Photographs are taken for Gaussian with the power spectrum of one clean picture: the mean of all clean images that a
noisy one may come from is then Wiener's filter. Replace `denoiser` and `params` by a network and its weights.

    python examples/own_prior.py
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image

import diip_jax as dj

FOLDER = Path(__file__).parent


def read(name):
    return np.asarray(Image.open(FOLDER / name), np.float32) / 127.5 - 1


def denoiser(params, x, sigma):
    """The clean images in x = x_0 + sigma n, `[B, H, W, C]` and `[B]`."""
    signal = params["power"] / (params["power"] + sigma[:, None, None, None] ** 2)
    return params["mean"] + jnp.fft.ifft2(signal * jnp.fft.fft2(x - params["mean"], axes=(1, 2)), axes=(1, 2)).real


clean, noisy = read("clean/astronaut.png"), read("noise/astronaut.png")
other = read("clean/grace_hopper.png")
power = np.abs(np.fft.fft2(other - other.mean(), axes=(0, 1))) ** 2 / other[..., 0].size
params = {"power": jnp.asarray(power, jnp.float32), "mean": jnp.float32(other.mean())}

prior = dj.Prior.of_denoiser(denoiser, params, image_shape=(64, 64, 3))
solution = dj.restore(dj.DIIP(prior, dj.Discrepancy(), learning_rate=0.03, stride=50), noisy[None])

psnr = {name: 10 * np.log10(4 / np.mean((x - clean) ** 2)) for name, x in (("in", noisy), ("out", solution.images[0]))}
print(f"{psnr['in']:.2f} dB -> {psnr['out']:.2f} dB after {solution.stats['iterations'][0, 0]} iterations")
