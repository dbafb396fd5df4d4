"""A blur that nobody was told of: a Gaussian whose covariance the observation's spectrum shows."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.array_types import Any, Array, Float, Image, Observed, PRNGKey
from diip_jax.plug import check_above, plug
from diip_jax.plugs.operators.operator import PictureOperator
from diip_jax.plugs.operators.spectrum import fit_spectrum

_MARGIN = 16  # pixels that are mirrored beyond each side: 5 standard deviations of the widest blur that is found
_RADIUS = 7  # of the kernel as it is reported
_STEPS = 5  # of conjugate gradients


@plug(data=("ridge",))
class SpectralBlur(PictureOperator):
    """H(x) = k * x with the Gaussian k that `fit_spectrum` finds in y; it is centred, and stays as it was found.

    Nothing is learned along with the image: the joint optimum of image and kernel has a kernel that is too wide, and an
    image that is sharper than any photograph. Where y shows no blur, k is a single pixel.

    Backwards it is not the adjoint but the regularised inverse, (H^T H + ridge)^-1 H^T by conjugate gradients: what y
    says of a frequency then reaches the image at full strength, however much of it the blur took away (a Gauss-Newton
    step in the image in the place of a gradient). The loss and its minimum stay what they are.

    Attributes:
        ridge: noise to signal of the inverse, above 0; a frequency that the blur leaves less than its square root of is
            left to the prior.
    """

    ridge: Any = 0.3

    def __post_init__(self) -> None:
        check_above("ridge", self.ridge, 0)

    def init(self, key: PRNGKey, image_shape: tuple[int, int, int]) -> Any:
        return {"covariance": jnp.zeros((2, 2))}

    def start(self, key: PRNGKey, image_shape: tuple[int, int, int], y: Array, args: Any) -> Any:
        return {"covariance": fit_spectrum(y).covariance}

    def __call__(self, eta: Any, x: Image, args: Any) -> Observed:
        return _blurred(x, jax.lax.stop_gradient(eta["covariance"]), self.ridge)

    def estimates(self, eta: Any) -> dict[str, Array]:
        return {"kernel": gaussian_kernel(eta["covariance"]), "covariance": eta["covariance"]}


def gaussian_kernel(covariance: Float[Array, "2 2"]) -> Float[Array, "K K"]:
    """The Gaussian `[15, 15]` of sum 1 and a covariance in px^2, rows first."""
    offsets = jnp.arange(-_RADIUS, _RADIUS + 1.0)
    # The variance of a single pixel keeps a covariance of zero invertible, and is what a sampled kernel has at least.
    inverse = jnp.linalg.inv(covariance + 1e-2 * jnp.eye(2))
    rows, columns = offsets[:, None], offsets[None, :]
    logits = inverse[0, 0] * rows**2 + inverse[1, 1] * columns**2 + 2 * inverse[0, 1] * rows * columns
    return jax.nn.softmax(-logits / 2, axis=(0, 1))


def gaussian_blur(x: Image, covariance: Float[Array, "2 2"]) -> Image:
    """k * x with the Gaussian k of a covariance in px^2; the image is mirrored about its outermost pixels.

    In the frequency domain, where the Gaussian is exp(-2 pi^2 f^T S f) and of no size.
    """
    margin = min(_MARGIN, min(x.shape[:2]) - 1)
    height, width = (side + 2 * margin for side in x.shape[:2])
    f_y, f_x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    form = covariance[0, 0] * f_y**2 + covariance[1, 1] * f_x**2 + 2 * covariance[0, 1] * f_y * f_x
    transfer = jnp.exp(-2 * np.pi**2 * form).astype(x.dtype)

    def of_channel(x: Array) -> Array:
        padded = jnp.pad(x, margin, "reflect")
        blurred = jnp.fft.irfft2(jnp.fft.rfft2(padded) * transfer, s=padded.shape)
        return blurred[margin : margin + x.shape[0], margin : margin + x.shape[1]]

    # One after the other, in the memory of one: spectra are several times as large as the picture.
    return jnp.moveaxis(jax.lax.map(of_channel, jnp.moveaxis(x, -1, 0)), 0, -1)


@jax.custom_vjp
def _blurred(x: Image, covariance: Float[Array, "2 2"], ridge: Any) -> Image:
    return gaussian_blur(x, covariance)


def _forward(x: Image, covariance: Any, ridge: Any) -> tuple[Image, tuple[Any, Any]]:
    return gaussian_blur(x, covariance), (covariance, ridge)


def _backward(residuals: tuple[Any, Any], g: Image) -> tuple[Image, Any, Any]:
    covariance, ridge = residuals
    blur = partial(gaussian_blur, covariance=covariance)
    transposed = jax.linear_transpose(blur, g)
    normal = lambda v: transposed(blur(v))[0] + ridge * v  # noqa: E731
    solved, _ = jax.scipy.sparse.linalg.cg(normal, transposed(g)[0], tol=0.0, maxiter=_STEPS)
    return solved, jnp.zeros_like(covariance), jnp.zeros_like(ridge)


_blurred.defvjp(_forward, _backward)
