"""Array annotations and the letter legend of the whole package.

Letters, in the order in which they appear in a shape:

    B  images in a batch            N  images handed to the public API
    H  height, W  width in pixels   C  colour channels (3 for RGB)
    h  height, w  width of an observation, where an operator may have changed them
    T  diffusion timesteps          K  side of a blur kernel, or iterations of a trace

Images are NHWC. Inside the package they are float32 in [-1, 1]; a single image (inside `vmap`) is `[H, W, C]`.
"""

from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Num, PyTree, UInt8, UInt32

Image: TypeAlias = Float[Array, "H W C"]
Images: TypeAlias = Float[Array, "B H W C"]
Observed: TypeAlias = Float[Array, "h w C"]
Scalar: TypeAlias = Float[Array, ""]
Count: TypeAlias = Int[Array, ""]
Flag: TypeAlias = Bool[Array, ""]
Timesteps: TypeAlias = Num[Array, " B"]
PRNGKey: TypeAlias = Key[Array, ""]
Params: TypeAlias = PyTree[Float[Array | np.ndarray, "..."] | jax.ShapeDtypeStruct]

__all__ = [
    "Any",
    "Array",
    "Bool",
    "Count",
    "Flag",
    "Float",
    "Image",
    "Images",
    "Int",
    "Key",
    "Num",
    "Observed",
    "PRNGKey",
    "Params",
    "PyTree",
    "Scalar",
    "Timesteps",
    "UInt8",
    "UInt32",
]
