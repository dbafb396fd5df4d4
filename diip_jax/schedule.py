"""The diffusion's noise schedule, beta and alpha_bar, and which of its timesteps a sampler visits."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

Variant = Literal["code", "paper"]
# How DDIM goes through a schedule: every so many timesteps, or these, from high to low.
Stride = int | tuple[int, ...]
BetaSchedule = Literal["linear", "scaled_linear", "cosine"]
Spacing = Literal["leading", "trailing", "linspace"]


@dataclass(frozen=True)
class Schedule:
    """How much noise each of the T timesteps of a diffusion model holds.

    Attributes:
        num_timesteps: T, the number of timesteps of the training.
        beta_schedule: "linear" from beta_start to beta_end (DDPM, all public CelebA/FFHQ/LSUN files), "scaled_linear"
            (linear in sqrt(beta)), or "cosine" (Nichol and Dhariwal, 2021, eq. 17; beta_start and beta_end unused).
        trained_betas: beta_0 .. beta_{T-1} themselves; the three above are then unused.
        rescale_betas_zero_snr: shift and scale sqrt(alpha_bar) so that it ends at 0 and begins where it did (Lin et
            al., 2024, Algorithm 1): x_{T-1} is noise alone.

    Raises:
        ValueError: another beta_schedule, betas outside 0 to 1, trained betas of another number than timesteps.
    """

    num_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    beta_schedule: BetaSchedule = "linear"
    trained_betas: tuple[float, ...] | None = None
    rescale_betas_zero_snr: bool = False

    def __post_init__(self) -> None:
        if self.beta_schedule not in get_args(BetaSchedule):
            expected = ", ".join(get_args(BetaSchedule))
            raise ValueError(f"beta_schedule={self.beta_schedule!r}: expected one of {expected}")
        least = 2 if self.rescale_betas_zero_snr else 1
        if self.num_timesteps < least:
            raise ValueError(f"num_timesteps={self.num_timesteps}: expected at least {least}")
        if self.trained_betas is not None and len(self.trained_betas) != self.num_timesteps:
            raise ValueError(f"trained_betas: there are {len(self.trained_betas)}, expected {self.num_timesteps}")
        beta = self.betas
        # A beta of 0 at the start would leave no noise in x_0 to predict, and one of 1 before the end no signal to the
        # timesteps behind it.
        if not (np.all(beta > 0) and np.all(beta[:-1] < 1) and beta[-1] <= 1):
            given = f"beta_start={self.beta_start}, beta_end={self.beta_end}"
            given = given if self.trained_betas is None else "trained_betas"
            raise ValueError(f"{given}: expected above 0 and below 1, which only the last may be")

    @property
    def alpha_bar(self) -> np.ndarray:
        """alpha_bar_t = prod_{s <= t} (1 - beta_s) for t = 0 .. T-1, float64 `[T]` (DDPM, section 2)."""
        alpha_bar = np.cumprod(1 - self.betas)
        if self.rescale_betas_zero_snr:
            root = np.sqrt(alpha_bar)
            return ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2
        return alpha_bar

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether alpha_bar ends at 0."""
        return self.rescale_betas_zero_snr or (self.trained_betas is not None and self.trained_betas[-1] == 1)

    @property
    def betas(self) -> np.ndarray:
        """beta_t for t = 0 .. T-1, before any rescaling, float64 `[T]`."""
        n = self.num_timesteps
        if self.trained_betas is not None:
            return np.asarray(self.trained_betas, np.float64)
        if self.beta_schedule == "linear":
            return np.linspace(self.beta_start, self.beta_end, n)
        if self.beta_schedule == "scaled_linear":
            return np.linspace(self.beta_start**0.5, self.beta_end**0.5, n) ** 2
        f = np.cos((np.arange(n + 1) / n + 0.008) / 1.008 * np.pi / 2) ** 2
        return np.minimum(1 - f[1:] / f[:-1], 0.999)


@dataclass(frozen=True)
class Sampler:
    """How DDIM goes through a schedule: what a checkpoint says beside its noise, in diffusers' words and defaults.

    The defaults are also what BIRD's released code does.

    Attributes:
        timestep_spacing: which T / stride timesteps are visited (Lin et al., 2024, table 2). "leading": 0, stride,
            2 stride, ...; "trailing": stride - 1, 2 stride - 1, ..., T - 1; "linspace": as many, rounded, from 0 to
            T - 1 with both ends.
        steps_offset: is added to the timesteps of "leading"; below the stride.
        set_alpha_to_one: the last step goes to alpha_bar = 1, the image; False: to that of timestep 0.
        clip_sample: clip x0_hat to [-clip_sample_range, clip_sample_range] at every step.
        thresholding: instead, clip x0_hat of each image to [-s, s] and divide by s, which is the quantile
            dynamic_thresholding_ratio of its absolute values, at least 1 and at most sample_max_value (Saharia et al.,
            2022, section 2.3).
    """

    timestep_spacing: Spacing = "leading"
    steps_offset: int = 0
    set_alpha_to_one: bool = True
    clip_sample: bool = True
    clip_sample_range: float = 1.0
    thresholding: bool = False
    dynamic_thresholding_ratio: float = 0.995
    sample_max_value: float = 1.0

    def __post_init__(self) -> None:
        if self.timestep_spacing not in get_args(Spacing):
            expected = ", ".join(get_args(Spacing))
            raise ValueError(f"timestep_spacing={self.timestep_spacing!r}: expected one of {expected}")
        if self.steps_offset < 0:
            raise ValueError(f"steps_offset={self.steps_offset}: expected at least 0")
        for name in ("clip_sample_range", "sample_max_value"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: expected above 0")
        if not 0 <= self.dynamic_thresholding_ratio <= 1:
            raise ValueError(f"dynamic_thresholding_ratio={self.dynamic_thresholding_ratio}: expected 0 to 1")

    @property
    def bounds(self) -> bool:
        """Whether x0_hat is kept in a range."""
        return self.clip_sample or self.thresholding


# Algorithm 2 of BIRD as printed: T, T - stride, ..., stride (1000, ..., 100), then 0. The paper counts timesteps from 1
# and alpha_bar_0 = 1, so its timestep t is index t - 1 here (999, ..., 99).
PAPER = Sampler(timestep_spacing="trailing", clip_sample=False)


def of_variant(own: Sampler, variant: Variant) -> Sampler:
    """The sampler of a variant: "code" is a checkpoint's own, "paper" the printed one whatever the checkpoint says.

    Raises:
        ValueError: another variant.
    """
    if variant not in get_args(Variant):
        raise ValueError(f"variant={variant!r}: expected one of {', '.join(get_args(Variant))}")
    return own if variant == "code" else PAPER


class Steps(NamedTuple):
    """The visited timesteps of a reverse run, largest first: arrays `[S]`.

    Attributes:
        t: what the network is told, int32.
        alpha_bar: alpha_bar at t, float32.
        alpha_bar_next: alpha_bar that the step leads to, float32: the one at t - stride, and after the last step what
            `Sampler.set_alpha_to_one` says. With "linspace", whose timesteps are further apart than the stride, that is
            not quite the next timestep's; diffusers has it so.
    """

    t: np.ndarray
    alpha_bar: np.ndarray
    alpha_bar_next: np.ndarray


def steps(schedule: Schedule, stride: Stride, sampler: Sampler = Sampler(), *, t_max: int | None = None) -> Steps:
    """The timesteps of `DDIMReverse(., stride)`, T / stride of them; with t_max only those that are not above it.

    A tuple of timesteps in the place of the stride is visited as it is, from high to low. BIRD's code visits
    T - stride, ..., stride, 0 (900, 800, ..., 0), which is what a default `Sampler` does.

    Raises:
        ValueError: stride is not a divisor of T, or not above the sampler's steps_offset; timesteps that do not fall,
            or that the schedule does not have.
    """
    total, alpha_bar = schedule.num_timesteps, schedule.alpha_bar
    last = 1.0 if sampler.set_alpha_to_one else alpha_bar[0]
    if isinstance(stride, tuple):
        t = np.asarray(stride, int)
        if not t.size or t[0] >= total or t[-1] < 0 or (np.diff(t) >= 0).any():
            raise ValueError(f"stride={stride}: expected timesteps below {total} from high to low, or a number")
        t = t if t_max is None else t[t <= t_max]
        return _steps(t, alpha_bar[t], np.append(alpha_bar[t[1:]], last))
    if stride < 1 or total % stride:
        raise ValueError(f"stride={stride}: expected a divisor of the schedule's {total} timesteps, such as 100 or 200")
    count = total // stride
    if sampler.timestep_spacing == "leading":
        if sampler.steps_offset >= stride:
            raise ValueError(f"stride={stride}: expected above this checkpoint's steps_offset, {sampler.steps_offset}")
        t = np.arange(count) * stride + sampler.steps_offset
    elif sampler.timestep_spacing == "trailing":
        t = np.arange(1, count + 1) * stride - 1
    else:
        t = np.linspace(0, total - 1, count).round().astype(int)
    t = t[::-1]
    if t_max is not None:
        t = t[t <= t_max]
    return _steps(t, alpha_bar[t], np.where(t >= stride, alpha_bar[t - stride], last))


def _steps(t: np.ndarray, alpha_bar: np.ndarray, alpha_bar_next: np.ndarray) -> Steps:
    return Steps(t.astype(np.int32), alpha_bar.astype(np.float32), alpha_bar_next.astype(np.float32))
