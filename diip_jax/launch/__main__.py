"""`python -m diip_jax.launch`."""

import sys

from diip_jax.launch.main import main

sys.exit(main(sys.argv[1:]))
