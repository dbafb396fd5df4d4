"""Evaluation: a task is restored by restorers, their runs are scored, and the scores make a report.

    task          what is to be restored: clean images corrupted once, or pairs of one's own
    run           what a restorer made of a task, a `Run`; kept in files, so that nothing is computed twice
    restorers     the methods of the package, and classical ones, as `restorer(task, seed) -> Run`
    score         stopping rules replayed on every iterate of a run; quality, distance to the input and cost
    report        scores as tables in markdown
    protocols     what each published table compares: a file a table
    tables        the runs that tables need, computed and scored
    figures       curves and grids of images
    spread        several restorations of an image

The command is `python -m diip_jax.evaluate`; `examples/own_pairs.py` does the same in Python.
"""

from diip_jax.evaluate.report import markdown, overview
from diip_jax.evaluate.run import Run
from diip_jax.evaluate.score import quality, score
from diip_jax.evaluate.task import Task, corrupted, pairs

__all__ = ["Run", "Task", "corrupted", "markdown", "overview", "pairs", "quality", "score"]
