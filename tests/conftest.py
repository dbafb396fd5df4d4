"""What every test runs under: the CPU, and every jaxtyping annotation checked by beartype."""

import os

# Before the first import of jax anywhere.
os.environ["JAX_PLATFORMS"] = "cpu"

from jaxtyping import install_import_hook

# Every annotated function of the package is type- and shape-checked on each call; users never pay for it.
install_import_hook("diip_jax", "beartype.beartype")
