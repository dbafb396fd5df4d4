"""`python -m diip_jax.train`."""

import sys

from diip_jax import startup
from diip_jax.terminal import say

try:
    from diip_jax.train.main import main
except ModuleNotFoundError as missing:
    if missing.name != "grain":
        raise
    say('diip_jax.train: error: grain is missing; run: pip install "diip_jax[train]"', sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    startup.run(main)
