"""The network that writes a blur kernel: SelfDeblur's, which BIRD takes over (section 4)."""

import flax.linen as nn
import jax

from diip_jax.array_types import Any, Array, Float, PRNGKey

INPUTS = 200  # length of the noise vector
_HIDDEN = 1000


class KernelNetwork(nn.Module):
    """A noise vector to a blur kernel: two dense layers, 200 -> 1000 -> K * K, with ReLU6 between and softmax behind.

    D. Ren et al., "Neural Blind Deconvolution Using Deep Priors" (CVPR 2020). The softmax makes the kernel non-negative
    and of sum 1. Parameters start as torch initialises a linear layer, uniform in +-1 / sqrt(inputs).

    Attributes:
        size: K, in pixels.
    """

    size: int

    @nn.compact
    def __call__(self, noise: Float[Array, " inputs"]) -> Float[Array, "K K"]:
        hidden = nn.relu6(_dense(_HIDDEN, INPUTS)(noise))
        return nn.softmax(_dense(self.size**2, _HIDDEN)(hidden)).reshape(self.size, self.size)


def _dense(outputs: int, inputs: int) -> nn.Dense:
    bound = inputs**-0.5

    def uniform(key: PRNGKey, shape: tuple[int, ...], dtype: Any) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return nn.Dense(outputs, kernel_init=uniform, bias_init=uniform, precision=jax.lax.Precision.HIGHEST)
