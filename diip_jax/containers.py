"""What pictures come in, and go back in: NumPy and JAX arrays, torch tensors, Pillow's pictures."""

from collections.abc import Callable
from typing import Any

import numpy as np

Back = Callable[[np.ndarray], Any]


def unpacked(pictures: Any) -> tuple[Any, Back]:
    """(an array `[N, H, W, C]`, what packs such an array, or one of `[N, S, H, W, C]`, as the pictures came).

    - A torch tensor `[N, C, H, W]` of any device comes back as one, there; one that records gradients is passed
      through, to be refused as any array that it is not.
    - Pillow's pictures, one or a list, all RGB or all grey and of one size, come back as a list of them; of several
      samples as a list of lists.
    - Everything else is passed through, and so is what is made of it.

    Raises:
        ValueError: Pillow's pictures of other modes, or of several modes or sizes.
    """
    kind = type(pictures)
    if kind.__module__.partition(".")[0] == "torch" and hasattr(pictures, "detach"):
        # One that records gradients is refused as an array, with what to do.
        return (pictures, lambda restored: restored) if pictures.requires_grad else _of_torch(pictures)
    listed = list(pictures) if isinstance(pictures, list | tuple) else [pictures]
    if listed and all(hasattr(one, "getbands") and hasattr(one, "convert") for one in listed):
        return _of_pillow(listed)
    return pictures, lambda restored: restored


def _of_torch(tensor: Any) -> tuple[np.ndarray, Back]:
    array = tensor.cpu().numpy()
    # Observations of one's own operator may have any shape; four axes are pictures.
    pictures = array.ndim == 4

    def back(restored: np.ndarray) -> Any:
        import torch

        moved = np.ascontiguousarray(np.moveaxis(restored, -1, -3)) if pictures else restored
        return torch.from_numpy(moved).to(tensor.device)

    return (np.moveaxis(array, 1, -1) if pictures else array), back


def _of_pillow(pictures: list[Any]) -> tuple[np.ndarray, Back]:
    kinds = {(one.mode, one.size) for one in pictures}
    if len(kinds) > 1 or next(iter(kinds))[0] not in ("RGB", "L"):
        found = ", ".join(sorted(f"{mode} {width}x{height}" for mode, (width, height) in kinds))
        raise ValueError(f"pictures are {found}: expected RGB, or L (grey), of one size; use .convert and .resize")
    array = np.stack([np.asarray(one) for one in pictures])

    def back(restored: np.ndarray) -> Any:
        from PIL import Image

        if restored.ndim == 5:
            return [back(samples) for samples in restored]
        return [Image.fromarray(one[..., 0] if one.shape[-1] == 1 else one) for one in restored]

    return (array[..., None] if array.ndim == 3 else array), back
