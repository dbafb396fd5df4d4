"""A prior over pictures larger than those it was made for, or than memory takes at once: overlapping windows."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.array_types import Array, Images, Timesteps
from diip_jax.plug import check_above, plug
from diip_jax.prediction import Denoised, Prediction
from diip_jax.schedule import Sampler, Schedule


@plug(data=("prior",))
class Windowed:
    """The prior on every window of x_t, what it predicts in overlaps averaged with smooth weights.

    There is one x_t and one latent z for the whole picture: at every timestep the windows agree on eps before the next
    step is taken (MultiDiffusion, Bar-Tal et al., 2023), so that nothing is stitched afterwards. A picture that fits
    into a window goes through the prior as it is, with the same result.

    Attributes:
        prior: a `Prior`, or another `diip_jax.ddim_sampling.Denoiser`.
        window: side of a window in pixels, a multiple of what the network's levels divide; None: that of the images
            that the prior was trained on.
        overlap: of neighbouring windows at least, in pixels, below the window; None: a quarter of it.
        at_once: windows that go through the network together; the others wait, to save memory.

    Raises:
        ValueError: a window that the network does not take, or an overlap that is no part of it.
    """

    prior: Any
    window: int | None = None
    overlap: int | None = None
    at_once: int = 4

    def __post_init__(self) -> None:
        check_above("at_once", self.at_once, 1, inclusive=True)
        multiple = self.size_multiple
        if self.window is not None and (self.window < 1 or self.window % multiple):
            raise ValueError(f"window={self.window}: expected a multiple of {multiple}, which this prior takes")
        if self.overlap is not None and not 0 <= self.overlap < min(self._window):
            raise ValueError(f"overlap={self.overlap}: expected 0 to {min(self._window) - 1}, part of a window")

    @property
    def schedule(self) -> Schedule:
        return self.prior.schedule

    @property
    def sampler(self) -> Sampler:
        return self.prior.sampler

    @property
    def prediction(self) -> Prediction:
        return self.prior.prediction

    @property
    def size_multiple(self) -> int:
        """Height and width of pictures are multiples of this."""
        return getattr(self.prior, "size_multiple", 1)

    @property
    def local(self) -> bool:
        """Whether the prior itself is."""
        return getattr(self.prior, "local", False)

    @property
    def _window(self) -> tuple[int, int]:
        return self.prior.image_shape[:2] if self.window is None else (self.window, self.window)

    def denoise(self, x_t: Images, t: Timesteps, *, hold_eps: bool = False, remat_blocks: bool = False) -> Denoised:
        """As of the prior, see `diip_jax.Prior.denoise`; x_t `[B, H, W, C]` of any H and W that its network takes.

        Raises:
            ValueError: as of the prior.
        """

        def whole(x_t: Images, t: Timesteps) -> Denoised:
            return self.prior.denoise(x_t, t, hold_eps=hold_eps, remat_blocks=remat_blocks)

        rows, columns = (self._places(side, of) for side, of in zip(x_t.shape[1:3], self._window, strict=True))
        if len(rows) == len(columns) == 1:
            return whole(x_t, t)
        return self._joined(whole, x_t, t, rows, columns)

    def _joined(
        self, whole: Callable[[Images, Timesteps], Denoised], x_t: Images, t: Timesteps, rows: Any, columns: Any
    ) -> Denoised:
        """What the windows see, group by group, added up in place: no more of it is held than of one group.

        Args:
            rows, columns: where windows begin.
        """
        b, *sides, channels = x_t.shape
        height, width = (min(side, of) for side, of in zip(sides, self._window, strict=True))
        of_rows, of_columns = (
            jnp.asarray(np.stack(_weights(starts, size, side)), x_t.dtype)
            for starts, size, side in zip((rows, columns), (height, width), sides, strict=True)
        )

        def add(joined: Denoised, part: tuple[_Window, Denoised]) -> tuple[Denoised, None]:
            window, seen = part
            weight = window.counts * (of_rows[window.in_rows][:, None] * of_columns[window.in_columns])[..., None]
            at = (0, window.row, window.column, 0)

            def added(whole: Array, seen: Array) -> Array:
                there = jax.lax.dynamic_slice(whole, at, seen.shape)
                return jax.lax.dynamic_update_slice(whole, there + weight * seen, at)

            return Denoised(*map(added, joined, seen)), None

        def group(joined: Denoised, windows: _Window) -> tuple[Denoised, None]:
            def see(window: _Window) -> Denoised:
                at = (0, window.row, window.column, 0)
                return whole(jax.lax.dynamic_slice(x_t, at, (b, height, width, channels)), t)

            return jax.lax.scan(add, joined, (windows, jax.vmap(see)(windows)))[0], None

        nothing = Denoised(jnp.zeros_like(x_t), jnp.zeros_like(x_t))
        return jax.lax.scan(group, nothing, _in_groups(rows, columns, self.at_once))[0]

    def _places(self, side: int, window: int) -> list[int]:
        """Where windows begin: as few as the overlap allows, evenly spread, on the grid of the network's levels."""
        if side <= window:
            return [0]
        overlap = window // 4 if self.overlap is None else self.overlap
        multiple = self.size_multiple
        step = max(multiple, (window - overlap) // multiple * multiple)
        count = math.ceil((side - window) / step) + 1
        return [round((side - window) * n / (count - 1) / multiple) * multiple for n in range(count)]


class _Window(NamedTuple):
    """Windows: their first row and column, which ones these are of their axes, and 1, or 0 for one that fills up."""

    row: Any
    column: Any
    in_rows: Any
    in_columns: Any
    counts: Any


def _in_groups(rows: Sequence[int], columns: Sequence[int], most: int) -> _Window:
    """All windows `[groups, windows]`, int32, in as few groups of at most so many as there can be."""
    each = [(row, column, n, m, 1) for n, row in enumerate(rows) for m, column in enumerate(columns)]
    groups = math.ceil(len(each) / most)
    size = math.ceil(len(each) / groups)
    each += [(*each[-1][:4], 0)] * (groups * size - len(each))
    return _Window(*np.asarray(each, np.int32).reshape(groups, size, 5).transpose(2, 0, 1))


def _weights(starts: list[int], size: int, side: int) -> list[np.ndarray]:
    """Of every window along an axis, sum 1 at every pixel: a squared sine over the overlap, 1 where there is none."""
    raised = []
    for n, start in enumerate(starts):
        weight = np.ones(size)
        for end, neighbour in ((False, n - 1), (True, n + 1)):
            if 0 <= neighbour < len(starts):
                overlap = size - abs(starts[neighbour] - start)
                ramp: Any = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / max(overlap, 1)) ** 2 if overlap > 0 else []
                part = slice(size - len(ramp), size) if end else slice(0, len(ramp))
                weight[part] = np.minimum(weight[part], ramp[::-1] if end else ramp)
        raised.append((start, weight))
    total = np.zeros(side)
    for start, weight in raised:
        total[start : start + size] += weight
    return [weight / total[start : start + size] for start, weight in raised]
