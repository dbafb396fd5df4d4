"""GaussianDiffusion of denoising-diffusion-pytorch: its schedules and objectives, by their words and by its buffers."""

from typing import Any

import numpy as np

from diip_jax.convert.families.family import ConfigError
from diip_jax.convert.families.layouts import WeightError
from diip_jax.prediction import Prediction
from diip_jax.schedule import Schedule

OBJECTIVES: dict[str, Prediction] = {"pred_noise": "epsilon", "pred_x0": "sample", "pred_v": "v_prediction"}


def objective_of(betas: np.ndarray, loss_weight: np.ndarray) -> Prediction:
    """What the network predicts, from how GaussianDiffusion weighs its loss: 1, SNR or SNR / (SNR + 1).

    Where there is little signal, which min_snr_loss_weight leaves as it is.
    """
    alpha_bar = np.cumprod(1 - betas)
    snr = alpha_bar / (1 - alpha_bar)
    little = snr < 1
    weights = {"pred_noise": np.ones_like(snr), "pred_x0": snr, "pred_v": snr / (snr + 1)}
    for objective, weight in weights.items():
        if np.allclose(loss_weight[little], weight[little], rtol=1e-2, atol=1e-3):
            return OBJECTIVES[objective]
    raise WeightError("its loss_weight is that of no objective of GaussianDiffusion: add --config=FILE.json")


def schedule_of(betas: np.ndarray) -> Schedule:
    """The schedule that was rounded to these betas, or they themselves."""
    for name in ("sigmoid", "linear", "cosine"):
        try:
            schedule = named_schedule(name, len(betas))
        except ConfigError:  # such as linear ones above 1
            continue
        if np.allclose(schedule.betas, betas, rtol=1e-5, atol=1e-7):
            return schedule
    return Schedule(len(betas), trained_betas=tuple(betas.tolist()))


def named_schedule(name: str, total: int) -> Schedule:
    try:
        if name == "sigmoid":
            return Schedule(total, trained_betas=tuple(_sigmoid_betas(total).tolist()))
        scale = 1000 / total if name == "linear" else 1.0
        return Schedule(total, scale * 1e-4, scale * 0.02, "linear" if name == "linear" else "cosine")
    except ValueError as error:
        raise ConfigError(f"beta_schedule={name!r}, timesteps={total}: {error}") from error


def _sigmoid_betas(total: int) -> np.ndarray:
    """Jabri et al., "Scalable Adaptive Computation", 2022, figure 8, with start -3, end 3 and tau 1."""

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    # The package computes the ends in float32, which shows at the last timesteps.
    start, end = (float(np.float32(sigmoid(x))) for x in (-3.0, 3.0))
    alpha_bar = (end - sigmoid(np.linspace(0, 1, total + 1) * 6 - 3)) / (end - start)
    return np.clip(1 - alpha_bar[1:] / alpha_bar[:-1], 0, 0.999)
