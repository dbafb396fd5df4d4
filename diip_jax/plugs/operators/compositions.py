"""Operators made of another one: what happens to an image before it is, say, blurred, or after."""

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.array_types import Any, Array, Count, Image, Observed, PRNGKey
from diip_jax.plug import plug
from diip_jax.plugs.operators.operator import Guess, Identity, PictureOperator


class _OfAnother(PictureOperator):
    """What operators made of another one share; they lie on the image as that one does."""

    operator: Any

    @property
    def scale(self) -> int:
        return self.operator.scale

    @property
    def margin(self) -> int:
        return self.operator.margin

    def init(self, key: PRNGKey, image_shape: tuple[int, int, int]) -> Any:
        return self.operator.init(key, image_shape)

    def learned(self, eta: Any) -> Any:
        return self.operator.learned(eta)

    def estimates(self, eta: Any) -> dict[str, Array]:
        return self.operator.estimates(eta)

    def in_colours_of(self, y: Array, x: Image) -> Image:
        return self.operator.in_colours_of(y, x)

    def check(self, y: np.ndarray, args: Any) -> None:
        self.operator.check(y, args)


class _OfBlocks(_OfAnother):
    """What operators share that take the mean of each block of s x s pixels, D_s."""

    factor: int

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise ValueError(f"factor={self.factor}: expected at least 2")

    @property
    def scale(self) -> int:
        return self.factor * self.operator.scale

    def block_means(self, x: Array) -> Array:
        """D_s(x)."""
        height, width, channels = x.shape
        s = self.factor
        return x.reshape(height // s, s, width // s, s, channels).mean((1, 3))


@plug(data=("operator",))
class Downsample(_OfBlocks):
    """H(x) = D_s(H'(x)), D_s the mean of each block of s x s pixels: super-resolution after a blur H' (section 4).

    Attributes:
        operator: H', of pictures; the identity where nothing came before.
        factor: s.
    """

    operator: Any = Identity()
    factor: int = 4

    def __call__(self, eta: Any, x: Image, args: Any) -> Observed:
        return self.block_means(self.operator(eta, x, args))


@plug(data=("operator",))
class Reduced(_OfBlocks):
    """H(x) = H'(D_s(x)): the other way round, H' is what happened to a picture of larger pixels than the image's.

    An operator H' that looks at y and is inverted (`FoundDamage`) does both in y's pixels. Of the adjoint of D_s that
    makes its pseudoinverse, because D_s D_s^T is a multiple of the identity: a step of `replacement` brings every
    block's mean where H' wants it and leaves what is in the block alone. The estimates are those of H', in y's pixels.

    Attributes:
        operator: H', of pictures; the identity where nothing else happened.
        factor: s.
    """

    operator: Any = Identity()
    factor: int = 2

    @property
    def margin(self) -> int:
        return self.factor * self.operator.margin

    def first_evaluations(self, eta: Any) -> Count | int:
        return self.operator.first_evaluations(eta)

    def init(self, key: PRNGKey, image_shape: tuple[int, int, int]) -> Any:
        return self.operator.init(key, self._reduced(image_shape))

    def start(self, key: PRNGKey, image_shape: tuple[int, int, int], y: Array, args: Any) -> Any:
        return self.operator.start(key, self._reduced(image_shape), y, args)

    def guess(self, eta: Any, y: Array, args: Any) -> Guess | None:
        """That of H', enlarged by bicubic interpolation: it is never the restored image."""
        found = self.operator.guess(eta, y, args)
        if found is None:
            return None
        height, width, channels = found.image.shape
        size = (self.factor * height, self.factor * width, channels)
        return Guess(jax.image.resize(found.image, size, "cubic"), jnp.zeros((), bool))

    def __call__(self, eta: Any, x: Image, args: Any) -> Observed:
        return self.operator(eta, self.block_means(x), args)

    def visible(self, y: Array, args: Any) -> Array:
        return self.operator.visible(y, args)

    def _reduced(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        height, width, channels = image_shape
        return height // self.factor, width // self.factor, channels


@plug(data=("operator",))
class GainOffset(_OfAnother):
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
        return self._unchanged(self.operator.init(key, image_shape), image_shape)

    def start(self, key: PRNGKey, image_shape: tuple[int, int, int], y: Array, args: Any) -> Any:
        return self._unchanged(self.operator.start(key, image_shape, y, args), image_shape)

    def _unchanged(self, eta: Any, image_shape: tuple[int, int, int]) -> Any:
        offset = jnp.zeros((self.nodes, self.nodes, image_shape[-1]))
        return {"operator": eta, "log_gain": jnp.zeros(()), "offset": offset}

    def guess(self, eta: Any, y: Array, args: Any) -> Guess | None:
        """That of H', which the gain and the offset may still change."""
        found = self.operator.guess(eta["operator"], y, args)
        return None if found is None else Guess(found.image, jnp.zeros((), bool))

    def first_evaluations(self, eta: Any) -> Count | int:
        return self.operator.first_evaluations(eta["operator"])

    def __call__(self, eta: Any, x: Image, args: Any) -> Observed:
        y = self.operator(eta["operator"], x, args)
        return jnp.exp(eta["log_gain"]) * y + jax.image.resize(eta["offset"], y.shape, "linear")

    def learned(self, eta: Any) -> Any:
        return eta | {"operator": self.operator.learned(eta["operator"])}

    def visible(self, y: Array, args: Any) -> Array:
        return self.operator.visible(y, args)

    def estimates(self, eta: Any) -> dict[str, Array]:
        own = {"gain": jnp.exp(eta["log_gain"]), "offset": eta["offset"]}
        return self.operator.estimates(eta["operator"]) | own
