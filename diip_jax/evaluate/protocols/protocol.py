"""What a protocol is made of."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from diip_jax.commands.settings import BlindSettings, DIIPSettings, Settings
from diip_jax.degradations import CORRUPTIONS
from diip_jax.evaluate.restorers import Loop
from diip_jax.evaluate.run import Restorer

# Of a task's name and the prior, what restores it; None where it has nothing to do with the task.
Maker = Callable[[str, Any], Restorer | None]


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a table compares: a restorer, and the stopping rules that are judged on its iterates.

    Attributes:
        name: how the table calls it.
        restorer: makes it; its run is the same for all rules.
        rules: name -> the settings of the rule, which differ from the restorer's; without any there is one row.
        images: how many of the images take part, at most.
    """

    name: str
    restorer: Maker
    rules: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    images: int = 16


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What makes a table.

    Attributes:
        entries: the first one takes all images.
        tasks: names of corruptions.
        possible: corruptions that may be asked for instead.
        curves: whether there is a figure of the curves over the iterations.
    """

    entries: tuple[Entry, ...]
    tasks: tuple[str, ...]
    possible: tuple[str, ...] = tuple(CORRUPTIONS)
    curves: bool = False


def always(settings: Settings) -> Maker:
    """A method with the same settings whatever the task."""
    return lambda task, prior: Loop(prior, settings)


def stopping(*names: str) -> dict[str, dict[str, object]]:
    """Rules by the names that `stopping` has for them, with the restorer's settings."""
    return {name: {"stopping": name} for name in names}


# What a user gets, but for the stride: 200 halves the time. What a rule does not decide within the run is decided by
# its end.
DIIP = Entry("DIIP", always(DIIPSettings(stride=200)), stopping("robust", "combined", "paper"))

# The default, as it is.
BLIND = Entry("Blind", always(BlindSettings()), stopping("budget"), 64)
