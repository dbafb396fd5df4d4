"""JAX's configuration while this package computes: the usual one, whatever the user has set for his own code.

Optax does not run under strict promotion of dtypes; NaN is a value here, that of a hidden pixel and of an iterate that
was not reached, and no sign of a mistake; and pictures come from the host and go there. With 64-bit numbers the carries
of loops and the random numbers would be others, and so would the results.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

# Context manager of JAX, the option that is the same for all threads, and its usual value.
_RULES: tuple[tuple[Callable[[Any], Any], str, Any], ...] = (
    (jax.numpy_dtype_promotion, "jax_numpy_dtype_promotion", "standard"),
    (jax.numpy_rank_promotion, "jax_numpy_rank_promotion", "allow"),
    (jax.transfer_guard, "jax_transfer_guard", "allow"),
)
_USUAL: tuple[tuple[Callable[[Any], Any], str, Any], ...] = (
    *_RULES,
    (jax.enable_x64, "jax_enable_x64", False),
    (jax.debug_nans, "jax_debug_nans", False),
    (jax.debug_infs, "jax_debug_infs", False),
)


@contextlib.contextmanager
def usual_configuration() -> Iterator[None]:
    """Inside, in this thread, JAX is configured as usual; also a decorator, `@usual_configuration()`."""
    with contextlib.ExitStack() as stack:
        for manager, _, value in _USUAL:
            stack.enter_context(manager(value))
        yield


@contextlib.contextmanager
def usual_rules() -> Iterator[None]:
    """Inside, dtypes and ranks are promoted and constants transferred as usual; numbers are as wide as the user's.

    For functions that a user may trace together with his own.
    """
    with contextlib.ExitStack() as stack:
        for manager, _, value in _RULES:
            stack.enter_context(manager(value))
        yield


def configure_as_usual() -> None:
    """Configures JAX as usual in all threads: for a process that is this package's own, a command."""
    for _, option, value in _USUAL:
        jax.config.update(option, value)


def narrowed(tree: Any) -> Any:
    """The arrays that were made with 64-bit numbers with 32-bit ones, which are the usual ones; the rest as it is."""
    return jax.tree.map(_narrow, tree)


def _narrow(leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array) or jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return leaf
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype)
    return leaf if dtype == leaf.dtype else leaf.astype(dtype)
