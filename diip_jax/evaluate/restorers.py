"""The baselines of `diip_jax.evaluate.baselines` as entries take them, see `diip_jax.evaluate.one_shot.Restorer`."""

import dataclasses
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from diip_jax.evaluate.baselines import classical
from diip_jax.methods import DreamClean
from diip_jax.prior import Prior
from diip_jax.restore import restore
from diip_jax.solve.cost import sampler_memory

Name = Literal["non_local_means", "total_variation", "unsupervised_wiener"]

_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "non_local_means": classical.non_local_means,
    "total_variation": classical.total_variation,
    "unsupervised_wiener": classical.unsupervised_wiener,
}


@dataclasses.dataclass(frozen=True)
class Classical:
    """A function of `diip_jax.evaluate.baselines.classical`, with its defaults; no network takes part.

    Attributes:
        name: the function's.
    """

    name: Name

    def __post_init__(self) -> None:
        if self.name not in get_args(Name):
            raise ValueError(f"name={self.name!r}: expected one of {', '.join(get_args(Name))}")

    def restore(self, prior: Prior, y: np.ndarray, seed: int) -> np.ndarray:
        """Restored images `[n, H, W, C]` uint8. Raises ImportError where scikit-image is missing."""
        return _FUNCTIONS[self.name](y)

    def evaluations(self, prior: Prior) -> int:
        """None."""
        return 0

    def memory_bytes(self, prior: Prior, y: np.ndarray) -> int | None:
        """Not known: it is no program of XLA."""
        return None


@dataclasses.dataclass(frozen=True)
class Sampled:
    """DreamClean, with its settings."""

    gamma: float = 0.8
    tau: int = 50
    corrections: int = 1
    stride: int = 10

    def _method(self, prior: Prior) -> DreamClean:
        return DreamClean(prior, **dataclasses.asdict(self))

    def restore(self, prior: Prior, y: np.ndarray, seed: int) -> np.ndarray:
        """Restored images `[n, H, W, C]` uint8."""
        return restore(self._method(prior), y, seed=seed).images

    def evaluations(self, prior: Prior) -> int:
        """Of the prior's network, for an image."""
        return self._method(prior).evaluations

    def memory_bytes(self, prior: Prior, y: np.ndarray) -> int | None:
        """What XLA plans for so many images."""
        return sampler_memory(self._method(prior), y / np.float32(127.5) - np.float32(1))
