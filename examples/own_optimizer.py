"""Optimisers of one's own: any optax transformation by its maker and settings, a rate that decays, a rate for a group.

python examples/own_optimizer.py
"""

from pathlib import Path

import numpy as np
import optax
from PIL import Image

import diip_jax as dj


def clipped_lion(rate, largest):
    """What is put together from several transformations is a function of its own."""
    return optax.chain(optax.clip_by_global_norm(largest), optax.lion(rate))


blurred, clean = (
    np.asarray(Image.open(Path(__file__).parent / f"{kind}/astronaut.png"), np.float32)[None] / 127.5 - 1
    for kind in ("blur", "clean")
)
iterations = 40
problem = dj.Problem(
    dj.ddim(dj.load_prior(), stride=250, refresh=1),  # one network evaluation an iteration
    dj.GainOffset(dj.Blur(9)),
    optimizer=dj.opt(optax.adam, dj.decay(optax.cosine_decay_schedule, 0.03, decay_steps=iterations, alpha=0.1)),
    operator_optimizer=dj.Groups(
        {
            "operator": dj.opt(optax.adam, 0.01),  # the kernel
            "log_gain": dj.opt(optax.sgd, 1e-3, momentum=0.9),
            "offset": dj.opt(clipped_lion, 1e-3, largest=1.0),
        }
    ),
    max_iterations=iterations,
)
solution = dj.restore(problem, blurred, {"clean": clean}, save=(dj.psnr,))
print(f"{solution.traces['psnr'][0, 0, -1]:.2f} dB after {solution.stats['evaluations'][0, 0]} network evaluations")
