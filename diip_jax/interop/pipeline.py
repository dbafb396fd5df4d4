"""Restoration called as diffusers' image pipelines are: `RestorationPipeline.from_pretrained(folder)(image).images`."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from diip_jax.methods import Blind
from diip_jax.methods.method import Method
from diip_jax.prior import load_prior
from diip_jax.restore import Solution, View, restore


class PipelineOutput(NamedTuple):
    """Restored images, a list of Pillow's or `[N, H, W, C]` in [0, 1]; and the whole solution."""

    images: Any
    solution: Solution


class RestorationPipeline:
    """A method on a prior. `method` makes it: `Blind`, `DIIP`, or a function of the prior."""

    def __init__(self, method: Method) -> None:
        self.method = method

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str] | None = None, method: Callable[..., Method] = Blind, **settings: Any
    ) -> "RestorationPipeline":
        """With a checkpoint of `diip_jax.convert`; None: the bundled one. Raises as `load_prior` and the method do."""
        return cls(method(load_prior(folder), **settings))

    def __call__(
        self,
        image: Any,
        *,
        generator: Any = 0,
        num_images_per_prompt: int = 1,
        output_type: str = "pil",
        callback: Callable[[View], None] | None = None,
    ) -> PipelineOutput:
        """Restores Pillow's pictures, one or a list of one size, that of the prior.

        Args:
            generator: a seed, or a torch generator whose first seed it is.
            num_images_per_prompt: restorations of each; the images are then their means, `solution.samples` each.
            output_type: "pil" or "np".
            callback: as of `diip_jax.restore`.

        Raises:
            ValueError: as `diip_jax.restore`; an output type of another name.
        """
        if output_type not in ("pil", "np"):
            raise ValueError(f"output_type={output_type!r}: expected 'pil' or 'np'")
        seed = generator.initial_seed() if hasattr(generator, "initial_seed") else generator
        solution = restore(self.method, image, seed=seed, samples=num_images_per_prompt, callback=callback)
        images = solution.images if output_type == "pil" else np.stack(list(map(np.asarray, solution.images))) / 255
        return PipelineOutput(images, solution)
