"""A stopping rule of one's own: a bool per iterate; and, apart from it, which iterate is returned."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image

import diip_jax as dj


@dj.plug(data=("share", "patience"))
class Stalled(dj.Rule):
    """True once the loss has not fallen by a share of itself for some iterates; both are data, not program."""

    share: float = 0.01
    patience: int = 3

    def init(self, image, y):
        return {"best": jnp.inf, "since": 0}

    def __call__(self, state, seen):
        better = seen.loss < (1 - self.share) * state["best"]
        since = jnp.where(better, 0, state["since"] + 1)
        return {"best": jnp.where(better, seen.loss, state["best"]), "since": since}, since >= self.patience


def sharpness(seen):
    return seen.laplacian_variance


noisy = np.asarray(Image.open(Path(__file__).parent / "noise/astronaut.png"))[None]
prior = dj.load_prior()
for share in (0.05, 0.02):
    rule = dj.ReturningBest(Stalled(share), sharpness, k_min=5)  # stop when stalled; return the sharpest after k = 5
    solution = dj.restore(dj.DIIP(prior, rule, learning_rate=0.05, stride=500, max_iterations=40), noisy)
    k = solution.stats["iterations"][0, 0]
    print(f"share {share}: {solution.reasons[0][0]} after {k} iterations, returned k = {solution.selected[0, 0]}")
