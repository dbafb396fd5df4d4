"""Makes a torchvision that is built for CUDA import beside a torch that is not.

torchvision's wheels on PyPI are of the first kind; their library then does not load, and the import fails for two
operators of boxes, which nothing here calls. They are declared, not defined.
"""

import torch

_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")


def declare() -> None:
    """To be called before torchvision is imported; does nothing where the operators are there."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in ("nms", "qnms"):
            _LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
