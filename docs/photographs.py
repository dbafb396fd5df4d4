"""The table of photographs in docs/blind.md: at their own size, `Blind` with the bundled prior of photographs.

    pip install bm3d
    python docs/photographs.py FOLDER_OF_CBSD68 [--count=12] [--tasks="noise 25,x2"]

`count` of the pictures, evenly spread by name, restored told nothing but the scale. Beside it, where there is noise
alone, BM3D (Dabov et al., 2007), non-local means (Buades et al., 2005) and total variation (Chambolle, 2004), all told
the true sigma; where there is a blur, scikit-image's unsupervised Wiener filter (Orieux et al., 2010), told the true
kernel. The input of x2 and x4, means of blocks, is enlarged bicubically. PSNR in dB over all pixels and channels and
LPIPS (AlexNet), means over the pictures; noise from seed 0.
"""

import argparse
import io
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, unsupervised_wiener

import diip_jax
from diip_jax.metrics import lpips, psnr
from diip_jax.pixels import to_uint8

_SIDE = 32  # of pictures, a multiple of it: the rest is cut off
_BLUR = 1.6  # pixels
_MARGIN = 8  # pixels, five times that
_TV = 0.7


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def noisy(picture: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return (picture + noise).clip(0, 255).round().astype(np.uint8)


def blurred(picture: np.ndarray) -> np.ndarray:
    return noisy(gaussian_filter(picture.astype(float), (_BLUR, _BLUR, 0), mode="reflect"), 2)


def reduced(picture: np.ndarray, scale: int) -> np.ndarray:
    return picture.reshape(picture.shape[0] // scale, scale, -1, scale, 3).mean((1, 3)).round().astype(np.uint8)


def enlarged(y: np.ndarray, scale: int) -> np.ndarray:
    size = (scale * y.shape[1], scale * y.shape[0])
    return np.asarray(Image.fromarray(y).resize(size, Image.Resampling.BICUBIC))


TASKS = {
    "noise 15": lambda x: noisy(x, 15),
    "noise 25": lambda x: noisy(x, 25),
    "noise 50": lambda x: noisy(x, 50),
    "blur 1.6 and noise 2": blurred,
    "JPEG 10": lambda x: jpeg(x, 10),
    "JPEG 20": lambda x: jpeg(x, 20),
    "x2": lambda x: reduced(x, 2),
    "x4": lambda x: reduced(x, 4),
    "clean": lambda x: x,
}


def told_sigma(y: np.ndarray, sigma: float) -> dict[str, np.ndarray]:
    import bm3d  # here: docs/photographed_faces.py takes what is above, and does without

    unit, sigma = y / 255.0, sigma / 255
    found = {
        "BM3D": bm3d.bm3d_rgb(unit, sigma),
        "non-local means": denoise_nl_means(unit, 5, 6, h=0.6 * sigma, sigma=sigma, fast_mode=True, channel_axis=-1),
        # Of 0.5 to 2 times sigma the best on photographs that are not in CBSD68.
        "total variation": denoise_tv_chambolle(unit, _TV * sigma, channel_axis=-1),
    }
    return {name: to_uint8(2 * image - 1) for name, image in found.items()}


def told_kernel(y: np.ndarray) -> dict[str, np.ndarray]:
    point = np.zeros((4 * _MARGIN + 1, 4 * _MARGIN + 1))
    point[2 * _MARGIN, 2 * _MARGIN] = 1
    kernel = gaussian_filter(point, _BLUR)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    # The filter takes the picture for periodic: the seam lies in a mirrored margin.
    around = np.pad(y / 127.5 - 1, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), "reflect")
    each = [unsupervised_wiener(around[..., c], kernel, rng=0)[0] for c in range(3)]
    return {"unsupervised Wiener": to_uint8(np.stack(each, -1)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN])}


def restored(name: str, x: np.ndarray, prior: diip_jax.Prior) -> tuple[dict[str, np.ndarray], float]:
    """By method what becomes of a picture in a task; the seconds that `Blind` took, compilation included."""
    y, scale = TASKS[name](x), int(name[1:]) if name in ("x2", "x4") else 1
    began = time.monotonic()
    blind = diip_jax.restore(diip_jax.Blind(prior, scale=scale), y[None]).images[0]
    seconds = time.monotonic() - began
    found = {"input": y if scale == 1 else enlarged(y, scale), "Blind": blind}
    if name.startswith("noise"):
        found |= told_sigma(y, float(name.split()[1]))
    return found | (told_kernel(y) if name.startswith("blur") else {}), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--tasks", default=",".join(TASKS))
    given = parser.parse_args()
    paths = sorted(given.folder.glob("*.jpg")) + sorted(given.folder.glob("*.png"))
    paths = [paths[n] for n in np.linspace(0, len(paths) - 1, given.count).round().astype(int)]
    prior = diip_jax.load_prior("photos")
    for name in given.tasks.split(","):
        rows, took = [], []
        for path in paths:
            x = np.asarray(Image.open(path).convert("RGB"))
            x = x[: x.shape[0] // _SIDE * _SIDE, : x.shape[1] // _SIDE * _SIDE]
            found, seconds = restored(name, x, prior)
            took.append(seconds)
            rows.append({method: (psnr(image, x), lpips(image, x)) for method, image in found.items()})
        means = {method: np.mean([row[method] for row in rows], axis=0) for method in rows[0]}
        text = ", ".join(f"{method} {decibels:.2f} / {distance:.3f}" for method, (decibels, distance) in means.items())
        print(f"{name} ({len(rows)} pictures): {text}; median {np.median(took):.0f} s a picture", flush=True)


if __name__ == "__main__":
    main()
