"""Calls of `restore` that are refused, made without the tests' type checker: prints each one's error as JSON."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import torch
from networks import tiny_prior, uint8_images

import diip_jax as dj

PRIOR, PHOTOS = tiny_prior(), uint8_images(2)
METHOD = dj.DIIP(PRIOR, dj.Never(), stride=250, max_iterations=1)
FLOATS = PHOTOS / np.float32(127.5) - 1


def with_gap(value):
    y = FLOATS.copy()
    y[1, 3, 4, 2] = value
    return y


def traced(transform):
    return transform(lambda y: jnp.asarray(dj.restore(METHOD, y).images).sum())


CALLS = {
    "nan": lambda: dj.restore(METHOD, with_gap(np.nan)),
    "infinity": lambda: dj.restore(METHOD, with_gap(-np.inf)),
    "nan of a sampler": lambda: dj.restore(dj.DreamClean(PRIOR, tau=20), with_gap(np.nan)),
    "samples": lambda: dj.restore(METHOD, PHOTOS, samples=2.5),
    "samples whole": lambda: dj.restore(METHOD, PHOTOS, samples=2.0),
    "samples truth": lambda: dj.restore(METHOD, PHOTOS, samples=True),
    "samples none": lambda: dj.restore(METHOD, PHOTOS, samples=0),
    "batch_size": lambda: dj.restore(METHOD, PHOTOS, batch_size="2"),
    "seed": lambda: dj.restore(METHOD, PHOTOS, seed=2**32),
    "seed float": lambda: dj.restore(METHOD, PHOTOS, seed=1.5),
    "every": lambda: dj.every(1.5, print),
    "max_iterations": lambda: dj.restore(dj.DIIP(PRIOR, max_iterations=2.5), PHOTOS),
    "class": lambda: dj.restore(dj.DIIP, PHOTOS),
    "class of sampler": lambda: dj.restore(dj.DreamClean, PHOTOS),
    "class of rule": lambda: dj.restore(dj.DIIP(PRIOR, dj.Never), PHOTOS),
    "class of operator": lambda: dj.restore(dj.BIRD(PRIOR, dj.Blur), PHOTOS),
    "class of prior": lambda: dj.restore(dj.DIIP(dj.Prior), PHOTOS),
    "class in another": lambda: dj.Downsample(dj.Blur, 2),
    "no method": lambda: dj.restore(PRIOR, PHOTOS),
    "name": lambda: dj.restore("diip", PHOTOS),
    "jit": lambda: traced(jax.jit)(FLOATS),
    "grad": lambda: traced(jax.grad)(jnp.asarray(FLOATS)),
    "vmap": lambda: traced(jax.vmap)(FLOATS[:, None]),
    "jit over the prior": lambda: jax.jit(lambda p: dj.restore(dj.DIIP(p), PHOTOS).images)(PRIOR),
    "jit over args": lambda: jax.jit(lambda m: dj.restore(dj.BIRD(PRIOR, dj.Mask()), PHOTOS, {"mask": m}).images)(
        np.ones((2, 16, 16), bool)
    ),
    "torch": lambda: dj.restore(METHOD, torch.tensor(FLOATS, requires_grad=True)),
    "torch args": lambda: dj.restore(
        dj.BIRD(PRIOR, dj.Blur(dj.KnownKernel(3))), PHOTOS, {"kernel": torch.ones(2, 3, 3, requires_grad=True)}
    ),
    "ragged": lambda: dj.restore(METHOD, [PHOTOS[0], PHOTOS[1][:5]]),
    "nothing": lambda: dj.restore(METHOD, None),
    "torch u0": lambda: dj.restore(METHOD, PHOTOS, u0=torch.zeros(2, 16, 16, 3, requires_grad=True)),
}


def outcome(call):
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return None


if __name__ == "__main__":
    print(json.dumps({name: outcome(call) for name, call in CALLS.items()}))
