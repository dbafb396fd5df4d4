"""One step of the training: gradients over all devices, AdamW, averaged weights."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from diip_jax import distribute
from diip_jax.array_types import Array, Count, Params, Scalar, UInt8, UInt32
from diip_jax.pixels import from_uint8
from diip_jax.prior import Prior
from diip_jax.train.objective import Objective, draw_timesteps, loss

Decay = Literal["cosine", "linear", "none"]


@dataclasses.dataclass(frozen=True)
class Optimisation:
    """Attributes:
    max_steps: of the training.
    batch_size: images of a step, over all devices and processes.
    images_at_once: images that a device has in work at once; a step adds up the gradients of its share in so many
        rounds. None: on a CPU 2, where a few images stay in its caches, on an accelerator all.
    learning_rate: the highest one.
    warmup_steps: it rises linearly from 0 in these.
    decay: how it falls to 0 until the last step: as a half cosine, linearly, or not at all.
    beta1, beta2, weight_decay: of AdamW (Loshchilov and Hutter, 2019).
    clip_norm: gradients of a larger norm are scaled down to it.
    ema_decay: d of the averaged weights, which become d * averaged + (1 - d) * weights after every step; at first
        (1 + n) / (10 + n) after n steps where that is less.
    """

    max_steps: int = 20_000
    batch_size: int = 16
    images_at_once: int | None = None
    learning_rate: float = 3e-4
    warmup_steps: int = 500
    decay: Decay = "cosine"
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 1e-3
    clip_norm: float = 1.0
    ema_decay: float = 0.9995

    def __post_init__(self) -> None:
        if self.decay not in get_args(Decay):
            raise ValueError(f"decay={self.decay!r}: expected one of {', '.join(get_args(Decay))}")
        for name in ("max_steps", "batch_size", "learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: expected a number above 0")
        for name in ("beta1", "beta2", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 0, below 1")
        for name in ("weight_decay", "warmup_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 0")


class State(NamedTuple):
    """Everything that a step changes, and the key that all its random numbers come from, as files can hold it."""

    step: Count
    params: Params
    averaged: Params
    optimizer: Any
    key: UInt32[Array, " words"]


class Metrics(NamedTuple):
    """Of one step. Where one of them is not finite, neither are the weights after it."""

    loss: Scalar
    gradient_norm: Scalar


def learning_rate(settings: Optimisation) -> optax.Schedule:
    """The learning rate of a step, counted from 0."""
    peak, warmup = settings.learning_rate, min(settings.warmup_steps, settings.max_steps)
    rest = max(1, settings.max_steps - warmup)
    falling = {
        "cosine": lambda: optax.cosine_decay_schedule(peak, rest),
        "linear": lambda: optax.linear_schedule(peak, 0.0, rest),
        "none": lambda: optax.constant_schedule(peak),
    }[settings.decay]()
    # From 1 / warmup on: a step at rate 0 would be none.
    rising = optax.linear_schedule(peak / (warmup + 1), peak, warmup) if warmup else falling
    return optax.join_schedules([rising, falling], [warmup])


def optimizer(settings: Optimisation) -> optax.GradientTransformation:
    """AdamW behind the clipping of the gradients' norm."""
    return optax.chain(
        optax.clip_by_global_norm(settings.clip_norm),
        optax.adamw(learning_rate(settings), settings.beta1, settings.beta2, weight_decay=settings.weight_decay),
    )


def initial_state(params: Params, settings: Optimisation, seed: int) -> State:
    """Where a training begins. The parameters are copied: the first step takes the state's memory over."""
    key = jax.random.key_data(jax.random.key(seed))
    params, averaged = (jax.tree.map(jnp.array, params) for _ in range(2))
    return State(jnp.zeros((), jnp.int32), params, averaged, optimizer(settings).init(params), key)


def rounds(settings: Optimisation, mesh: Mesh) -> int:
    """In how many rounds a device goes through its share of a batch.

    Raises:
        ValueError: images_at_once does not divide that share.
    """
    share = settings.batch_size // mesh.size
    at_once = settings.images_at_once
    if at_once is None:
        at_once = next(n for n in (2, 1) if share % n == 0) if distribute.on_cpu(mesh) else share
    if at_once < 1 or share % at_once:
        raise ValueError(f"images_at_once={at_once}: expected a divisor of the {share} images that each device has")
    return share // at_once


def make_update(
    template: Prior, objective: Objective, settings: Optimisation, mesh: Mesh, *, remat_blocks: bool = False
) -> Callable[[State, UInt8[Array, "B H W C"]], tuple[State, Metrics]]:
    """The compiled step. It takes the state over, whose arrays are on all devices, and a batch split over them.

    Args:
        template: says all but the parameters.
        remat_blocks: the backward pass computes the inside of every residual block again, to save memory.
    """
    number = rounds(settings, mesh)
    transform = optimizer(settings)

    def loss_of(params: Params, batch: tuple[Array, ...]) -> Scalar:
        return loss(objective, dataclasses.replace(template, params=params), *batch, remat_blocks=remat_blocks)

    def of_a_device(params: Params, batch: tuple[Array, ...]) -> tuple[Array, Params]:
        # A device adds up its own rounds; the devices are only averaged at the end, once.
        value_and_grads = _mean_over_rounds(jax.value_and_grad(loss_of), number)
        return jax.tree.map(lambda leaf: leaf[None], value_and_grads(distribute.of_each_device(params), batch))

    def update(state: State, pictures: UInt8[Array, "B H W C"]) -> tuple[State, Metrics]:
        key_t, key_noise = jax.random.split(jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step))
        x_0 = from_uint8(pictures)
        batch = (
            x_0,
            jax.random.normal(key_noise, x_0.shape),
            draw_timesteps(objective, template.schedule, len(x_0), key_t),
        )
        of_all = distribute.on_each_device(of_a_device, mesh)(state.params, batch)
        value, gradients = jax.tree.map(lambda leaf: leaf.mean(axis=0), of_all)
        updates, optimizer_state = transform.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        n = state.step.astype(jnp.float32)
        averaged = optax.incremental_update(
            params, state.averaged, 1 - jnp.minimum(settings.ema_decay, (1 + n) / (10 + n))
        )
        return (
            State(state.step + 1, params, averaged, optimizer_state, state.key),
            Metrics(value, optax.tree.norm(gradients)),
        )

    return jax.jit(update, donate_argnums=0)


def _mean_over_rounds(
    function: Callable[[Params, tuple[Array, ...]], tuple[Scalar, Params]], number: int
) -> Callable[[Params, tuple[Array, ...]], tuple[Scalar, Params]]:
    """function(params, batch), which is a mean over the batch, as the mean over equal parts of it."""
    if number == 1:
        return function

    def mean(params: Params, batch: tuple[Array, ...]) -> tuple[Scalar, Params]:
        parts = jax.tree.map(lambda leaf: leaf.reshape(number, -1, *leaf.shape[1:]), batch)

        def add(total: tuple[Scalar, Params], part: tuple[Array, ...]) -> tuple[tuple[Scalar, Params], None]:
            return jax.tree.map(jnp.add, total, function(params, part)), None

        zero = distribute.of_each_device(jnp.zeros(())), jax.tree.map(jnp.zeros_like, params)
        total, _ = jax.lax.scan(add, zero, parts)
        return jax.tree.map(lambda leaf: leaf / number, total)

    return mean
