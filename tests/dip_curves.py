"""DIP's curve here and in torch: PSNR over the iterations of one noisy picture, each from its own random draws.

    python tests/dip_curves.py [--iterations=600] [--side=64] [--sigma=25]

Prints a row of both for some iterations, and where each has its peak. The torch side is tests/torch_skip_network.py
with torch's own initialisation, noise and Adam, in an independent loop. Not part of the tests: they hold single
iterates to torch's; that the whole course is alike takes minutes.
"""

import argparse

import numpy as np
import skimage.data
import skimage.transform
import torch
from torch_skip_network import TorchSkipNetwork

import diip_jax
from diip_jax.methods import DIP


def picture(side: int) -> np.ndarray:
    """`[side, side, 3]` in [0, 1]: a face."""
    return skimage.transform.resize(skimage.data.astronaut()[:256, 96:352], (side, side), anti_aliasing=True)


def psnr(image: np.ndarray, clean: np.ndarray) -> float:
    """In dB, of images in [0, 1]."""
    return float(-10 * np.log10(np.mean((image - clean) ** 2)))


def here(noisy: np.ndarray, clean: np.ndarray, method: DIP) -> np.ndarray:
    """PSNR at every iterate, in dB."""
    in_range = (2 * np.stack([noisy, clean]) - 1).astype(np.float32)[:, None]
    saved = diip_jax.restore(method, in_range[0], {"clean": in_range[1]}, save=(diip_jax.psnr,))
    return saved.traces["psnr"][0, 0]


def in_torch(noisy: np.ndarray, clean: np.ndarray, method: DIP) -> np.ndarray:
    """The same, by torch alone."""
    torch.manual_seed(0)
    network = TorchSkipNetwork(
        method.input_channels, 3, method.levels, method.channels, method.skip_channels, method.upsampling
    )
    noise = 0.1 * torch.rand(1, method.input_channels, *noisy.shape[:2])
    target = torch.from_numpy(noisy.astype(np.float32).transpose(2, 0, 1))[None]
    optimizer = torch.optim.Adam(network.parameters(), lr=method.learning_rate)
    curve = []
    for _ in range(method.max_iterations):
        optimizer.zero_grad()
        image = network(noise + method.input_noise * torch.randn_like(noise))
        torch.nn.functional.mse_loss(image, target).backward()
        optimizer.step()
        curve.append(psnr(image[0].detach().numpy().transpose(1, 2, 0), clean))
    return np.array(curve)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--side", type=int, default=64, help="of the picture, in pixels: a multiple of 32 from 64 on")
    parser.add_argument("--sigma", type=float, default=25, help="standard deviation of the noise, of 0..255")
    arguments = parser.parse_args()
    clean = picture(arguments.side)
    noisy = np.clip(clean + arguments.sigma / 255 * np.random.default_rng(0).standard_normal(clean.shape), 0, 1)
    method = DIP(max_iterations=arguments.iterations)
    curves = {"diip_jax": here(noisy, clean, method), "torch": in_torch(noisy, clean, method)}
    print(f"{arguments.side}x{arguments.side}, noise {arguments.sigma:g}/255: input {psnr(noisy, clean):.2f} dB")
    print("iterations" + "".join(f"{name:>10}" for name in curves))
    shown = [n for n in (10, 25, 50, 100, 150, 200, 300, 400, 600, 1000, 1500, 2000, 3000) if n <= arguments.iterations]
    for n in shown:
        # Single iterates jump: the mean of the last ten.
        print(f"{n:>10}" + "".join(f"{curve[n - 10 : n].mean():>10.2f}" for curve in curves.values()))
    for name, curve in curves.items():
        smooth = np.convolve(curve, np.full(10, 0.1), "valid")
        print(f"peak of {name}: {smooth.max():.2f} dB after {smooth.argmax() + 10} iterations")


if __name__ == "__main__":
    main()
