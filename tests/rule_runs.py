"""Feeds a stopping rule what the loop would show it."""

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.plugs.rules import Candidate, Observation

SHAPE = (2, 2, 3)


def run(rule, loss, sharpness=None, images=None, y=None, *, to_the_end=False):
    """(k at which the rule fires, selected k, name) and the image that is returned, or None where it never fires.

    Args:
        images: iterates; without them iterate k is the constant k, so that an image tells which iterate it is.
        y: the degraded image, without it zeros.
        to_the_end: where it never fires, what it returns at the last iterate, with the name None.
    """
    sharpness = np.ones(len(loss)) if sharpness is None else sharpness
    images = [jnp.full(SHAPE, float(k)) for k in range(len(loss))] if images is None else images
    judge = jax.jit(lambda rule, state, seen: rule.judge(state, seen))
    nothing = jnp.zeros(images[0].shape)
    state = rule.start(Candidate(jnp.int32(-1), nothing), nothing if y is None else y)
    for k, (e, lv, image) in enumerate(zip(loss, sharpness, images, strict=True)):
        state, verdict = judge(rule, state, Observation(jnp.int32(k), jnp.float32(e), jnp.float32(lv), image))
        chosen = int(verdict.chosen.k), np.asarray(verdict.chosen.image)
        if verdict.stop:
            return (k, chosen[0], rule.names[int(verdict.reason)]), chosen[1]
    return ((k, chosen[0], None), chosen[1]) if to_the_end else None


def stop(rule, loss, sharpness=None):
    """(k at which a rule that returns an iterate fires, selected k, name), or None where it never does."""
    found = run(rule, loss, sharpness)
    if found is None:
        return None
    assert (found[1] == found[0][1]).all()
    return found[0]


def shown(y, mask):
    """y as a rule sees it where a mask hides a part."""
    return jnp.where(mask[..., None], y, jnp.nan)
