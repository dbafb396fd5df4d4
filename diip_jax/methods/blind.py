"""The blind default: noise, blur, JPEG, low resolution, dead pixels and mixtures of them, and nobody says which.

The damage is read off the picture beforehand (`FoundDamage`). Where it is noise or JPEG alone, what the prior expects
behind it is the restored image. Otherwise the prior is sampled from, and at every level of noise the picture corrects
what the prior predicts (`CorrectedSampling`). The number of levels is the budget, and no stopping rule is needed.
"""

from typing import Any

import numpy as np
import optax

from diip_jax.array_types import Flag
from diip_jax.plug import check_above, plug
from diip_jax.plugs.corrected_sampling import CorrectedSampling, replacement
from diip_jax.plugs.losses import mse
from diip_jax.plugs.operators.compositions import Reduced
from diip_jax.plugs.operators.found_damage import FoundDamage
from diip_jax.plugs.optimizers import opt
from diip_jax.plugs.rules import Never, first_of
from diip_jax.plugs.rules.rule import Observation, Rule
from diip_jax.solve.problem import Problem

# The first level of noise of a prior that knows details alone: where others begin, at one that hides all but the
# coarsest of a picture, it makes texture up.
_LOCAL_FIRST_LEVEL = 0.4
# From there fewer levels are as good.
_LOCAL_LEVELS = 12


# The level of noise at which the iteration of an enlarged picture ends: what its means say of finer details is little,
# and their own noise would be fitted.
_ENLARGED_LAST_LEVEL = 0.1


@plug()
class Enlarged(Rule):
    """Ends the iteration of a picture that was found to be enlarged, see `Damage`, at an iterate.

    Attributes:
        last: its index.
    """

    last: int

    def __call__(self, state: Any, seen: Observation) -> tuple[Any, Flag]:
        return state, (seen.eta["enlarged"] > 1) & (seen.k >= self.last)


@plug(data=("prior", "rule", "learning_rate", "ridge", "blur", "noise"))
class Blind:
    """Samples x of the prior with k * x + n = y: k, n and the pixels that count from y itself, see `find_damage`.

    Several samples (`restore(..., samples=8)`) differ in what y does not say, and their mean is nearer to the clean
    image than each of them, and less sharp.

    Attributes:
        prior: a `Prior`, or anything that `ddim` takes.
        rule: when to stop; the budget alone needs no more, see docs/blind.md.
        learning_rate: share of every correction that is made.
        ridge: see `SpectralBlur`.
        max_iterations: the budget, and the number of levels, of a local prior 12 at most; one evaluation of the network
            in each.
        first_level: see `CorrectedSampling`; None: 2.4, and for a local prior (`Prior.local`) 0.4.
        last_level: see `CorrectedSampling`.
        scale: sides of the restored image over those of y: y is what `Reduced` makes of it. The damage is looked for in
            y, which the prior has to take, too.
        blur, noise: of y where they are known, or wanted otherwise than they are found, see `find_damage`: standard
            deviations of a Gaussian in pixels, and of the range [-1, 1].

    Raises:
        ValueError: a rate or a level that is not above 0, a budget or a scale below 1, a blur or noise below 0.
    """

    prior: Any
    rule: Any = Never()
    learning_rate: Any = 1.0
    ridge: Any = 0.6
    max_iterations: int = CorrectedSampling.steps
    first_level: float | None = None
    last_level: float = CorrectedSampling.last_level
    scale: int = 1
    blur: Any = None
    noise: Any = None

    def __post_init__(self) -> None:
        check_above("learning_rate", self.learning_rate, 0)
        check_above("max_iterations", self.max_iterations, 1, inclusive=True)
        if self.first_level is not None:
            check_above("first_level", self.first_level, 0)
        check_above("last_level", self.last_level, 0)
        check_above("scale", self.scale, 1, inclusive=True)
        for name in ("blur", "noise"):
            if getattr(self, name) is not None:
                check_above(name, getattr(self, name), 0, inclusive=True)

    def problem(self) -> Problem:
        """The plugs."""
        local = getattr(self.prior, "local", False)
        levels = min(self.max_iterations, _LOCAL_LEVELS) if local else self.max_iterations
        usual = _LOCAL_FIRST_LEVEL if local else CorrectedSampling.first_level
        first = usual if self.first_level is None else self.first_level
        sampling = CorrectedSampling(self.prior, levels, first, self.last_level)
        enlarged = Enlarged(_nearest(np.geomspace(first, self.last_level, levels), _ENLARGED_LAST_LEVEL))
        found = FoundDamage(self.prior, self.ridge, self.scale > 1, self.blur, self.noise)
        return Problem(
            generator=sampling,
            operator=found if self.scale == 1 else Reduced(found, self.scale),
            loss=mse,
            rule=first_of(self.rule, enlarged),
            optimizer=opt(replacement, self.learning_rate),
            # Nothing of the operator is learned, and this keeps no moments of the images in it.
            operator_optimizer=opt(optax.sgd, 1.0),
            max_iterations=levels,
        )


def _nearest(levels: np.ndarray, level: float) -> int:
    """Which of the levels is nearest to one, by the logarithm."""
    return int(np.abs(np.log(levels / level)).argmin())
