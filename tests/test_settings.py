"""The flat settings: each reaches its plug, and what does not fit is refused."""

import dataclasses
import inspect
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import images, tiny_prior, unchecked

import diip_jax as dj
from diip_jax.commands import settings as module
from diip_jax.commands.settings import BIRDSettings, DIIPSettings, DIPSettings, NoiseSettings, Settings, settings_named


def test_every_setting_of_diip_is_documented():
    for field in dataclasses.fields(DIIPSettings):
        assert field.name in inspect.getdoc(Settings) + inspect.getdoc(NoiseSettings)


def test_settings_are_those_of_the_objects():
    """Where nothing is said otherwise, the command line does what Python does."""
    prior = tiny_prior()
    for flat, plain in (
        (DIIPSettings(), dj.DIIP(prior)),
        (settings_named("diip", {}, "paper"), dj.DIIP.paper(prior)),
        (DIPSettings(), dj.DIP()),
        (settings_named("dip", {}, "code"), dj.DIP.code()),
        (BIRDSettings(stopping="robust"), dj.BIRD(prior, rule=dj.first_of(dj.LossThreshold(0.0), dj.robust()))),
        (
            settings_named("bird", {}, "paper"),
            dj.BIRD.paper(prior, rule=dj.first_of(dj.LossThreshold(0.0), dj.Never())),
        ),
        (settings_named("bird", {}, "code"), dj.BIRD.code(prior, rule=dj.first_of(dj.LossThreshold(0.0), dj.Never()))),
    ):
        leaves, structure = jax.tree.flatten(flat.method(prior))
        expected, expected_structure = jax.tree.flatten(plain)
        assert structure == expected_structure
        for ours, theirs in zip(leaves, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("degradation", get_args(module.Degradation))
def test_every_degradation_restores_images_of_its_size(degradation):
    side = 4 if degradation == "downsample" else 16
    known = {"mask": np.ones((2, side, side), bool)} if degradation == "mask" else None
    settings = BIRDSettings(
        degradation=degradation,
        kernel_size=3,
        learning_rate=0.02,
        operator_learning_rate=0.02,
        stopping="budget",
        stride=250,
        max_iterations=15,
    )
    expected = {"identity": set(), "mask": set(), "gain_offset": {"kernel", "gain", "offset"}}
    estimated = expected.get(degradation, {"kernel"})
    save = ("loss", *sorted(estimated))
    solution = dj.restore(settings.method(tiny_prior()), np.asarray(images(2, side)), known, save=save)
    assert solution.images.shape == (2, 16, 16, 3) and settings.needs == (("mask",) if known else ())
    losses = solution.traces["loss"]
    assert (losses[..., -1] < 0.95 * losses[..., 0]).all()
    assert set(solution.operator) == estimated
    for name in estimated:
        values = solution.traces[name]
        assert np.abs(np.diff(values, axis=2)).max((1, 2, *range(3, values.ndim))).min() > 0  # learned for each image


@pytest.mark.parametrize("stopping", ["paper", "robust", "laplacian_variance", "loss_slope", "budget"])
def test_rules_of_diip_may_be_chosen(stopping):
    names = BIRDSettings(stopping=stopping).rule().names
    assert names == ("loss_threshold", *DIIPSettings(stopping=stopping).rule().names)


def test_the_presets_are_the_published_numbers():
    paper = settings_named("bird", {"degradation": "downsample", "scale": 8}, "paper")
    assert (paper.learning_rate, paper.operator_learning_rate, paper.max_iterations) == (0.003, 0.003, 200)
    assert (paper.stride, paper.variant, paper.gradient, paper.updates) == (100, "paper", "full", "joint")
    assert (paper.degradation, paper.scale, paper.stopping) == ("downsample", 8, "budget")
    released = {
        "identity": (0.01, 200),
        "mask": (0.01, 200),
        "downsample": (0.001, 100),
        "blur": (0.003, 100),
    }
    for degradation, numbers in released.items():
        code = settings_named("bird", {"degradation": degradation}, "code")
        assert (code.learning_rate, code.max_iterations) == numbers
        assert (code.stride, code.variant, code.gradient, code.stopping) == (100, "code", "detached", "budget")
    assert settings_named("bird", {"degradation": "downsample"}, "code").kernel_size == 1
    code = settings_named("bird", {}, "code")
    assert (code.degradation, code.kernel_model, code.kernel_size, code.boundary) == ("blur", "network", 41, "zero")
    assert code.operator_learning_rate == 2e-4
    assert settings_named("bird", {"kernel_size": 9}, "code") == dataclasses.replace(code, kernel_size=9)


@pytest.mark.parametrize(
    "settings, preset, message",
    [
        ({"degradation": "varying_blur"}, "code", "preset='code': expected one of paper"),
        ({}, "thesis", "preset='thesis': expected one of paper, code"),
    ],
)
def test_other_presets_are_refused(settings, preset, message):
    with pytest.raises(ValueError, match=message):
        settings_named("bird", settings, preset)


@pytest.mark.parametrize(
    "setting, message",
    [
        (
            {"degradation": "rain"},
            "degradation='rain': expected one of identity, blur, varying_blur, downsample, mask,",
        ),
        ({"kernel_model": "prior"}, "kernel_model='prior': expected one of network, logits, known"),
        ({"boundary": "wrap"}, "boundary='wrap': expected one of zero, reflect, valid"),
        ({"updates": "never"}, "updates='never': expected one of joint, alternating"),
        ({"kernel_size": 8}, "kernel_size=8: expected an odd number, 1 or more"),
        ({"scale": 1}, "scale=1: expected at least 2"),
        ({"operator_learning_rate": 0.0}, "operator_learning_rate=0.0: expected above 0"),
        ({"loss_threshold": -1.0}, "loss_threshold=-1.0: expected at least 0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: expected above 0"),
        ({"degradation": "varying_blur", "kernel_model": "known"}, "kernel_model='known': varying_blur has several"),
    ],
)
def test_bad_settings_of_bird_are_refused(setting, message):
    defaults = {field.name: field.default for field in dataclasses.fields(BIRDSettings)}
    with pytest.raises(ValueError, match=message):
        unchecked(BIRDSettings, **(defaults | setting))


def test_every_setting_of_bird_is_documented():
    documented = inspect.getdoc(BIRDSettings) + inspect.getdoc(Settings) + inspect.getdoc(NoiseSettings)
    for field in dataclasses.fields(BIRDSettings):
        assert field.name in documented


@pytest.mark.parametrize("degradation", ["blur", "downsample", "gain_offset", "varying_blur"])
def test_unknown_kernels_stay_centred_unless_as_published(degradation):
    def column(method):
        operator = method.operator()
        # All mass of every kernel in the third column from the left.
        eta = jax.tree.map(lambda leaf: jnp.zeros_like(leaf), operator.init(jax.random.key(0), (16, 16, 3)))
        logits = jnp.full((5, 5), -30.0).at[:, 3].set(0.0)
        eta = jax.tree.map(lambda leaf: jnp.broadcast_to(logits, leaf.shape) if leaf.shape[-1:] == (5,) else leaf, eta)
        return operator.estimates(eta)["kernel"].sum(axis=-2).reshape(-1, 5)

    settings = {"degradation": degradation, "kernel_size": 5, "kernel_model": "logits"}
    np.testing.assert_allclose(
        column(BIRDSettings(**settings)), np.eye(5)[[2]].repeat(len(column(BIRDSettings(**settings))), 0), atol=1e-5
    )
    as_published = column(BIRDSettings(**settings, centre_kernel=False))
    np.testing.assert_allclose(as_published, np.eye(5)[[3]].repeat(len(as_published), 0), atol=1e-5)


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"upsampling": "cubic"}, "upsampling='cubic': expected one of bilinear, nearest"),
        ({"levels": 0}, "levels=0: expected at least 1"),
        ({"skip_channels": 0}, "skip_channels=0: expected at least 1"),
        ({"input_noise": -0.1}, "input_noise=-0.1: expected at least 0"),
        ({"max_iterations": 0}, "max_iterations=0: expected at least 1"),
    ],
)
def test_bad_settings_of_dip_are_refused(setting, message):
    defaults = {field.name: field.default for field in dataclasses.fields(DIPSettings)}
    with pytest.raises(ValueError, match=message):
        unchecked(DIPSettings, **(defaults | setting))


def test_the_released_settings_of_dip_are_a_preset():
    assert settings_named("dip", {}, "code") == DIPSettings(stopping="budget")
    assert settings_named("dip", {"max_iterations": 7, "stopping": "loss_slope"}, "code").max_iterations == 7


def test_every_setting_of_dip_is_documented():
    text = inspect.getdoc(DIPSettings) + inspect.getdoc(Settings)
    for field in dataclasses.fields(DIPSettings):
        assert field.name in text
