"""`python on_devices.py OUTPUT.npz [PROGRAM.txt]`: restores on all devices that XLA_FLAGS asks for.

With PROGRAM.txt also writes the loop's program as XLA compiles it for several accelerators.
"""

import sys
from pathlib import Path

import jax
import numpy as np
from networks import images, tiny_prior

import diip_jax
from diip_jax import api, distribute

SETTINGS = {"stride": 250, "learning_rate": 0.02, "max_iterations": 10, "k_min": 4}


class Compiled(Exception):
    """Carries the text of a program."""


def vmapped_program() -> str:
    def stop(*arguments):
        raise Compiled(advance.lower(*arguments).compile().as_text())

    advance, api._advance = api._advance, stop
    distribute.on_cpu = lambda mesh: False
    try:
        diip_jax.restore(tiny_prior(), np.asarray(images(len(jax.devices()))), **SETTINGS)
    except Compiled as program:
        return str(program)
    raise AssertionError("restore did not run the loop")


def main(output: str, *program: str) -> None:
    seen = []
    restored = diip_jax.restore(
        tiny_prior(),
        np.asarray(images(6)),
        batch_size=5,
        references=np.asarray(images(6, seed=7)),
        progress=lambda p: seen.append((len(p.running), len(p.iterations), len(p.stopped), len(p.current()))),
        **SETTINGS,
    )
    np.savez(
        output,
        devices=len(jax.devices()),
        seen=seen,
        images=restored.images,
        iterations=restored.iterations,
        selected=restored.selected,
        **restored.traces,
    )
    for path in program:
        Path(path).write_text(vmapped_program())


if __name__ == "__main__":
    main(*sys.argv[1:])
