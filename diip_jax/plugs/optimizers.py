"""Optimisers: any optax transformation, held as its maker and its settings.

A transformation that is made anew compiles anew, because it consists of closures, which compare by identity. A maker
and settings compare by value, and the rate is data: ten rates run in one program.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax

from diip_jax.plug import Function, as_plug, plug


@plug(data=("rate", "arrays"))
class Optimizer:
    """An optax transformation `maker(rate, *arguments, **settings)`; see `opt`, which makes one.

    Attributes:
        maker: `optax.adam` or any other function that returns a `GradientTransformation`.
        rate: its first argument, a number or a `Schedule`. Data.
        arrays: those of the settings that are arrays, by name. Data.
        arguments, settings: the others.
    """

    maker: Callable[..., optax.GradientTransformation]
    rate: Any
    arrays: Mapping[str, Any]
    arguments: tuple[Any, ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()

    def transformation(self) -> optax.GradientTransformation:
        """The transformation itself."""
        rate = self.rate.function() if isinstance(self.rate, Schedule) else self.rate
        rate = rate.function if isinstance(rate, Function) else rate
        return self.maker(rate, *self.arguments, **self.arrays, **dict(self.settings))

    def init(self, params: Any) -> Any:
        """The state before the first step."""
        return self.transformation().init(params)

    def update(self, gradient: Any, state: Any, params: Any) -> tuple[Any, Any]:
        """(the step to add, the next state)."""
        return self.transformation().update(gradient, state, params)


@plug(data=("value", "arrays"))
class Schedule:
    """A rate that changes with the steps: `maker(value, *arguments, **settings)` is an optax schedule; see `decay`."""

    maker: Callable[..., optax.Schedule]
    value: Any
    arrays: Mapping[str, Any]
    arguments: tuple[Any, ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()

    def function(self) -> optax.Schedule:
        """Steps done -> rate."""
        return self.maker(self.value, *self.arguments, **self.arrays, **dict(self.settings))


@plug(data=("groups",))
class Groups:
    """An optimiser for each of the groups of a variable: the entries of a dict at its top, by their keys."""

    groups: Mapping[str, Any]

    def _whole(self, params: Any) -> optax.GradientTransformation:
        if not isinstance(params, dict) or {*params} != {*self.groups}:
            has = ", ".join(map(str, params)) if isinstance(params, dict) else f"no groups ({type(params).__name__})"
            raise ValueError(f"optimisers are given for {', '.join(self.groups)}: the variable has {has}")
        labels = {name: jax.tree.map(lambda _, name=name: name, group) for name, group in params.items()}
        each = {name: optax.GradientTransformation(one.init, one.update) for name, one in self.groups.items()}
        return optax.multi_transform(each, labels)

    def init(self, params: Any) -> Any:
        """The state before the first step. Raises ValueError where the groups are not those of the variable."""
        return self._whole(params).init(params)

    def update(self, gradient: Any, state: Any, params: Any) -> tuple[Any, Any]:
        """(the step to add, the next state)."""
        return self._whole(params).update(gradient, state, params)


@plug(data=("optimizer",))
class Turn:
    """An optimiser that steps in every `of`-th iteration only, beginning with iteration `turn`."""

    optimizer: Any
    turn: int
    of: int = 2

    def _masked(self) -> optax.GradientTransformation:
        each = optax.GradientTransformation(self.optimizer.init, self.optimizer.update)
        return optax.conditionally_mask(each, lambda step: step % self.of == self.turn)

    def init(self, params: Any) -> Any:
        """The state before the first step."""
        return self._masked().init(params)

    def update(self, gradient: Any, state: Any, params: Any) -> tuple[Any, Any]:
        """(the step to add, the next state)."""
        return self._masked().update(gradient, state, params)


def opt(maker: Callable[..., Any], rate: Any, *arguments: Any, **settings: Any) -> Optimizer:
    """An optimiser by its maker and settings: `opt(optax.adam, 0.01)`, `opt(optax.sgd, 0.1, momentum=0.9)`.

    Args:
        maker: returns an optax `GradientTransformation`; its first argument is the rate.
        rate: a number, an optax schedule (a plain function, compared by identity), or what `decay` returns.
        arguments, settings: of the maker. Arrays among the settings are data, what else there is is not.

    Raises:
        ValueError: a rate that is not above 0.
    """
    if isinstance(rate, int | float) and not rate > 0:
        raise ValueError(f"learning_rate={rate}: expected above 0")
    return Optimizer(maker, as_plug(rate), *_sorted_out(settings, arguments))


def decay(maker: Callable[..., optax.Schedule], value: Any, *arguments: Any, **settings: Any) -> Schedule:
    """A schedule by its maker and settings: `decay(optax.cosine_decay_schedule, 0.01, decay_steps=200, alpha=0.1)`.

    Args:
        maker: returns an optax schedule.
        value: its first argument, the first rate: data, so that another value runs in the same program.
        arguments, settings: of the maker, as in `opt`.
    """
    return Schedule(maker, value, *_sorted_out(settings, arguments))


def _sorted_out(settings: Mapping[str, Any], arguments: tuple[Any, ...]) -> tuple[dict, tuple, tuple]:
    arrays = {name: value for name, value in settings.items() if isinstance(value, jax.Array | np.ndarray)}
    return arrays, arguments, tuple(sorted((name, settings[name]) for name in settings.keys() - arrays.keys()))
