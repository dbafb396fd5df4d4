"""The settings that all methods have: each reaches its rule, and what does not fit is refused."""

import numpy as np
import pytest
from networks import unchecked
from rule_runs import stop

from diip_jax.commands.settings import DIIPSettings


@pytest.mark.parametrize(
    "stopping, names",
    [
        ("paper", ("laplacian_variance", "loss_slope")),
        ("robust", ("laplacian_variance", "loss_slope")),
        ("laplacian_variance", ("laplacian_variance",)),
        ("loss_slope", ("loss_slope",)),
        ("wmv", ("wmv",)),
        ("emv", ("emv",)),
        ("discrepancy", ("discrepancy",)),
        ("averaged", ("laplacian_variance", "loss_slope")),
        ("combined", ("sharpness", "explained_variance", "emv")),
        ("budget", ("never",)),
    ],
)
def test_stopping_names_its_rules(stopping, names):
    assert DIIPSettings(stopping=stopping).rule().names == names


# The loss falls by 5 % an iteration but for a single plateau at k = 3, and by 0.02 % from k = 40 on. The Laplacian
# variance rises to k = 30 but for a dip at k = 12, and falls from there.
_K = np.arange(60)
_LOSS = np.exp(-0.05 * np.minimum(_K, 40) - 0.0002 * np.maximum(_K - 40, 0))
_LOSS[3:] = np.append(_LOSS[2], _LOSS[3:-1])
_SHARP = np.where(_K == 12, 0.05, 3 - np.abs(_K - 30) / 10)


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"stopping": "paper", "k_min": 5}, (3, 3)),
        ({"stopping": "laplacian_variance", "k_min": 5}, (12, 11)),
        ({"stopping": "laplacian_variance", "k_min": 20}, (31, 30)),
        ({"stopping": "loss_slope"}, (3, 3)),
        ({"stopping": "loss_slope", "eps": 1e-9}, (3, 3)),
        ({"stopping": "robust", "k_min": 20, "smoothing": 0.0, "patience": 4}, (34, 30)),
        ({"stopping": "robust", "k_min": 20, "smoothing": 0.0, "patience": 8}, (38, 30)),
        ({"stopping": "robust", "k_min": 45, "smoothing": 0.0, "patience": 1}, (46, 46)),
        ({"stopping": "robust", "k_min": 45, "smoothing": 0.0, "patience": 1, "robust_eps": 1e-5}, (47, 46)),
    ],
)
def test_every_setting_reaches_its_rule(settings, expected):
    assert stop(DIIPSettings(**settings).rule(), _LOSS, _SHARP)[:2] == expected


def test_smoothing_reaches_the_robust_rule():
    settings = {"stopping": "robust", "k_min": 20, "patience": 4}
    assert stop(DIIPSettings(**settings, smoothing=0.8).rule(), _LOSS, _SHARP)[1] > 30


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"stopping": "never"}, "stopping='never': expected one of paper, robust, laplacian_variance, "),
        ({"learning_rate": 0.0}, "learning_rate=0.0: expected above 0"),
        ({"max_iterations": 0}, "max_iterations=0: expected at least 1"),
        ({"k_min": -1}, "k_min=-1: expected at least 0"),
        ({"stopping": "robust", "patience": 0}, "patience=0: expected at least 1"),
    ],
)
def test_bad_settings_of_all_methods_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        unchecked(DIIPSettings, **setting)
