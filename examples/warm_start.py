"""Watch a restoration, stop it, and go on from where it was.

python examples/warm_start.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

import diip_jax as dj

prior = dj.load_prior()
noisy = np.asarray(Image.open(Path(__file__).parent / "noise/astronaut.png"))[None]


def method(iterations):
    return dj.DIIP(prior, dj.Never(), learning_rate=0.1, stride=500, max_iterations=iterations)


def watch(view):
    """Gets what there is after every 5 iterations."""
    spread = view.current().std()  # what would be returned now, [1, 64, 64, 3] in [-1, 1]
    print(f"after {view.iterations[0]} iterations: standard deviation {spread:.3f}")
    if view.iterations[0] >= 10:
        view.stop()  # or of some of the images: view.stop([0])


stopped = dj.restore(method(20), noisy, callback=dj.every(5, watch))
print(f"{stopped.reasons[0][0]}: {dj.Result(int(stopped.result[0, 0])).advice}")

half = dj.restore(method(15), noisy, u0=stopped.state)
whole = dj.restore(method(20), noisy, u0=half.state)
at_once = dj.restore(method(20), noisy)
same = (whole.images == at_once.images).all()
print(f"{whole.stats['iterations'][0, 0]} iterations; the same image as at once: {same}")
