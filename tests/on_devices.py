"""`python on_devices.py OUTPUT.npz [PROGRAM.txt]`: restores on all devices that XLA_FLAGS asks for.

With PROGRAM.txt also writes the loop's program as XLA compiles it for several accelerators.
"""

import sys
from pathlib import Path

import jax
import numpy as np
from networks import images, tiny_prior

import diip_jax
from diip_jax import distribute
from diip_jax.solve import batch

METHOD = diip_jax.DIIP(tiny_prior(), diip_jax.robust(4), 0.02, 10, stride=250)


class Compiled(Exception):
    """Carries the text of a program."""


def vmapped_program() -> str:
    def stop(*arguments):
        raise Compiled(advance.lower(*arguments).compile().as_text())

    advance, batch.advance = batch.advance, stop
    distribute.on_cpu = lambda mesh: False
    try:
        diip_jax.restore(METHOD, np.asarray(images(len(jax.devices()))))
    except Compiled as program:
        return str(program)
    raise AssertionError("restore did not run the loop")


def main(output: str, *program: str) -> None:
    seen, ended = [], []

    def look(view: diip_jax.View) -> None:
        seen.append((len(view.running), len(view.iterations), len(view.stopped), len(view.current())))
        ended.extend(np.asarray(view.running)[view.stopped])

    restored = diip_jax.restore(
        METHOD,
        np.asarray(images(11)),
        {"clean": np.asarray(images(11, seed=7))},
        batch_size=9,
        save=("loss", "laplacian_variance", diip_jax.psnr),
        callback=look,
    )
    np.savez(
        output,
        devices=len(jax.devices()),
        seen=seen,
        ended=ended,
        images=restored.images,
        iterations=restored.stats["iterations"],
        selected=restored.selected,
        **restored.traces,
    )
    for path in program:
        Path(path).write_text(vmapped_program())


if __name__ == "__main__":
    main(*sys.argv[1:])
