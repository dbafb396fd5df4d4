"""The operator of the damage that a picture shows: y = k * x + n, blur and noise found in y beforehand."""

from typing import Any

import jax
import jax.numpy as jnp

from diip_jax.array_types import Array, Count, Image, Observed, PRNGKey
from diip_jax.plug import plug
from diip_jax.plugs.operators import damage
from diip_jax.plugs.operators.enlargement import project
from diip_jax.plugs.operators.operator import Guess, PictureOperator
from diip_jax.plugs.operators.spectral_blur import SpectralBlur, gaussian_kernel
from diip_jax.prior import check_image_shape

# The ridge's factor where the Gaussian is to be believed, and where it stands for a resampling.
_BELIEVED, _RESAMPLED = 1 / 6, 2.0
# What eta says of the picture, see `Damage`.
_FOUND = ("covariance", "noise", "blocks", "jpeg_quality", "hidden_share", "enlarged")
# Share of a correction that is made where means over areas are all that is known: they may have noise of their own.
_OF_MEANS = 0.5


@plug(data=("prior", "ridge", "blur", "noise"))
class FoundDamage(PictureOperator):
    """H(x) = k * x + n. k is the Gaussian of `find_damage`, n what the prior takes for noise in y at the level found.

    n = y - E[x_0 | y] is one evaluation of the prior (Tweedie's formula), and stays as it is: the image is fitted to
    y - n, so that no iteration has to stop before it fits noise. A hidden pixel is predicted to be what it is, so that
    it says nothing of x. Where y shows no blur and no impulses, E[x_0 | y] is the restored image, and there is nothing
    to invert. Backwards, k is as in `SpectralBlur`. Of an enlarged picture H(x) is the projection onto the means that
    it tells, see `Enlargement`, and n what else is in y.

    Attributes:
        prior: a `diip_jax.ddim_sampling.Denoiser`.
        ridge: of `SpectralBlur`; a sixth of it where the Gaussian is to be believed, and twice where it stands for a
            resampling, see `Damage`.
        reduced, blur, noise: see `find_damage`.
    """

    prior: Any
    ridge: Any = 0.6
    reduced: bool = False
    blur: Any = None
    noise: Any = None

    def __post_init__(self) -> None:
        SpectralBlur(self.ridge)

    def first_evaluations(self, eta: Any) -> Count | int:
        return eta["evaluations"].astype(jnp.int32)

    def init(self, key: PRNGKey, image_shape: tuple[int, int, int]) -> Any:
        check_image_shape(self.prior, image_shape)
        picture, number = jnp.zeros(image_shape), jnp.zeros(())
        hidden = jnp.zeros((*image_shape[:2], 1))
        return {
            "covariance": jnp.zeros((2, 2)),
            "estimate": picture,
            "y": picture,
            "hidden": hidden,
            "noise": number,
            "blocks": number,
            "jpeg_quality": number,
            "hidden_share": number,
            "ridge": number,
            "enlarged": number + 1,
            "evaluations": number + damage.LEAST_EVALUATIONS,
            **(
                {"rows": jnp.eye(image_shape[0]), "columns": jnp.eye(image_shape[1])}
                if self._asked(image_shape)
                else {}
            ),
        }

    def _asked(self, shape: tuple[int, ...]) -> bool:
        return damage.asked_for_enlargement(self.prior, shape, self.blur, self.noise, reduced=self.reduced)

    def start(self, key: PRNGKey, image_shape: tuple[int, int, int], y: Array, args: Any) -> Any:
        found = damage.find_damage(self.prior, y, blur=self.blur, noise=self.noise, reduced=self.reduced)
        hidden = found.hidden[..., None].astype(y.dtype)
        of_picture = {"estimate": found.estimate, "y": y, "hidden": hidden, "evaluations": found.evaluations}
        of_picture |= {"blocks": found.blocks, "jpeg_quality": found.jpeg_quality, "hidden_share": hidden.mean()}
        of_picture["enlarged"] = jnp.ones((), y.dtype)
        if found.enlargement is not None:
            of_picture |= {"rows": found.enlargement.rows, "columns": found.enlargement.columns}
            of_picture["enlarged"] = found.enlargement.factor
        trust = jnp.where(found.believed, _BELIEVED, jnp.where(found.resampled, _RESAMPLED, 1.0))
        return {"covariance": found.covariance, "noise": found.noise, "ridge": trust * self.ridge, **of_picture}

    def guess(self, eta: Any, y: Array, args: Any) -> Guess:
        settled = ~eta["hidden"].any() & (jnp.trace(eta["covariance"]) == 0) & (eta["enlarged"] == 1)
        return Guess(jnp.where(eta["enlarged"] > 1, eta["y"], eta["estimate"]), settled)

    def __call__(self, eta: Any, x: Image, args: Any) -> Observed:
        eta = jax.lax.stop_gradient(eta)
        predicted = SpectralBlur(eta["ridge"])(eta, x, args)
        if "rows" in eta:
            means = project(eta["rows"], x, eta["columns"])
            means = _OF_MEANS * means + jax.lax.stop_gradient((1 - _OF_MEANS) * means)
            predicted = jnp.where(eta["enlarged"] > 1, means, predicted)
        seen = predicted + eta["y"] - eta["estimate"]
        return jnp.where(eta["hidden"] > 0, eta["y"], seen)

    def learned(self, eta: Any) -> Any:
        return {name: eta[name] for name in ("ridge", *_FOUND)}

    def estimates(self, eta: Any) -> dict[str, Array]:
        return {"kernel": gaussian_kernel(eta["covariance"]), **{name: eta[name] for name in _FOUND}}
