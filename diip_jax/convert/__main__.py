"""`python -m diip_jax.convert`."""

import sys

from diip_jax.convert.main import main

sys.exit(main(sys.argv[1:]))
