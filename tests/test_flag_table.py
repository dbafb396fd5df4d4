"""The flags: each sets what it says, and `--help` tells the truth."""

import dataclasses
from typing import get_args

import pytest

from diip_jax.commands.settings import (
    METHODS,
    BIRDSettings,
    BlindSettings,
    DIIPSettings,
    DIPSettings,
    Settings,
    Stopping,
    settings_named,
)
from diip_jax.launch.flag_table import METHOD_HELP, define_flags, help_text, method_from


def parsed(*arguments):
    """As typed behind --method=diip; a later --method counts instead."""
    values = define_flags()
    values(["launch", "--method=diip", *arguments])
    return values


def test_defaults_are_the_methods_own():
    assert method_from(parsed()) == DIIPSettings()
    values = define_flags()
    values(["launch"])
    assert method_from(values) == BlindSettings()


def test_the_blind_method_has_its_own_flags():
    given = ("--ridge=0.5", "--first_level=1", "--last_level=0.1", "--scale=2", "--blur=1.5", "--noise=25.5")
    expected = BlindSettings(ridge=0.5, first_level=1.0, last_level=0.1, scale=2, blur=1.5, noise=25.5)
    assert method_from(parsed("--method=blind", *given)) == expected
    told = expected.method(None)
    assert told.blur == 1.5 and told.noise == pytest.approx(0.2)
    with pytest.raises(ValueError, match=r"--noise=-1\.0: expected at least 0"):
        method_from(parsed("--method=blind", "--noise=-1"))
    with pytest.raises(ValueError, match="--blur: --method=diip has no such setting"):
        method_from(parsed("--blur=1"))
    with pytest.raises(ValueError, match="--preset='paper': the method has no presets"):
        method_from(parsed("--method=blind", "--preset=paper"))
    with pytest.raises(ValueError, match="--ridge: --method=diip has no such setting"):
        method_from(parsed("--ridge=0.5"))
    with pytest.raises(ValueError, match="--scale: --method=diip has no such setting"):
        method_from(parsed("--scale=2"))
    with pytest.raises(ValueError, match="--scale=0: expected at least 1"):
        method_from(parsed("--method=blind", "--scale=0"))


@pytest.mark.parametrize(
    ("flag", "field", "value"),
    [
        ("--max_iterations=7", "max_iterations", 7),
        ("--learning_rate=0.01", "learning_rate", 0.01),
        ("--stride=200", "stride", 200),
        ("--gradient=full", "gradient", "full"),
        ("--variant=paper", "variant", "paper"),
        ("--noproject", "project", False),
        ("--stopping=robust", "stopping", "robust"),
        ("--k_min=3", "k_min", 3),
        ("--robust_eps=0.5", "robust_eps", 0.5),
        ("--smoothing=0.5", "smoothing", 0.5),
        ("--patience=2", "patience", 2),
        ("--stopping=combined", "stopping", "combined"),
    ],
)
def test_method_flag_sets_its_field(flag, field, value):
    assert method_from(parsed(flag)) == dataclasses.replace(DIIPSettings(), **{field: value})


@pytest.mark.parametrize(
    ("flag", "field", "value"),
    [
        ("--degradation=downsample", "degradation", "downsample"),
        ("--kernel_size=9", "kernel_size", 9),
        ("--kernel_model=network", "kernel_model", "network"),
        ("--boundary=zero", "boundary", "zero"),
        ("--operator_learning_rate=0.5", "operator_learning_rate", 0.5),
        ("--updates=alternating", "updates", "alternating"),
        ("--loss_threshold=0.01", "loss_threshold", 0.01),
    ],
)
def test_flag_of_the_degradation_sets_its_field(flag, field, value):
    assert method_from(parsed("--method=bird", flag)) == dataclasses.replace(BIRDSettings(), **{field: value})


@pytest.mark.parametrize(
    ("flag", "field", "value"),
    [
        ("--levels=3", "levels", 3),
        ("--channels=16", "channels", 16),
        ("--skip_channels=2", "skip_channels", 2),
        ("--upsampling=nearest", "upsampling", "nearest"),
        ("--input_channels=8", "input_channels", 8),
        ("--input_noise=0.05", "input_noise", 0.05),
    ],
)
def test_flag_of_the_untrained_network_sets_its_field(flag, field, value):
    assert method_from(parsed("--method=dip", flag)) == dataclasses.replace(DIPSettings(), **{field: value})


def test_a_preset_gives_what_is_not_given():
    assert method_from(parsed("--preset=paper")) == settings_named("diip", {}, "paper")
    given = parsed("--method=bird", "--preset=code", "--kernel_size=9")
    assert method_from(given) == settings_named("bird", {"kernel_size": 9}, "code")
    with pytest.raises(ValueError, match="--preset='code': expected one of paper"):
        method_from(parsed("--preset=code"))


def test_a_known_kernel_sets_the_kernels_settings():
    assert method_from(parsed("--method=bird"), 7) == BIRDSettings(kernel_model="known", kernel_size=7)
    assert method_from(parsed("--method=bird", "--kernel_size=7"), 7).kernel_size == 7
    with pytest.raises(ValueError, match="--kernel_size=9 contradicts --kernel, which gives 7; leave it out"):
        method_from(parsed("--method=bird", "--kernel_size=9"), 7)
    with pytest.raises(ValueError, match="--kernel_model=logits contradicts --kernel, which gives known"):
        method_from(parsed("--method=bird", "--kernel_model=logits"), 7)
    with pytest.raises(ValueError, match="--kernel: --method=diip takes no kernel"):
        method_from(parsed(), 7)


@pytest.mark.parametrize(
    ("degradation", "without"),
    [
        ("identity", ["kernel_size", "boundary", "scale", "operator_learning_rate"]),
        ("mask", ["kernel_size", "boundary", "scale", "operator_learning_rate"]),
        ("blur", ["scale"]),
        ("varying_blur", ["scale"]),
        ("downsample", []),
        ("gain_offset", ["scale"]),
    ],
)
def test_settings_without_effect_on_a_degradation_are_refused(degradation, without):
    for name, value in {"kernel_size": 3, "boundary": "zero", "scale": 2, "operator_learning_rate": 0.5}.items():
        values = parsed("--method=bird", f"--degradation={degradation}", f"--{name}={value}")
        if name in without:
            with pytest.raises(ValueError, match=f"--{name} has no effect with --degradation={degradation}; leave it"):
                method_from(values)
        else:
            assert method_from(values) == BIRDSettings(**{"degradation": degradation, name: value})


def test_every_setting_of_every_method_has_a_flag():
    for kind in METHODS.values():
        assert {field.name for field in dataclasses.fields(kind)} <= METHOD_HELP.keys()


def test_help_lists_every_flag_once_with_its_default():
    values = parsed()
    lines = help_text(values).splitlines()
    for name in values:
        if name not in ("help", "h"):
            assert sum(line.startswith((f"  --{name}=", f"  --[no]{name}")) for line in lines) == 1, name
    assert max(map(len, lines)) <= 110
    for setting in ("learning_rate", "stopping"):
        by_method = ", ".join(f"{name}: {getattr(kind(), setting)}" for name, kind in METHODS.items())
        assert f"[{by_method}]" in " ".join(help_text(values).split())
    assert f"  --stopping={'|'.join(get_args(Stopping))}" in lines


@pytest.mark.parametrize(
    ("rule", "its_own"),
    [
        ("robust", ["k_min", "robust_eps", "smoothing", "patience"]),
        ("paper", ["k_min", "eps"]),
        ("laplacian_variance", ["k_min"]),
        ("loss_slope", ["eps"]),
        ("wmv", ["patience", "window"]),
        ("emv", ["k_min", "smoothing", "patience"]),
        ("discrepancy", ["tau"]),
        ("averaged", ["k_min", "robust_eps", "smoothing", "patience"]),
        ("combined", ["k_min", "smoothing", "patience", "explained", "sharpness_ratio", "fully_explained"]),
        ("budget", []),
    ],
)
def test_settings_without_effect_are_refused(rule, its_own):
    numbers = {"k_min": 3, "eps": 0.5, "robust_eps": 0.25, "smoothing": 0.5, "patience": 2, "window": 4}
    numbers |= {"explained": 0.5, "sharpness_ratio": 3.0, "fully_explained": 0.5, "tau": 2.0}
    for name, value in numbers.items():
        values = parsed(f"--stopping={rule}", f"--{name}={value}")
        if name not in its_own:
            with pytest.raises(ValueError, match=f"--{name} has no effect with --stopping={rule}; leave it out, or"):
                method_from(values)
        else:
            assert method_from(values) == DIIPSettings(**{"stopping": rule, name: value})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--remat=step"], "--remat has no effect with --gradient=detached; leave it out, or use --gradient=full"),
        (
            ["--method=bird", "--kernel_model=known", "--nocentre_kernel"],
            "--centre_kernel has no effect with --kernel_model=known; leave it out, or use --kernel_model=network",
        ),
        (
            ["--method=bird", "--kernel_model=known", "--updates=alternating"],
            "--updates has no effect with a known kernel: nothing of the operator is learned; leave it out",
        ),
    ],
)
def test_settings_without_effect_on_a_gradient_or_kernel_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        method_from(parsed(*arguments))


def test_flags_may_follow_images():
    assert define_flags()(["launch", "a.png", "--compare", "b.png"]) == ["launch", "a.png", "b.png"]


def test_setting_of_another_method_is_refused(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Other(Settings):
        max_iterations: int = 5
        method = DIPSettings.method

    monkeypatch.setitem(METHODS, "other", Other)
    assert method_from(parsed("--method=other", "--max_iterations=2")) == Other(max_iterations=2)
    with pytest.raises(ValueError, match="--stride: --method=other has no such setting"):
        method_from(parsed("--method=other", "--stride=100"))
    assert (
        f"[blind: {BlindSettings().max_iterations}, diip: 200, bird: {BIRDSettings().max_iterations}, "
        f"dip: {DIPSettings().max_iterations}, other: 5]" in " ".join(help_text(parsed()).split())
    )
