"""`python -m diip_jax.convert`."""

from diip_jax import startup
from diip_jax.convert.main import main

startup.run(main)
