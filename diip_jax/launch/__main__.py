"""`python -m diip_jax.launch`."""

import sys

from diip_jax.launch.main import main
from diip_jax.run.signals import ends_on_signals

with ends_on_signals():
    sys.exit(main(sys.argv[1:]))
