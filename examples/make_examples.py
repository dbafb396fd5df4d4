"""Makes the example pictures: two public-domain portraits, aligned as the bundled prior expects, and damages of both.

    python examples/make_examples.py

needs scikit-image and matplotlib (`pip install -e ".[test]"`), which ship the two photographs. README.md in this folder
gives origin, licence and formulas. The same seed gives the same pictures.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from diip_jax.degradations import Degraded, corrupt, degrade
from diip_jax.heatmaps import kernel_picture

SIZE = 64
DAMAGES = ("noise", "blur", "jpeg", "x4")


def mask_picture(degraded: Degraded) -> np.ndarray:
    """White where the image is shown."""
    return np.where(degraded.mask, 255, 0).astype(np.uint8)


# For BIRD, which is told the kind of damage: folder -> corruption, and the picture of it.
TOLD: dict[str, tuple[str, Callable[[Degraded], np.ndarray]]] = {
    "motion_blur": ("motion_blur", Degraded.picture),
    "motion_blur_kernel": ("motion_blur", lambda degraded: kernel_picture(degraded.kernel)),
    "anisotropic_blur": ("anisotropic_blur", Degraded.picture),
    "x4_small": ("x4_blur", Degraded.observation),
    "hole": ("hole", Degraded.picture),
    "hole_mask": ("hole", mask_picture),
}
WARP_FACTOR = 8  # the similarity warp samples at 512 x 512, so that it only ever enlarges; Lanczos then reduces

# Left eye, right eye, left and right mouth corner as (x, y) in pixels of the aligned 64x64 picture; "left" is the
# viewer's left. Where frontal faces have them in the aligned, cropped CelebA pictures that the prior was trained on.
ALIGNED_LANDMARKS = ((23.7, 29.8), (40.2, 29.8), (24.8, 45.9), (39.8, 45.9))

# The same four points in the photographs, read off by eye.
LANDMARKS = {
    "astronaut": ((203.6, 101.0), (247.0, 103.0), (204.0, 140.0), (244.0, 141.0)),
    "grace_hopper": ((221.9, 190.2), (305.0, 186.7), (229.1, 280.8), (307.1, 278.5)),
}


def load_portrait(name: str) -> Image.Image:
    """The full photograph, RGB, from the package that ships it."""
    if name == "astronaut":
        import skimage.data

        return Image.fromarray(skimage.data.astronaut())
    import matplotlib.cbook

    return Image.open(matplotlib.cbook.get_sample_data(f"{name}.jpg", asfileobj=False)).convert("RGB")


def similarity(source: Sequence[Sequence[float]], target: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Least-squares rotation, scale and shift from target to source points, as Pillow's (a, b, c, d, e, f)."""
    (xs, ys), (xt, yt) = np.transpose(source), np.transpose(target)
    one, zero = np.ones_like(xt), np.zeros_like(xt)
    rows = np.concatenate([np.stack([xt, -yt, one, zero], 1), np.stack([yt, xt, zero, one], 1)])
    p, q, dx, dy = np.linalg.lstsq(rows, np.concatenate([xs, ys]), rcond=None)[0]
    return (p, -q, dx, q, p, dy)


def align(portrait: Image.Image, landmarks: Sequence[Sequence[float]]) -> Image.Image:
    """The face, moved, turned and scaled onto ALIGNED_LANDMARKS: 64x64 RGB."""
    large = (SIZE * WARP_FACTOR, SIZE * WARP_FACTOR)
    matrix = similarity(landmarks, np.multiply(ALIGNED_LANDMARKS, WARP_FACTOR))
    warped = portrait.transform(large, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    return warped.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for name, landmarks in LANDMARKS.items():
        clean = np.asarray(align(load_portrait(name), landmarks))
        pictures = {"clean": clean} | {damage: corrupt(damage, clean, args.seed) for damage in DAMAGES}
        pictures |= {folder: draw(degrade(damage, clean, args.seed)) for folder, (damage, draw) in TOLD.items()}
        for folder, picture in pictures.items():
            path = args.output_dir / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
            print(path)


if __name__ == "__main__":
    main()
