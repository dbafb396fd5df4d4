"""What `restore` takes beside a `Problem`."""

from typing import Protocol, runtime_checkable

from diip_jax.array_types import Array, Images, Key
from diip_jax.solve.problem import Problem


@runtime_checkable
class Method(Protocol):
    """A restoration method of the loop: settings, mostly a paper's, that can state their problem."""

    def problem(self) -> Problem:
        """The plugs."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """A restoration without iterates, as a plug (see `diip_jax.plug`)."""

    def sample(self, y: Images, keys: Key[Array, " B"]) -> Images:
        """Restored images of degraded ones, float32 in [-1, 1]; each depends on its own y and key alone.

        Raises:
            ValueError: images that it does not take.
        """
        ...

    @property
    def evaluations(self) -> int:
        """Network evaluations for an image."""
        ...
