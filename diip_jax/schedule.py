"""The diffusion's noise schedule: beta, alpha_bar, and the timestep subset of a stride."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

Variant = Literal["code", "paper"]
BetaSchedule = Literal["linear", "scaled_linear", "cosine"]


@dataclass(frozen=True)
class Schedule:
    """How much noise each of the T timesteps of a diffusion model holds.

    Attributes:
        num_timesteps: T, the number of timesteps of the training.
        beta_schedule: "linear" from beta_start to beta_end (DDPM, all public CelebA/FFHQ/LSUN files), "scaled_linear"
            (linear in sqrt(beta)), or "cosine" (Nichol and Dhariwal, 2021, eq. 17; beta_start and beta_end unused).
    """

    num_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    beta_schedule: BetaSchedule = "linear"

    def __post_init__(self) -> None:
        if self.beta_schedule not in get_args(BetaSchedule):
            expected = ", ".join(get_args(BetaSchedule))
            raise ValueError(f"beta_schedule={self.beta_schedule!r}: expected one of {expected}")
        if self.num_timesteps < 1:
            raise ValueError(f"num_timesteps={self.num_timesteps}: expected at least 1")

    @property
    def alpha_bar(self) -> np.ndarray:
        """alpha_bar_t = prod_{s <= t} (1 - beta_s) for t = 0 .. T-1, float64 `[T]` (DDPM, section 2)."""
        n = self.num_timesteps
        if self.beta_schedule == "linear":
            beta = np.linspace(self.beta_start, self.beta_end, n)
        elif self.beta_schedule == "scaled_linear":
            beta = np.linspace(self.beta_start**0.5, self.beta_end**0.5, n) ** 2
        else:
            f = np.cos((np.arange(n + 1) / n + 0.008) / 1.008 * np.pi / 2) ** 2
            beta = np.minimum(1 - f[1:] / f[:-1], 0.999)
        return np.cumprod(1 - beta)


class Steps(NamedTuple):
    """The visited timesteps of a reverse run, largest first: arrays `[S]`.

    Attributes:
        t: what the network is told, int32.
        alpha_bar: alpha_bar at t, float32.
        alpha_bar_next: alpha_bar at the next smaller visited timestep, 1 after the last, float32.
    """

    t: np.ndarray
    alpha_bar: np.ndarray
    alpha_bar_next: np.ndarray


def steps(schedule: Schedule, stride: int, variant: Variant = "code", *, t_max: int | None = None) -> Steps:
    """The timesteps of `DDIMReverse(., stride)`; with t_max only those that are not above it.

    variant "code" is what BIRD's released code visits: T - stride, ..., stride, 0 (900, 800, ..., 0), with alpha_bar 1
    after t = 0. variant "paper" is Algorithm 2 as printed: T, T - stride, ..., stride (1000, ..., 100), then 0; the
    paper counts timesteps from 1 and alpha_bar_0 = 1, so its timestep t is index t - 1 here (999, ..., 99).

    Raises:
        ValueError: stride is not a divisor of T.
    """
    total = schedule.num_timesteps
    if stride < 1 or total % stride:
        raise ValueError(f"stride={stride}: expected a divisor of the schedule's {total} timesteps, such as 100 or 200")
    if variant not in get_args(Variant):
        raise ValueError(f"variant={variant!r}: expected one of {', '.join(get_args(Variant))}")
    t = np.arange(0, total, stride)[::-1] if variant == "code" else np.arange(stride, total + 1, stride)[::-1] - 1
    if t_max is not None:
        t = t[t <= t_max]
    alpha_bar = schedule.alpha_bar[t]
    return Steps(
        t.astype(np.int32),
        alpha_bar.astype(np.float32),
        np.append(alpha_bar[1:], 1.0).astype(np.float32),
    )
