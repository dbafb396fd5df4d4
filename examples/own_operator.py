"""An operator of one's own: a part of the Fourier transform (k-space, complex), with a gain that nobody knows.

python examples/own_operator.py
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import diip_jax as dj


@dj.plug()
class KSpace(dj.Operator):
    """y = m * gain * F x for every channel: complex, of x's shape; what is sampled is known of each image."""

    def init(self, key, image_shape):
        return {"log_gain": jnp.zeros(())}

    def __call__(self, eta, x, args):
        return jnp.exp(eta["log_gain"]) * args["sampled"][..., None] * jnp.fft.fft2(x, axes=(0, 1), norm="ortho")

    def estimates(self, eta):
        return {"gain": jnp.exp(eta["log_gain"])}


clean = np.asarray(Image.open(Path(__file__).parent / "clean/astronaut.png"), np.float32) / 127.5 - 1
sampled = np.random.default_rng(0).random((1, 64, 64)) < 0.4
sampled[:, :8, :8] = True
y = (0.8 * sampled[..., None] * np.fft.fft2(clean, axes=(0, 1), norm="ortho")).astype(np.complex64)

rates = {"optimizer": dj.opt(optax.adam, 0.03), "operator_optimizer": dj.opt(optax.adam, 0.02)}
problem = dj.Problem(dj.ddim(dj.load_prior(), stride=500), KSpace(), **rates, max_iterations=40)
solution = dj.restore(problem, y, {"sampled": sampled, "clean": clean[None]}, save=("loss", dj.psnr))
print(f"{solution.traces['psnr'][0, 0, -1]:.2f} dB, gain {solution.operator['gain'][0, 0]:.2f} (0.8)")
