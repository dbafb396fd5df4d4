"""What is known of an image's degradation, as data."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from diip_jax.array_types import Any, Array


class Known(NamedTuple):
    """What is known of an image's degradation: data, so that another mask is not another XLA program.

    Every field has a leading batch axis outside `vmap`. None: not given.

    Attributes:
        mask: `[h, w]` bool, true where y shows the image.
        kernel: `[K, K]` float32, the blur kernel, of sum 1.
    """

    mask: Any = None
    kernel: Any = None


def check_known(
    needs: Sequence[str],
    y_shape: tuple[int, ...],
    masks: np.ndarray | Array | None,
    kernels: np.ndarray | Array | None,
) -> Known:
    """What is known of a batch, if it is what its operator needs.

    Args:
        needs: `Operator.needs`.
        y_shape: (N, h, w) of the observations.
        masks: `[N, h, w]` bool.
        kernels: `[N, K, K]` of sum 1.

    Raises:
        ValueError: something is missing, is not needed, or has another shape, dtype or sum.
    """
    given = {name: np.asarray(value) for name, value in (("mask", masks), ("kernel", kernels)) if value is not None}
    for name in sorted({*given} ^ {*needs}):
        verb = "needs" if name in needs else "takes no"
        raise ValueError(f"the method {verb} {name}s: see `degradation` and `kernel_model` of diip_jax.BIRD")
    mask, kernel = given.get("mask"), given.get("kernel")
    if mask is not None and mask.shape != y_shape:
        raise ValueError(f"masks have shape {mask.shape}: expected {y_shape}, one of its size for each image")
    if mask is not None and not (mask.dtype == bool and mask.any((1, 2)).all()):
        raise ValueError(f"masks are {mask.dtype}: expected bool, true at one pixel of each image at least")
    if kernel is not None and (kernel.ndim != 3 or len(kernel) != y_shape[0]):
        raise ValueError(f"kernels have shape {kernel.shape}: expected ({y_shape[0]}, K, K), one for each image")
    if kernel is not None and not np.allclose(kernel.sum((1, 2)), 1, atol=1e-3):
        raise ValueError(f"kernels have sums up to {kernel.sum((1, 2)).max():g}: expected 1; divide each by its sum")
    return Known(mask, None if kernel is None else kernel.astype(np.float32))
