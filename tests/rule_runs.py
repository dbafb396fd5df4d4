"""Feeds a stopping rule what the loop would show it."""

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.stopping import Observation

SHAPE = (2, 2, 3)


def run(rule, loss, sharpness=None, images=None, y=None):
    """(k at which the rule fires, selected k, name) and the verdict's image, or None.

    Args:
        images: iterates; without them iterate k is the constant k, so that an image tells which iterate it is.
        y: the degraded image, without it zeros.
    """
    sharpness = np.ones(len(loss)) if sharpness is None else sharpness
    images = [jnp.full(SHAPE, float(k)) for k in range(len(loss))] if images is None else images
    update = jax.jit(rule.update)
    state = rule.init(jnp.zeros(images[0].shape), jnp.zeros(images[0].shape) if y is None else y)
    for k, (e, lv, image) in enumerate(zip(loss, sharpness, images, strict=True)):
        state, verdict = update(state, Observation(jnp.int32(k), jnp.float32(e), jnp.float32(lv), image))
        if verdict.stop:
            return (k, int(verdict.selected), rule.names[int(verdict.reason)]), np.asarray(verdict.image)
    return None


def stop(rule, loss, sharpness=None):
    """(k at which a rule that returns an iterate fires, selected k, name), or None where it never does."""
    found = run(rule, loss, sharpness)
    if found is None:
        return None
    assert (found[1] == found[0][1]).all()
    return found[0]
