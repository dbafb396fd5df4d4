"""`python dip_in_batches.py OUTPUT.npz`: DIP of two images together, and of the second alone."""

import sys

import numpy as np
from networks import images

import diip_jax
from diip_jax.methods import DIP

TINY = DIP(max_iterations=6, levels=2, channels=8, input_channels=4)


def main(output: str) -> None:
    y = np.asarray(images(2))
    together, alone = (diip_jax.restore(TINY, batch).images for batch in (y, y[1:]))
    np.savez(output, together=together, alone=alone)


if __name__ == "__main__":
    main(sys.argv[1])
