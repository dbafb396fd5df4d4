"""`python mortal_process.py KILLED|- FLAGS...`: the command, held up after its first image.

With `-` it then kills itself, as a machine that is lost would; else it leaves a file KILLED.PID, and goes on once the
file KILLED is there.
"""

import os
import signal
import sys
import time
from pathlib import Path

from diip_jax.launch import main, restore_files


def main_held_up(killed: str, *arguments: str) -> int:
    usual = restore_files._Work._written

    def hold_up(*written):
        usual(*written)
        if killed == "-":
            os.kill(os.getpid(), signal.SIGKILL)
        Path(f"{killed}.{os.getpid()}").touch()
        while not Path(killed).exists():
            time.sleep(0.05)

    restore_files._Work._written = hold_up
    return main.main(arguments)


if __name__ == "__main__":
    sys.exit(main_held_up(*sys.argv[1:]))
