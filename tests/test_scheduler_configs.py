"""Scheduler files of diffusers: what is taken, against diffusers' DDIMScheduler; what is refused, and in what words."""

import json
import warnings

import diffusers
import numpy as np
import pytest
from diffusers import DDIMScheduler, DDPMScheduler

from diip_jax.convert.families import ConfigError
from diip_jax.convert.families.adm import KARRAS
from diip_jax.convert.scheduler_configs import Diffusion, diffusion_from_diffusers
from diip_jax.schedule import Sampler, Schedule, steps

USUAL = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02, "num_train_timesteps": 1000}
OTHERS = [
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "RePaintScheduler",
    "SASolverScheduler",
    "UniPCMultistepScheduler",
]


def defaults_of(name: str) -> dict:
    """What the file of a scheduler of this name says."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # theirs, of NumPy
        return json.loads(getattr(diffusers, name)().to_json_string())


def test_without_a_word_about_it_everything_is_ddpm_s():
    assert diffusion_from_diffusers(USUAL) == Diffusion()
    for scheduler in (DDIMScheduler(), DDPMScheduler()):
        assert diffusion_from_diffusers(dict(scheduler.config)) == Diffusion()


def test_a_file_of_diffusers_0_0_4():
    old = {
        "_class_name": "DDPMScheduler",
        "clip_sample": True,
        "predict_epsilon": True,
        "tensor_format": "pt",
        "timestep_values": None,
        "trained_betas": None,
        "variance_type": "fixed_small",
    }
    assert diffusion_from_diffusers(USUAL | old) == Diffusion()


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_schedules_are_those_of_diffusers(name):
    scheduler = DDPMScheduler(num_train_timesteps=500, beta_start=0.0004, beta_end=0.03, beta_schedule=name)
    schedule = diffusion_from_diffusers(dict(scheduler.config)).schedule
    np.testing.assert_allclose(schedule.alpha_bar, scheduler.alphas_cumprod, rtol=1e-4)


def test_trained_betas_go_before_the_other_keys():
    betas = np.linspace(0.001, 0.3, 20).tolist()
    scheduler = DDIMScheduler(20, trained_betas=betas)
    config = dict(scheduler.config) | {"beta_schedule": "anything", "beta_start": None}
    schedule = diffusion_from_diffusers(config).schedule
    assert schedule.trained_betas == tuple(betas)
    np.testing.assert_allclose(schedule.alpha_bar, scheduler.alphas_cumprod, rtol=1e-5)


def test_every_word_about_sampling_is_taken():
    said = {
        "timestep_spacing": "leading",
        "steps_offset": 1,
        "set_alpha_to_one": False,
        "clip_sample": False,
        "clip_sample_range": 2,
        "thresholding": True,
        "dynamic_thresholding_ratio": 0.9,
        "sample_max_value": 1.5,
    }
    config = USUAL | said | {"rescale_betas_zero_snr": True, "prediction_type": "sample"}
    expected = Sampler("leading", 1, False, False, 2.0, True, 0.9, 1.5)
    schedule = Schedule(rescale_betas_zero_snr=True)
    assert diffusion_from_diffusers(config) == Diffusion(schedule, "sample", expected)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_files_of_other_schedulers_are_read_as_ddim_reads_them(name, prediction, tmp_path):
    config = defaults_of(name)
    if "prediction_type" in config:
        config["prediction_type"] = prediction
    ddim = DDIMScheduler.from_config(config)
    schedule, predicts, sampler, other = diffusion_from_diffusers(config)
    assert (predicts, other) == (config.get("prediction_type", "epsilon"), name)
    np.testing.assert_allclose(schedule.alpha_bar, ddim.alphas_cumprod, rtol=2e-5)
    ddim.set_timesteps(50)
    assert steps(schedule, 20, sampler).t.tolist() == ddim.timesteps.tolist()
    assert sampler == diffusion_from_diffusers(dict(ddim.config) | {"_class_name": "DDIMScheduler"}).sampler


def test_consistency_models():
    scheduler = diffusers.CMStochasticIterativeScheduler(num_train_timesteps=40)
    assert diffusion_from_diffusers(dict(scheduler.config) | {"_class_name": type(scheduler).__name__}) == Diffusion(
        KARRAS, "consistency"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler"},
            "_class_name='FlowMatchEulerDiscreteScheduler': sup",
        ),
        (
            {"_class_name": "LCMScheduler"},
            "_class_name='LCMScheduler': supported are CMStochasticIterativeScheduler,",
        ),
        ({"_class_name": ["DDIMScheduler"]}, r"_class_name=\['DDIMScheduler'\]"),
        (
            {"prediction_type": "flow_prediction"},
            "prediction_type='flow_prediction': supported is 'epsilon' or",
        ),
        ({"prediction_type": None}, "prediction_type=None: supported is"),
        ({"predict_epsilon": False}, "predict_epsilon=False: supported is True"),
        ({"timestep_type": "continuous"}, "timestep_type='continuous': supported is 'discrete'"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas=True: supported is False"),
        (
            {"rescale_betas_zero_snr": True},
            "prediction='epsilon': alpha_bar is 0 at the last timestep of",
        ),
        ({"rescale_betas_zero_snr": "yes"}, "rescale_betas_zero_snr='yes': supported is true or false"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule='sigmoid': supported is 'linear' or"),
        ({"beta_start": 0.0}, "beta_start=0.0, beta_end=0.02: expected above 0"),
        ({"beta_end": "0.02"}, "beta_end='0.02': supported is a number"),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas: there are 2, expected 1000"),
        ({"trained_betas": "cosine"}, "trained_betas: supported is a list of numbers"),
        ({"trained_betas": [0.1, True]}, "trained_betas: supported is a list of numbers"),
        ({"num_train_timesteps": 2, "trained_betas": [0.1, 1.0]}, "prediction='epsilon': alpha_bar is 0"),
        ({"num_train_timesteps": True}, "num_train_timesteps=True: supported is a whole number"),
        ({"timestep_spacing": "log"}, "timestep_spacing='log': supported is 'leading' or 'trailing' or 'linspace'"),
        ({"steps_offset": 1.0}, "steps_offset=1.0: supported is a whole number from 0 to 999"),
        ({"steps_offset": 1000}, "steps_offset=1000: supported is a whole number from 0 to 999"),
        ({"set_alpha_to_one": None}, "set_alpha_to_one=None: supported is true or false"),
        ({"clip_sample": 1}, "clip_sample=1: supported is true or false"),
        ({"clip_sample_range": -1}, "clip_sample_range=-1.0: expected above 0"),
        ({"clip_sample_range": "1"}, "clip_sample_range='1': supported is a number"),
        ({"thresholding": "static"}, "thresholding='static': supported is true or false"),
        ({"dynamic_thresholding_ratio": 99.5}, "dynamic_thresholding_ratio=99.5: expected 0 to 1"),
        ({"sample_max_value": float("nan")}, "sample_max_value=nan: supported is a number"),
        ({"a_key_of_the_future": 1}, "a_key_of_the_future=1: this version does not know the key"),
    ],
)
def test_what_is_not_supported_is_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        diffusion_from_diffusers(USUAL | changes)


@pytest.mark.parametrize("key", list(USUAL))
def test_a_schedule_that_is_not_said_is_not_guessed(key):
    config = {name: value for name, value in USUAL.items() if name != key}
    with pytest.raises(ConfigError, match=f"{key} is missing: cannot tell the noise schedule"):
        diffusion_from_diffusers(config)
