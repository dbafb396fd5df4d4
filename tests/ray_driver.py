"""`python ray_driver.py Waiting|Stuck|Restorer FOLDER FLAGS...`: the command, whose actors of Ray come to harm."""

import os
import sys
import threading
import time
from pathlib import Path

from diip_jax.launch import ray_engine
from diip_jax.launch.main import main
from diip_jax.launch.ray_engine import Restorer
from diip_jax.solve import refill


def harm() -> Path:
    """The folder in which actors and the test meet."""
    return Path(os.environ["DIIP_JAX_HARM"])


class Waiting(Restorer):
    """From the first record on an actor begins no block before the file go_on is there; it says that it is waiting."""

    def __call__(self, rows):
        while any((harm() / "out").glob("*.json")) and not (harm() / "go_on").exists():
            (harm() / f"waiting_{os.getpid()}").touch()
            time.sleep(0.05)
        return super().__call__(rows)


class Stuck(Restorer):
    """The device of the first actor never answers."""

    patience = 15.0

    def __call__(self, rows):
        try:
            with (harm() / "stuck").open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return super().__call__(rows)
        refill._Device.wait = lambda self: threading.Event().wait()
        return super().__call__(rows)


if __name__ == "__main__":
    how, folder, *arguments = sys.argv[1:]
    os.environ["DIIP_JAX_HARM"], os.environ["RAYDRIVER"] = folder, str(os.getpid())
    ray_engine.Restorer = {"Waiting": Waiting, "Stuck": Stuck, "Restorer": Restorer}[how]
    sys.exit(main(arguments))
