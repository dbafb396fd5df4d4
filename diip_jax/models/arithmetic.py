"""How the networks compute products, while one of them is traced: `with arithmetic("default"): network.apply(...)`.

A setting of the whole network, which every layer reads and none passes on. It is read when a layer is traced: what is
jitted has to have it among its static arguments, as `diip_jax.prior` does.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

from jax.sharding import Mesh

# Of float32 products on accelerators, as XLA has it: "highest" is float32; "high" three passes of bfloat16 on a TPU,
# TF32 on a GPU; "default" one pass of bfloat16, and TF32.
Precision = Literal["highest", "high", "default"]
# "fast": on CPUs with gradients and algorithms of our own, which differentiate in reverse mode only; "plain":
# `lax.conv_general_dilated` everywhere, which differentiates in every way and is several times slower there.
Convolutions = Literal["fast", "plain"]


class Arithmetic(NamedTuple):
    """The setting.

    Attributes:
        mesh: the devices that kernels are split over, see `diip_jax.fsdp`; None: each has all of them.
    """

    precision: Precision = "highest"
    convolutions: Convolutions = "fast"
    mesh: Mesh | None = None


_USUAL = Arithmetic()
_CURRENT = contextvars.ContextVar("arithmetic", default=_USUAL)


@contextlib.contextmanager
def arithmetic(
    precision: Precision = "highest", convolutions: Convolutions = "fast", mesh: Mesh | None = None
) -> Iterator[None]:
    """Networks that are traced inside compute so."""
    token = _CURRENT.set(Arithmetic(precision, convolutions, mesh))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current() -> Arithmetic:
    """The setting of the network that is being traced."""
    return _CURRENT.get()


def check_arithmetic(precision: str, convolutions: str) -> None:
    """Raises ValueError for a precision or convolutions that there are not."""
    for name, value, allowed in (("precision", precision, Precision), ("convolutions", convolutions, Convolutions)):
        if value not in get_args(allowed):
            raise ValueError(f"{name}={value!r}: expected one of {', '.join(get_args(allowed))}")
