"""`plug`: a frozen dataclass that crosses `jax.jit`, its arrays as data and its settings as part of the program."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, dataclass_transform

import jax
from jax.tree_util import GetAttrKey

Class = TypeVar("Class", bound=type)


@dataclass_transform(frozen_default=True)
def plug(*, data: Sequence[str] = ()) -> Callable[[Class], Class]:
    """Decorates a class: a frozen dataclass, registered with JAX as a pytree.

    Fields in `data` are arrays, numbers or other plugs: leaves of the pytree, so that another value runs in the same
    compiled program. All other fields are settings: hashable, and another value is another program.

    The class of a plug in the place of a plug is refused.

    A plug that JAX takes apart and puts together does so without `__init__`: what a class checks in `__post_init__` is
    checked once, of what the user gave, and never of tracers.

    >>> @plug(data=("threshold",))
    ... class Below:
    ...     threshold: float
    ...     patience: int = 1
    >>> jax.tree.leaves(Below(0.5))
    [0.5]

    Raises:
        TypeError: a name in `data` that is no field.
    """

    def registered(cls: Class) -> Class:
        _check_fields_first(cls)
        made: Any = dataclasses.dataclass(frozen=True)(cls)
        names = [field.name for field in dataclasses.fields(made)]
        if unknown := [name for name in data if name not in names]:
            raise TypeError(f"plug(data={tuple(data)}): {cls.__name__} has no field {', '.join(unknown)}")
        dynamic = [name for name in names if name in data]
        static = [name for name in names if name not in data]

        def flatten(value: Any) -> tuple[list[Any], tuple[Any, ...]]:
            return [getattr(value, name) for name in dynamic], tuple(getattr(value, name) for name in static)

        def flatten_with_keys(value: Any) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
            return [(GetAttrKey(name), getattr(value, name)) for name in dynamic], flatten(value)[1]

        def unflatten(settings: tuple[Any, ...], leaves: Iterable[Any]) -> Any:
            value = object.__new__(made)
            for name, one in [*zip(static, settings, strict=True), *zip(dynamic, leaves, strict=True)]:
                object.__setattr__(value, name, one)
            return value

        jax.tree_util.register_pytree_with_keys(made, flatten_with_keys, unflatten, flatten)
        return made

    return registered


def _check_fields_first(cls: Any) -> None:
    """Refuses the class of a plug in the place of a plug, before the class's own checks meet it."""
    own = getattr(cls, "__post_init__", None)

    def __post_init__(self: Any) -> None:
        for field in dataclasses.fields(self):
            refuse_class(field.name, getattr(self, field.name))
        if own is not None:
            own(self)

    cls.__post_init__ = __post_init__


def refuse_class(name: str, value: Any) -> None:
    """Raises ValueError where a value is a class of plugs or priors: mostly one whose brackets were forgotten."""
    if isinstance(value, type) and dataclasses.is_dataclass(value):
        raise ValueError(f"{name}={value.__name__}: is a class, expected an instance such as {value.__name__}(...)")


def is_plug(value: Any) -> bool:
    """Whether a value is a pytree of its own rather than a leaf, such as a plain function."""
    return not jax.tree_util.all_leaves([value])


@plug()
class Function:
    """A plain function in the place of a plug: a setting, by its identity. One that is made anew compiles anew."""

    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    @property
    def __name__(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)


def as_plug(value: Any) -> Any:
    """A plug as it is, a plain function as a `Function`."""
    return Function(value) if callable(value) and not is_plug(value) else value


def check_above(name: str, value: Any, least: float | int, *, inclusive: bool = False) -> None:
    """Refuses a number that is not above (or, inclusive, not at least) `least`; arrays pass.

    Raises:
        ValueError: the name, the number and what was expected.
    """
    if isinstance(value, int | float) and not (value >= least if inclusive else value > least):
        raise ValueError(f"{name}={value}: expected {'at least' if inclusive else 'above'} {least:g}")
