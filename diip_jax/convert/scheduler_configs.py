"""What a diffusers `scheduler_config.json` says: the noise, what the network predicts, how it is sampled. Pure.

What is read is what diffusers' own DDIMScheduler reads of such a file, whichever scheduler wrote it. Every other key is
either known to be about another algorithm's steps alone, or refused.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from diip_jax.convert.families.adm import KARRAS
from diip_jax.convert.families.family import ConfigError
from diip_jax.convert.families.values import flag, is_number, number, one_of
from diip_jax.prediction import SIGMA_DATA, SIGMA_MIN, Prediction, check_prediction
from diip_jax.schedule import BetaSchedule, Sampler, Schedule, Spacing


class Diffusion(NamedTuple):
    """What has to be known of a network's diffusion beside the network.

    Attributes:
        other_sampler: the scheduler that wrote the file, where its steps are not DDIM's.
    """

    schedule: Schedule = Schedule()
    prediction: Prediction = "epsilon"
    sampler: Sampler = Sampler()
    other_sampler: str = ""


# Files without the name, and DDPM's, whose timesteps and clipping are DDIM's.
_DDIM = (None, "DDIMScheduler", "DDIMParallelScheduler", "DDPMScheduler", "DDPMParallelScheduler")
# Other algorithms on the same x_t, with the same keys for the noise and the prediction.
_OTHERS = (
    "DEISMultistepScheduler", "DPMSolverMultistepScheduler", "DPMSolverSDEScheduler", "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler", "LMSDiscreteScheduler", "PNDMScheduler",
    "RePaintScheduler", "SASolverScheduler", "UniPCMultistepScheduler",
)  # fmt: skip
_BETA_SCHEDULES: dict[str, BetaSchedule] = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "squaredcos_cap_v2": "cosine",
}
_PREDICTIONS: dict[str, Prediction] = {"epsilon": "epsilon", "v_prediction": "v_prediction", "sample": "sample"}
_SPACINGS: dict[str, Spacing] = {"leading": "leading", "trailing": "trailing", "linspace": "linspace"}
_READ = (
    "beta_schedule", "beta_start", "beta_end", "num_train_timesteps", "trained_betas", "rescale_betas_zero_snr",
    "prediction_type", "timestep_spacing", "steps_offset", "set_alpha_to_one", "clip_sample", "clip_sample_range",
    "thresholding", "dynamic_thresholding_ratio", "sample_max_value",
)  # fmt: skip
# They change what the network is told, or the noise that it was trained for.
_FIXED = {"timestep_type": "discrete", "use_flow_sigmas": False, "predict_epsilon": True}
# Of the steps of other algorithms, or of diffusers itself.
_WITHOUT_EFFECT = (
    "algorithm_type", "corrector_order", "disable_corrector", "eta", "euler_at_final", "final_sigmas_type",
    "flow_shift", "interpolation_type", "lambda_min_clipped", "lower_order_final", "noise_sampler_seed", "predict_x0",
    "predictor_order", "shift_terminal", "sigma_max", "sigma_min", "skip_prk_steps", "solver_order", "solver_p",
    "solver_type", "tau_func", "tensor_format", "time_shift_type", "use_beta_sigmas", "use_dynamic_shifting",
    "use_exponential_sigmas", "use_karras_sigmas", "use_lu_lambdas", "variance_type",
)  # fmt: skip


def diffusion_from_diffusers(config: Mapping[str, Any]) -> Diffusion:
    """What a `scheduler_config.json` says.

    Raises:
        ConfigError: a key is missing or unknown, or has a value that DDIM here does not have; a consistency model of
            other noise than OpenAI's; noise predicted where there is nothing but noise.
    """
    name = config.get("_class_name")
    if name == "CMStochasticIterativeScheduler":
        for key, value in (("sigma_data", SIGMA_DATA), ("sigma_min", SIGMA_MIN), ("sigma_max", 80)):
            if config.get(key) != value:
                raise ConfigError(f"{key}={config.get(key)!r}: supported for a consistency model is {value!r}")
        return Diffusion(KARRAS, "consistency")
    if name not in (*_DDIM, *_OTHERS):
        supported = ", ".join((*_DDIM[1:], *_OTHERS))
        raise ConfigError(f"_class_name={name!r}: supported are CMStochasticIterativeScheduler, {supported}")
    for key, only in _FIXED.items():
        if config.get(key, only) != only:
            raise ConfigError(f"{key}={config[key]!r}: supported is {only!r}")
    known = {*_READ, *_FIXED, *_WITHOUT_EFFECT}
    for key, value in config.items():
        if key not in known and not key.startswith("_") and value not in (None, False):
            raise ConfigError(f"{key}={value!r}: this version does not know the key, so cannot tell what it changes")
    schedule, prediction = _schedule(config), one_of(config, "prediction_type", _PREDICTIONS, "epsilon")
    try:
        check_prediction(prediction, zero_terminal_snr=schedule.zero_terminal_snr)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return Diffusion(schedule, prediction, _sampler(config, schedule), "" if name in _DDIM else str(name))


def _schedule(config: Mapping[str, Any]) -> Schedule:
    for key in ("beta_schedule", "beta_start", "beta_end", "num_train_timesteps"):
        if key not in config:
            raise ConfigError(f"{key} is missing: cannot tell the noise schedule")
    betas = config.get("trained_betas")
    if betas is not None:
        if not isinstance(betas, list | tuple) or not all(map(is_number, betas)):
            raise ConfigError("trained_betas: supported is a list of numbers")
        betas = tuple(map(float, betas))
    total = config["num_train_timesteps"]
    if isinstance(total, bool) or not isinstance(total, int) or total < 1:
        raise ConfigError(f"num_train_timesteps={total!r}: supported is a whole number from 1")
    # diffusers reads betas and forgets the other keys, which may then hold anything.
    noise: dict[str, Any] = {"trained_betas": betas}
    if betas is None:
        noise["beta_schedule"] = one_of(config, "beta_schedule", _BETA_SCHEDULES, None)
        noise |= {key: number(config, key, 0.0) for key in ("beta_start", "beta_end")}
    rescale = flag(config, "rescale_betas_zero_snr", False)
    try:
        return Schedule(total, rescale_betas_zero_snr=rescale, **noise)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _sampler(config: Mapping[str, Any], schedule: Schedule) -> Sampler:
    usual, total = Sampler(), schedule.num_timesteps
    offset = config.get("steps_offset", usual.steps_offset)
    if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset < total:
        raise ConfigError(f"steps_offset={offset!r}: supported is a whole number from 0 to {total - 1}")
    flags = ("set_alpha_to_one", "clip_sample", "thresholding")
    numbers = ("clip_sample_range", "dynamic_thresholding_ratio", "sample_max_value")
    given: dict[str, Any] = {key: flag(config, key, getattr(usual, key)) for key in flags}
    given |= {key: number(config, key, getattr(usual, key)) for key in numbers}
    try:
        return Sampler(
            timestep_spacing=one_of(config, "timestep_spacing", _SPACINGS, usual.timestep_spacing),
            steps_offset=offset,
            **given,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
