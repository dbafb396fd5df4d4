"""A restorer, and an entry of it, that the tests of the evaluation share."""

import dataclasses
from typing import ClassVar

import numpy as np

from diip_jax.evaluate.protocols import Entry
from diip_jax.evaluate.protocols.protocol import always, stopping
from diip_jax.evaluate.run import Restorer, Run


@dataclasses.dataclass(frozen=True)
class Brighter(Restorer):
    """Halves an image's values and adds to them; notes how many images it was given."""

    amount: int
    calls: ClassVar[list] = []

    def __call__(self, task, seed):
        self.calls.append(len(task))
        images = (task.y // 2 + self.amount + seed).astype(np.uint8)
        return dataclasses.replace(Run.of(images), evaluations=np.full((len(task), 1), 7))

    @property
    def decides(self):
        return {"method": "brighter", "amount": self.amount}


def brighter(amount=5, images=2, name="brighter"):
    """An entry that restores so; not under blur."""
    return Entry(name, lambda task, prior: None if task == "blur" else Brighter(amount), images=images)


def looped(name, settings, *rules, images=2, **variants):
    """An entry of a method of the loop."""
    return Entry(name, always(settings), {**stopping(*rules), **variants}, images)
