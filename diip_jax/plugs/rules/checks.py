"""What several rules refuse of a user's numbers; arrays and tracers pass."""

from typing import Any

from diip_jax.plug import check_above


def check_patience(k_min: Any, patience: Any) -> None:
    """Refuses a k_min below 0 and a patience below 1."""
    check_above("k_min", k_min, 0, inclusive=True)
    check_above("patience", patience, 1, inclusive=True)


def check_smoothing(smoothing: Any) -> None:
    """Refuses a weight of the past outside 0 <= smoothing < 1."""
    if isinstance(smoothing, int | float) and not 0 <= smoothing < 1:
        raise ValueError(f"smoothing={smoothing}: expected 0 <= smoothing < 1")


def check_share(name: str, share: Any) -> None:
    """Refuses what is no share between 0 and 1, both excluded."""
    if isinstance(share, int | float) and not 0 < share < 1:
        raise ValueError(f"{name}={share}: expected 0 < {name} < 1")
