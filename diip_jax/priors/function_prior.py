"""A prior from any function: a noise predictor, a denoiser that is told the noise level, or one that is not."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax.array_types import Array, Float, Images, Timesteps
from diip_jax.configuration import usual_rules
from diip_jax.plug import plug
from diip_jax.prediction import Denoised, Prediction, check_prediction, denoised, network_input
from diip_jax.schedule import Sampler, Schedule

OwnPrediction = Literal[Prediction, "denoiser", "blind_denoiser"]


@plug(data=("params",))
class FunctionPrior:
    """A frozen prior whose network is a function of one's own; `Prior.of` and its siblings make it.

    Attributes:
        function: a pure function on a batch `[B, H, W, C]`, differentiable, defined at module level: it is compared by
            identity. By `prediction`:
            "epsilon", "v_prediction", "sample", "edm", "consistency": function(params, x_t, t), t `[B]`, whose output
                stands for what `diip_jax.prediction` says.
            "denoiser": function(params, x, sigma), the clean image in x = x_0 + sigma n, sigma `[B]`.
            "blind_denoiser": function(params, x), likewise, but not told sigma.
        params: its parameters, a pytree of arrays: other parameters run in the same program.
        image_shape: (H, W, C) of the images that it was trained on, in [-1, 1].
        schedule: the noise that DDIM walks through; of "epsilon" and the like that of the training.
        size_multiple: height and width that it takes are multiples of this.
        sampler: how it is sampled, for `diip_jax.reverse` in its variant "code".

    Raises:
        ValueError: another prediction, or one that says nothing at a terminal alpha_bar of 0.
    """

    function: Callable[..., Array]
    params: Any
    image_shape: tuple[int, int, int]
    schedule: Schedule = Schedule()
    prediction: OwnPrediction = "epsilon"
    size_multiple: int = 1
    sampler: Sampler = Sampler()

    def __post_init__(self) -> None:
        zero_terminal_snr = self.schedule.zero_terminal_snr
        check_prediction(self.prediction, zero_terminal_snr=zero_terminal_snr, known=get_args(OwnPrediction))

    @usual_rules()
    def denoise(self, x_t: Images, t: Timesteps, *, hold_eps: bool = False, remat_blocks: bool = False) -> Denoised:
        """The noise and the image that the function finds in x_t, see `diip_jax.Prior.denoise`."""
        alpha_bar = jnp.asarray(self.schedule.alpha_bar.astype(np.float32), x_t.dtype)[t.astype(jnp.int32)]
        seen = jax.lax.stop_gradient(x_t) if hold_eps else x_t
        function = jax.checkpoint(self._output) if remat_blocks else self._output
        output = function(seen, t, alpha_bar)
        predicted: Prediction = "sample" if "denoiser" in self.prediction else self.prediction  # type: ignore[assignment]
        return denoised(predicted, output, x_t, alpha_bar, hold_eps=hold_eps)

    def _output(self, x_t: Images, t: Timesteps, alpha_bar: Float[Array, " B"]) -> Images:
        if "denoiser" not in self.prediction:
            return self.function(self.params, *network_input(self.prediction, x_t, t, alpha_bar))  # type: ignore[arg-type]
        x = x_t / jnp.sqrt(alpha_bar)[:, None, None, None]
        if self.prediction == "blind_denoiser":
            return self.function(self.params, x)
        return self.function(self.params, x, jnp.sqrt((1 - alpha_bar) / alpha_bar))
