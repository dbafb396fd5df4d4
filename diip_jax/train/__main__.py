"""`python -m diip_jax.train`."""

import sys

from diip_jax import startup

try:
    from diip_jax.train.main import main
except ModuleNotFoundError as missing:
    if missing.name != "grain":
        raise
    print('diip_jax.train: error: grain is missing; run: pip install "diip_jax[train]"', file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    startup.run(main)
