"""The table of photographs in docs/blind.md: at their own size, `Blind` with the bundled prior of photographs.

    pip install bm3d
    python docs/photographs.py FOLDER_OF_CBSD68 [--count=12] [--tasks=noise,blur,jpeg,clean]

`count` of the pictures, evenly spread by name, restored told nothing. Beside it, where there is noise alone, BM3D
(Dabov et al., 2007) and non-local means (Buades et al., 2005), both told the true sigma. PSNR in dB over all pixels and
channels, means over the pictures; noise from seed 0.
"""

import argparse
import io
import time
from pathlib import Path

import bm3d
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means

import diip_jax
from diip_jax.metrics import psnr
from diip_jax.pixels import to_uint8

_SIDE = 8  # of pictures, a multiple of it: the rest is cut off


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def noisy(picture: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return (picture + noise).clip(0, 255).round().astype(np.uint8)


TASKS = {
    "noise 15": lambda x: noisy(x, 15),
    "noise 25": lambda x: noisy(x, 25),
    "noise 50": lambda x: noisy(x, 50),
    "blur 1.6 and noise 2": lambda x: noisy(gaussian_filter(x.astype(float), (1.6, 1.6, 0), mode="reflect"), 2),
    "JPEG 10": lambda x: jpeg(x, 10),
    "JPEG 20": lambda x: jpeg(x, 20),
    "clean": lambda x: x,
}


def told_sigma(y: np.ndarray, sigma: float) -> dict[str, np.ndarray]:
    unit = y / 255.0
    means = denoise_nl_means(unit, 5, 6, h=0.6 * sigma / 255, sigma=sigma / 255, fast_mode=True, channel_axis=-1)
    return {"BM3D": to_uint8(2 * bm3d.bm3d_rgb(unit, sigma / 255) - 1), "non-local means": to_uint8(2 * means - 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--tasks", default=",".join(TASKS))
    given = parser.parse_args()
    paths = sorted(given.folder.glob("*.jpg")) + sorted(given.folder.glob("*.png"))
    paths = [paths[n] for n in np.linspace(0, len(paths) - 1, given.count).round().astype(int)]
    blind = diip_jax.Blind(diip_jax.load_prior("photos"))
    for name in given.tasks.split(","):
        rows, seconds = [], []
        for path in paths:
            x = np.asarray(Image.open(path).convert("RGB"))
            x = x[: x.shape[0] // _SIDE * _SIDE, : x.shape[1] // _SIDE * _SIDE]
            y = TASKS[name](x)
            began = time.monotonic()
            found = {"input": y, "Blind": diip_jax.restore(blind, y[None]).images[0]}
            seconds.append(time.monotonic() - began)
            found |= told_sigma(y, float(name.split()[1])) if name.startswith("noise") else {}
            rows.append({method: psnr(image, x) for method, image in found.items()})
        means = {method: np.mean([row[method] for row in rows]) for method in rows[0]}
        text = ", ".join(f"{method} {value:.2f}" for method, value in means.items())
        print(f"{name} ({len(rows)} pictures): {text}; median {np.median(seconds):.0f} s a picture", flush=True)


if __name__ == "__main__":
    main()
