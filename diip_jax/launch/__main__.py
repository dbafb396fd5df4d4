"""`python -m diip_jax.launch`."""

from diip_jax import startup
from diip_jax.launch.main import main

startup.run(main)
