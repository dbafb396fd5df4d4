"""Generators: the plug that turns the optimised variable u into an image g(u), and keeps u in its set."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from diip_jax.array_types import Count, Image, PRNGKey
from diip_jax.ddim_sampling import Gradient, Remat, check_settings, check_unbounded, reverse, visited_steps
from diip_jax.models.skip_network import SkipNetwork, Upsampling
from diip_jax.plug import plug
from diip_jax.plugs import stale
from diip_jax.prior import activation_bytes, check_image_shape
from diip_jax.schedule import Stride, Variant, of_variant


class Generator:
    """A differentiable image generator: the base of plugs, see `diip_jax.plug`. Everything is about one image.

    One of one's own defines `init` and `__call__`, and what differs from below. One that carries something from
    iteration to iteration besides u defines `init_cache` and `apply` in the place of `__call__`.
    """

    def init(self, key: PRNGKey, image_shape: tuple[int, int, int]) -> Any:
        """The first u, a pytree of float arrays.

        Raises:
            ValueError: there are no images of this shape.
        """
        raise NotImplementedError(f"{type(self).__name__} has no init(key, image_shape)")

    def start(self, key: PRNGKey, image_shape: tuple[int, int, int], guess: Image | None) -> Any:
        """The first u where the operator guesses the image; here `init`, which does not look at it."""
        return self.init(key, image_shape)

    def __call__(self, u: Any, key: PRNGKey) -> Image:
        """The image `[H, W, C]`, float32 in [-1, 1] or near.

        Args:
            key: another one at every iterate, for generators that are random beyond u.
        """
        raise NotImplementedError(f"{type(self).__name__} has no __call__(u, key)")

    def init_cache(self, u: Any) -> Any:
        """What the first iteration is handed; here nothing."""
        return ()

    def apply(self, u: Any, cache: Any, key: PRNGKey, k: Count) -> tuple[Image, Any]:
        """(the image of iterate k, what the next iteration is handed); no gradient goes through the cache."""
        return self(u, key), cache

    def project(self, u: Any) -> Any:
        """The nearest u of its set; applied after every optimiser step. Here every u is in it."""
        return u

    @property
    def evaluations(self) -> int:
        """Network evaluations in an iteration, forwards; here none."""
        return 0

    @property
    def first_evaluations(self) -> int:
        """Network evaluations in `start` and `init_cache`; here none."""
        return 0

    def fitted(self, image_shape: tuple[int, int, int], images: int, memory: int | None) -> "Generator":
        """The generator with what depends on a device's memory settled; here itself.

        Args:
            images: how many of shape (H, W, C) a device has at once.
            memory: of a device, in bytes; None where it is not known.
        """
        return self


@plug(data=("prior",))
class DDIM(Generator):
    """The frozen prior's deterministic DDIM map: u is the input noise z `[H, W, C]`, drawn from N(0, I).

    Attributes:
        prior: a `Prior`, or another `diip_jax.ddim_sampling.Denoiser`.
        stride, variant, gradient, remat: see `diip_jax.reverse`. remat "auto" is the first of "none", "step" and
            "block" whose activations fit into a quarter of the device's memory; "step" where that is not known.
        project_to_sphere: put z back on the sphere of radius sqrt(H W C) after every step (BIRD, Algorithm 1 line 5;
            its code counts the channels into the radius, its paper does not). False leaves z free.
        refresh: "all": the network is evaluated at every visited timestep of every iterate. A number n: at n of them,
            by turns from high t to low, and the others keep the noise that was predicted when it was their turn; the
            rest of an iteration is arithmetic. Needs the gradient "detached".

    Raises:
        ValueError: as `diip_jax.reverse`; a refresh that is no number of visited timesteps.
    """

    prior: Any
    stride: Stride = 100
    variant: Variant = "code"
    gradient: Gradient = "detached"
    remat: Literal["auto", Remat] = "auto"
    project_to_sphere: bool = True
    refresh: int | Literal["all"] = "all"

    def __post_init__(self) -> None:
        remat = "step" if self.remat == "auto" else self.remat
        check_settings(self.prior, self.stride, self.variant, self.gradient, remat)
        if self.refresh == "all":
            return
        if not 1 <= self.refresh <= self.steps:
            raise ValueError(f"refresh={self.refresh}: expected 'all', or 1 to {self.steps} of the visited timesteps")
        if self.gradient != "detached":
            raise ValueError(f"refresh={self.refresh}: a kept eps has no gradient; use gradient='detached' or 'all'")
        if not of_variant(self.prior.sampler, self.variant).bounds:
            check_unbounded(self.prior, visited_steps(self.prior, self.stride, self.variant), kept_eps=True)

    @property
    def steps(self) -> int:
        """How many timesteps DDIM visits."""
        return len(visited_steps(self.prior, self.stride, self.variant).t)

    @property
    def evaluations(self) -> int:
        return self.steps if self.refresh == "all" else self.refresh

    @property
    def first_evaluations(self) -> int:
        return 0 if self.refresh == "all" else self.steps

    def init(self, key: PRNGKey, image_shape: tuple[int, int, int]) -> Image:
        check_image_shape(self.prior, image_shape)
        return jax.random.normal(key, image_shape)

    def __call__(self, z: Image, key: PRNGKey) -> Image:
        remat: Remat = "step" if self.remat == "auto" else self.remat
        return reverse(self.prior, z[None], self.stride, variant=self.variant, gradient=self.gradient, remat=remat)[0]

    def init_cache(self, z: Image) -> Any:
        return () if self.refresh == "all" else stale.first_noise(self.prior, z, self.stride, self.variant)

    def apply(self, z: Image, cache: Any, key: PRNGKey, k: Count) -> tuple[Image, Any]:
        if self.refresh == "all":
            return self(z, key), cache
        at = (k * self.refresh + jnp.arange(self.refresh)) % self.steps
        cache = stale.refreshed(self.prior, jax.lax.stop_gradient(z), cache, at, self.stride, self.variant)
        return stale.chain(self.prior, z, cache, self.stride, self.variant)[0], cache

    def project(self, z: Image) -> Image:
        return to_sphere(z) if self.project_to_sphere else z

    def fitted(self, image_shape: tuple[int, int, int], images: int, memory: int | None) -> "DDIM":
        if self.remat != "auto" or self.gradient == "detached" or memory is None:
            return self
        kept = images * activation_bytes(self.prior, image_shape)
        remat: Remat = "none" if 4 * self.steps * kept <= memory else "step" if 4 * kept <= memory else "block"
        return dataclasses.replace(self, remat=remat)


def ddim(prior: Any, stride: Stride = 100, *, refresh: int | Literal["all"] = "all", **settings: Any) -> DDIM:
    """The generator of a diffusion prior, see `DDIM`: `ddim(prior, stride=200, refresh=1)`."""
    return DDIM(prior, stride, refresh=refresh, **settings)


@plug(data=("input_noise",))
class UntrainedNetwork(Generator):
    """Deep Image Prior's skip network (Ulyanov et al., 2018): u is its weights, and the noise that it is shown.

    The noise `[H, W, input_channels]`, drawn from U(0, 0.1), is part of u only because every image has its own: it has
    no gradient, so that optimisers leave it as it is.

    Attributes:
        levels, channels, skip_channels, upsampling: see `diip_jax.models.skip_network`. Height and width are multiples
            of 2^levels, and at least twice that. (The released code crops its pictures to multiples.)
        input_channels: of the noise.
        input_noise: sigma_p, standard deviation of the normal noise that is added to the input, drawn anew for every
            iterate: the paper's noise-based regularisation.
    """

    levels: int = 5
    channels: int = 128
    skip_channels: int = 4
    upsampling: Upsampling = "bilinear"
    input_channels: int = 32
    input_noise: Any = 1 / 30

    @property
    def evaluations(self) -> int:
        return 1

    def init(self, key: PRNGKey, image_shape: tuple[int, int, int]) -> dict[str, Any]:
        height, width, image_channels = image_shape
        network = self._network(image_channels)
        multiple = network.size_multiple
        if height % multiple or width % multiple or min(height, width) < 2 * multiple:
            raise ValueError(
                f"levels={self.levels}: images are {height}x{width}, but the sides that so many levels take are "
                f"multiples of {multiple} from {2 * multiple} on; use fewer levels or another size"
            )
        noise_key, weights_key = jax.random.split(key)
        noise = 0.1 * jax.random.uniform(noise_key, (height, width, self.input_channels))
        return {"noise": noise, "weights": network.init(weights_key, noise[None])["params"]}

    def __call__(self, u: dict[str, Any], key: PRNGKey) -> Image:
        noise = jax.lax.stop_gradient(u["noise"])
        noise = noise + self.input_noise * jax.random.normal(key, noise.shape)
        network = self._network(u["weights"]["to_image"]["bias"].shape[0])
        return 2 * jnp.asarray(network.apply({"params": u["weights"]}, noise[None]))[0] - 1

    def _network(self, image_channels: int) -> SkipNetwork:
        return SkipNetwork(image_channels, self.levels, self.channels, self.skip_channels, self.upsampling)


def to_sphere(z: Image) -> Image:
    """z scaled to the norm that a standard normal vector of its size has, sqrt(z.size)."""
    return z * jnp.sqrt(z.size / (jnp.sum(z * z) + 1e-9))
