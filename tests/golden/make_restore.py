"""Restorations that version 0.1.0 (commit f556e8d) computed: tests/golden/restore.npz, for test_golden.py.

    JAX_PLATFORMS=cpu PYTHONPATH=tests python tests/golden/make_restore.py OUTPUT.npz

writes what the present version computes of the same cases. The stored file is of 0.1.0's `restore(prior, images,
method, **settings)` with the settings below, and is not to be made anew: that the images stay what they were is what
it is for.
"""

import sys
import zlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from networks import UNET, images, tiny_prior

import diip_jax as dj
from diip_jax.solve import inputs

_NOISE = {"stride": 250, "learning_rate": 0.02, "max_iterations": 14}


def cases() -> dict[str, tuple]:
    """Name -> (method, y, args) of each restoration."""
    prior, y, small = tiny_prior(model=UNET), np.asarray(images(3)), np.asarray(images(3, 8))
    masks = np.ones((3, 16, 16), bool)
    masks[:, 4:9, 5:11] = masks[1, 0] = False
    kernels = np.random.default_rng(0).random((3, 5, 5)).astype(np.float32)
    kernels /= kernels.sum((1, 2), keepdims=True)
    rule = dj.first_of(dj.LossThreshold(0.0), dj.Discrepancy())

    def diip(rule: object, **settings: object) -> dj.DIIP:
        return dj.DIIP(prior, rule, **(_NOISE | settings))

    def bird(operator: object, **settings: object) -> dj.BIRD:
        return dj.BIRD(prior, operator, rule, **_NOISE, **settings)

    return {
        "diip_paper": (diip(dj.printed(4)), y, None),
        "diip_robust": (diip(dj.robust(4, patience=3)), y, None),
        "diip_wmv": (diip(dj.windowed_moving_variance(4, patience=3)), y, None),
        "diip_averaged": (diip(dj.Averaged(dj.robust(4, patience=3))), y, None),
        "diip_combined": (diip(dj.combined(k_min=4, patience=3)), y, None),
        "diip_full": (diip(dj.robust(4), gradient="full", max_iterations=8), y, None),
        "bird_blur": (bird(dj.Blur(5)), y, None),
        "bird_known": (bird(dj.Blur(dj.KnownKernel(5))), y, {"kernel": kernels}),
        "bird_zero": (bird(dj.Blur(5, "zero"), updates="alternating"), y, None),
        "bird_down": (bird(dj.Downsample(dj.Blur(3), 2)), small, None),
        "bird_mask": (bird(dj.Mask()), y, {"mask": masks}),
        "bird_gain": (bird(dj.GainOffset(dj.Blur(3))), y, None),
        "dip": (
            dj.DIP(
                dj.windowed_moving_variance(4, patience=3), levels=2, channels=8, input_channels=4, max_iterations=14
            ),
            y,
            None,
        ),
    }


def restored(method: object, y: np.ndarray, args: object) -> dict[str, np.ndarray]:
    """What is compared of a restoration, from the random numbers that it then had."""
    with mock.patch.object(inputs, "image_keys", keys_of_0_1):
        solution = dj.restore(method, y, args)
    return {
        "images": solution.images,
        "selected": solution.selected,
        "iterations": solution.stats["iterations"],
        "reasons": np.array(solution.reasons),
    }


def keys_of_0_1(y: np.ndarray, seed: int, samples: int = 1) -> jax.Array:
    """The random keys of version 0.1.0, which hashed the bytes of every image."""
    digests = jnp.array([zlib.crc32(image.tobytes()) for image in y], jnp.uint32)
    fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
    return fold(jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), digests), jnp.arange(samples)).reshape(-1)


def main(output: str) -> None:
    values = {f"{name}/{key}": value for name, case in cases().items() for key, value in restored(*case).items()}
    np.savez_compressed(output, **values)


if __name__ == "__main__":
    main(sys.argv[1])
