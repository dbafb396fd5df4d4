"""Deterministic DDIM (Song et al., 2021) with few large steps: noise to image, and image to noise.

`reverse` is the papers' DDIMReverse(x_T, delta_t): BIRD, Algorithm 2 and equations 17-18.
"""

from typing import Literal, Protocol, get_args, runtime_checkable

import jax
import jax.numpy as jnp

from diip_jax.array_types import Array, Float, Images, Timesteps
from diip_jax.configuration import usual_rules
from diip_jax.prediction import Denoised, Prediction, least_alpha_bar
from diip_jax.schedule import Sampler, Schedule, Steps, Stride, Variant, of_variant, steps

Gradient = Literal["detached", "full"]
Remat = Literal["none", "step", "block"]


@runtime_checkable
class Denoiser(Protocol):
    """What DDIM needs of a prior: eps_theta, the x0_hat that goes with it, and how it was trained and is sampled."""

    @property
    def schedule(self) -> Schedule: ...

    @property
    def sampler(self) -> Sampler: ...

    @property
    def prediction(self) -> Prediction: ...

    def denoise(self, x_t: Images, t: Timesteps, *, hold_eps: bool = False, remat_blocks: bool = False) -> Denoised: ...


@usual_rules()
def reverse(
    prior: Denoiser,
    z: Images,
    stride: Stride = 100,
    *,
    variant: Variant = "code",
    gradient: Gradient = "detached",
    remat: Remat = "step",
) -> Images:
    """Noise to image: x_0 = DDIMReverse(z, stride), one `lax.scan` over the visited timesteps.

    Each step from t to t' sets (eq. 17 and 18)

        x0_hat = (x_t - sqrt(1 - alpha_bar_t) eps_theta(x_t, t)) / sqrt(alpha_bar_t)
        omega  = (x_t - sqrt(alpha_bar_t) x0_hat) / sqrt(1 - alpha_bar_t)
        x_{t'} = sqrt(alpha_bar_t') x0_hat + sqrt(1 - alpha_bar_t') omega

    where a prior that predicts something else has its own x0_hat, see `diip_jax.prediction`.

    Args:
        z: `[B, H, W, C]` float32, standard normal (BIRD's code takes it as x_900, the paper as x_1000).
        stride: delta_t, a divisor of the schedule's T, for T / stride network evaluations; or the visited timesteps
            themselves, from high to low.
        variant: "code" (BIRD's release): as the prior's `sampler` says, which for most checkpoints is t = 900, ..., 0
            and x0_hat clipped to [-1, 1] at every step. The direction (eq. 18) is re-derived from the clipped x0_hat.
            "paper": t = 1000, ..., stride, no clipping.
        gradient: how reverse-mode differentiation goes through it. "detached" holds eps_theta constant, as BIRD's
            released code does: no network backward, no activations kept, d x_0 / d z diagonal. Whatever the network's
            output is, it is eps_theta that is held, and d x0_hat / d x_t = 1 / sqrt(alpha_bar_t). "full" is the papers'
            formula: through the network.
        remat: what the backward pass of "full" computes again to save memory. "none": nothing, the activations of all
            steps are kept. "step": it keeps x_t of every step, and the activations of one step at a time. "block":
            within that step it keeps only what passes between the network's residual blocks.

    Returns:
        `[B, H, W, C]` float32; in [-1, 1] for variant "code", unless the prior's `sampler` says otherwise.

    Raises:
        ValueError: stride is no divisor of T, an unknown variant, gradient or remat, or one that a visited alpha_bar
            near 0 leaves undefined (see `check_settings`).
    """
    check_settings(prior, stride, variant, gradient, remat)
    sampler = of_variant(prior.sampler, variant)
    visited = on_device(visited_steps(prior, stride, variant), z.dtype)

    def step(x_t: Array, at: tuple[Array, Array, Array]) -> tuple[Array, None]:
        t, alpha_bar, alpha_bar_next = at
        eps, x0_hat = prior.denoise(
            x_t, jnp.full(x_t.shape[:1], t), hold_eps=gradient == "detached", remat_blocks=remat == "block"
        )
        if sampler.bounds:
            x0_hat = bounded(x0_hat, sampler, hold_threshold=gradient == "detached")
            eps = (x_t - jnp.sqrt(alpha_bar) * x0_hat) / jnp.sqrt(1 - alpha_bar)
        return jnp.sqrt(alpha_bar_next) * x0_hat + jnp.sqrt(1 - alpha_bar_next) * eps, None

    if gradient == "full" and remat != "none":
        # In a scan the compiler has nothing to merge a step's recomputation with; the barriers against that would keep
        # it from moving what depends on the kernels alone out of the loop.
        step = jax.checkpoint(step, prevent_cse=False)
    return jax.lax.scan(step, z, visited)[0]


def bounded(x0_hat: Float[Array, "*B H W C"], sampler: Sampler, hold_threshold: bool) -> Float[Array, "*B H W C"]:
    """x0_hat, of one image or more, clipped or thresholded as the sampler says.

    Args:
        hold_threshold: the threshold has no derivative, so that x0_hat's stays diagonal.
    """
    if not sampler.thresholding:
        return jnp.clip(x0_hat, -sampler.clip_sample_range, sampler.clip_sample_range)
    ratio = sampler.dynamic_thresholding_ratio
    threshold = jnp.quantile(jnp.abs(x0_hat), ratio, axis=(-3, -2, -1), keepdims=True)
    threshold = jnp.clip(threshold, 1, sampler.sample_max_value)
    if hold_threshold:
        threshold = jax.lax.stop_gradient(threshold)
    return jnp.clip(x0_hat, -threshold, threshold) / threshold


def check_settings(prior: Denoiser, stride: Stride, variant: Variant, gradient: str, remat: str) -> None:
    """Raises what `reverse` raises for such settings, without tracing a network.

    So where a visited alpha_bar is 0 and the gradient "detached", which divides by its root whatever the network
    predicts; and where one is near 0 and neither clipping nor thresholding keeps x0_hat in a range (`check_unbounded`).
    """
    visited = visited_steps(prior, stride, variant)
    if gradient == "detached" and visited.alpha_bar[0] == 0:
        raise ValueError(
            f"gradient='detached': alpha_bar is 0 at t = {visited.t[0]} of this prior's schedule, where x0_hat "
            "has no derivative at constant noise; use gradient='full'"
        )
    if not of_variant(prior.sampler, variant).bounds:
        check_unbounded(prior, visited)
    if remat not in get_args(Remat):
        raise ValueError(f"remat={remat!r}: expected one of {', '.join(get_args(Remat))}")
    if gradient not in get_args(Gradient):
        raise ValueError(f"gradient={gradient!r}: expected one of {', '.join(get_args(Gradient))}")


@usual_rules()
def invert(
    prior: Denoiser,
    x: Images,
    stride: Stride = 100,
    *,
    variant: Variant = "code",
    fixed_point_iterations: int = 1,
    t_max: int | None = None,
) -> Images:
    """Image to noise: the z that `reverse` maps (nearly) to x, by running equation 18 backwards.

    Going up from x_{t'} to x_t the noise eps_theta(x_t, t) is needed at the unknown x_t. One fixed-point iteration
    takes it at x_{t'} (DDIM inversion as usually done, error O(stride)); more iterations converge to the exact inverse
    of the unclipped `reverse` where the map contracts. (At alpha_bar_t = 0 the noise is x_t itself, and says nothing
    about it: x_t is then x_{t'}.)

    Args:
        x: `[B, H, W, C]` float32 in [-1, 1].
        stride, variant: as in `reverse`. Clipping cannot be undone and does not take part.
        fixed_point_iterations: network evaluations per step, at least 1.
        t_max: ends at the largest visited timestep that is not above it; None for the noise z itself.

    Raises:
        ValueError: as `reverse`; or fixed_point_iterations below 1.
    """
    if fixed_point_iterations < 1:
        raise ValueError(f"fixed_point_iterations={fixed_point_iterations}: expected at least 1")
    visited = on_device(visited_steps(prior, stride, variant, t_max=t_max), x.dtype)

    def step(x_next: Array, at: tuple[Array, Array, Array]) -> tuple[Array, None]:
        t, alpha_bar, alpha_bar_next = at

        def solve(_: Array, x_t: Array) -> Array:
            eps = prior.denoise(x_t, jnp.full(x_t.shape[:1], t)).eps
            x0_hat = (x_next - jnp.sqrt(1 - alpha_bar_next) * eps) / jnp.sqrt(alpha_bar_next)
            return jnp.sqrt(alpha_bar) * x0_hat + jnp.sqrt(1 - alpha_bar) * eps

        return jax.lax.fori_loop(0, fixed_point_iterations, solve, x_next), None

    return jax.lax.scan(step, x, visited, reverse=True)[0]


def visited_steps(prior: Denoiser, stride: Stride, variant: Variant, *, t_max: int | None = None) -> Steps:
    """The steps of a variant, see `diip_jax.schedule.steps`. Raises ValueError for a bad stride or variant."""
    return steps(prior.schedule, stride, of_variant(prior.sampler, variant), t_max=t_max)


def check_unbounded(prior: Denoiser, visited: Steps, *, kept_eps: bool = False) -> None:
    """Raises ValueError where x0_hat, if nothing bounds it, is an amplified error: see `least_alpha_bar`.

    Args:
        kept_eps: x0_hat is made of an eps, whatever the network predicts.
    """
    t, alpha_bar, _ = (values[0] for values in visited)
    if alpha_bar < least_alpha_bar("epsilon" if kept_eps else prior.prediction):
        raise ValueError(
            f"alpha_bar is {alpha_bar:.1e} at t = {t} of this prior's schedule, where x0_hat holds the error of the "
            f"noise {alpha_bar**-0.5:.0f} times, and nothing clips it; use variant='code' and a clipping sampler"
        )


def on_device(visited: Steps, dtype: jnp.dtype) -> tuple[Array, Array, Array]:
    """What `jax.lax.scan` goes over."""
    t, alpha_bar, alpha_bar_next = visited
    return jnp.asarray(t), jnp.asarray(alpha_bar, dtype), jnp.asarray(alpha_bar_next, dtype)
