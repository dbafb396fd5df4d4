"""Operators made of another one: what happens to an image after it was, say, blurred."""

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.array_types import Any, Array, Image, Observed, PRNGKey
from diip_jax.plug import plug
from diip_jax.plugs.operators.operator import Identity, PictureOperator


class _After(PictureOperator):
    """What operators that follow another one share; they lie on the image as that one does."""

    operator: Any

    @property
    def scale(self) -> int:
        return self.operator.scale

    @property
    def margin(self) -> int:
        return self.operator.margin

    def init(self, key: PRNGKey, image_shape: tuple[int, int, int]) -> Any:
        return self.operator.init(key, image_shape)

    def estimates(self, eta: Any) -> dict[str, Array]:
        return self.operator.estimates(eta)

    def in_colours_of(self, y: Array, x: Image) -> Image:
        return self.operator.in_colours_of(y, x)

    def check(self, y: np.ndarray, args: Any) -> None:
        self.operator.check(y, args)


@plug(data=("operator",))
class Downsample(_After):
    """H(x) = D_s(H'(x)), D_s the mean of each block of s x s pixels: super-resolution after a blur H' (section 4).

    Attributes:
        operator: H', of pictures; the identity where nothing came before.
        factor: s.
    """

    operator: Any = Identity()
    factor: int = 4

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise ValueError(f"factor={self.factor}: expected at least 2")

    @property
    def scale(self) -> int:
        return self.factor * self.operator.scale

    def __call__(self, eta: Any, x: Image, args: Any) -> Observed:
        fine, s = self.operator(eta, x, args), self.factor
        height, width, channels = fine.shape
        return fine.reshape(height // s, s, width // s, s, channels).mean((1, 3))


@plug(data=("operator",))
class GainOffset(_After):
    """H(x) = g H'(x) + M: a gain, and an offset that changes slowly over the image (a veil, a light, a colour cast).

    y = K(x) + M is the model of BIR-D (arXiv 2408.11287), whose M has a value for every pixel and needs regularisation
    lest it explains the whole image. Here M is a map of nodes x nodes values for every channel, interpolated
    bilinearly: too coarse to draw anything. g = exp(log g) > 0 is one number. Both start at what changes nothing.

    The estimates are those of H', "gain" `[]` and "offset" `[nodes, nodes, C]` in units of the [-1, 1] range.

    Attributes:
        operator: H', of pictures; the identity where nothing came before.
    """

    operator: Any = Identity()
    nodes: int = 4

    def init(self, key: PRNGKey, image_shape: tuple[int, int, int]) -> Any:
        return {
            "operator": self.operator.init(key, image_shape),
            "log_gain": jnp.zeros(()),
            "offset": jnp.zeros((self.nodes, self.nodes, image_shape[-1])),
        }

    def __call__(self, eta: Any, x: Image, args: Any) -> Observed:
        y = self.operator(eta["operator"], x, args)
        return jnp.exp(eta["log_gain"]) * y + jax.image.resize(eta["offset"], y.shape, "linear")

    def estimates(self, eta: Any) -> dict[str, Array]:
        own = {"gain": jnp.exp(eta["log_gain"]), "offset": eta["offset"]}
        return self.operator.estimates(eta["operator"]) | own
