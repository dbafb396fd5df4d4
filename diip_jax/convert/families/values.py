"""Values of a JSON object; each function raises ConfigError, which names the key and what is supported."""

import math
from collections.abc import Collection, Mapping
from typing import Any

from diip_jax.convert.families.family import ConfigError


def one_of(config: Mapping[str, Any], key: str, names: Mapping[str, Any], default: Any) -> Any:
    """What `names` has for the value of a key."""
    value = config.get(key, default)
    if not isinstance(value, str) or value not in names:
        raise ConfigError(f"{key}={value!r}: supported is {' or '.join(map(repr, names))}")
    return names[value]


def flag(config: Mapping[str, Any], key: str, default: bool) -> bool:
    """True or false."""
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise ConfigError(f"{key}={value!r}: supported is true or false")
    return value


def number(config: Mapping[str, Any], key: str, default: float) -> float:
    """A finite number."""
    value = config.get(key, default)
    if not is_number(value):
        raise ConfigError(f"{key}={value!r}: supported is a number")
    return float(value)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole(config: Mapping[str, Any], key: str, default: int | None = None, *, least: int = 1) -> int:
    """A whole number; without a default the key must be there."""
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{key}={value!r}: supported is a whole number from {least}")
    return value


def numbers(config: Mapping[str, Any], key: str, default: Any = None) -> tuple[int | float, ...]:
    """A list of numbers, or text such as "32,16,8" as command lines have it; without a default it must be there."""
    value = config.get(key, default)
    if isinstance(value, str):
        try:
            value = [float(part) if "." in part else int(part) for part in value.split(",") if part.strip()]
        except ValueError:
            value = None
    if not isinstance(value, list | tuple) or not all(map(is_number, value)):
        raise ConfigError(f"{key}={config.get(key, default)!r}: supported is a list of numbers")
    return tuple(value)


def refuse_unknown(config: Mapping[str, Any], known: Collection[str]) -> None:
    """Raises ConfigError for a key that is not among them: it might change what the network is."""
    for key, value in config.items():
        if key not in known:
            raise ConfigError(f"{key}={value!r}: this version does not know the key, so cannot tell what it changes")
