"""`python -m diip_jax.launch`."""

from collections.abc import Sequence

from diip_jax import startup
from diip_jax.launch.main import main
from diip_jax.run.signals import ends_on_signals


def command(arguments: Sequence[str]) -> int:
    """`main`, ended in time by SIGTERM and Ctrl-C."""
    with ends_on_signals():
        return main(arguments)


startup.run(command)
