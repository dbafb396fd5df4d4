"""A benchmark of one's own pairs of pictures, and a restorer of one's own in it.

python examples/own_pairs.py
"""

from pathlib import Path

from scipy.ndimage import median_filter

import diip_jax as dj
from diip_jax import evaluate

FOLDER = Path(__file__).parent
prior = dj.load_prior()


def median(task, seed):
    """Anything that makes a run of a task's degraded images `task.y`, [n, H, W, C] uint8."""
    return evaluate.Run.of(median_filter(task.y, (1, 3, 3, 1)))


def diip(task, seed):
    method = dj.DIIP(prior, dj.Never(), learning_rate=0.1, stride=500, max_iterations=12)
    return evaluate.Run.of(dj.restore(method, task.y, seed=seed))  # with its network evaluations and seconds


# Folders of pictures with the same names; or a corruption: evaluate.corrupted("motion_blur", clean, severity=5).
task = evaluate.pairs(FOLDER / "noise", FOLDER / "clean", name="portraits")
rows = [evaluate.quality(task, "input", task.y)]
for restorer in (median, diip):
    rows += evaluate.score(task, restorer.__name__, restorer(task, seed=0))
print(evaluate.markdown(rows))
