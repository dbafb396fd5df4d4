"""What the protocols compare: defaults, presets, and what each task is told."""

import dataclasses
import functools

import numpy as np
import pytest
from networks import tiny_prior

from diip_jax.commands.settings import BIRDSettings, BlindSettings, DIIPSettings, DIPSettings, settings_named
from diip_jax.degradations import degrade
from diip_jax.evaluate.protocols import PROTOCOLS, advised
from diip_jax.evaluate.restorers import Loop

PRIOR = tiny_prior()
ABLATIONS, BIRD, DREAMCLEAN, METHODS, QUALITY, TWO_PHASE = (
    PROTOCOLS[name] for name in ("ablations", "bird", "dreamclean", "methods", "quality", "two_phase")
)


def settings(entry, task="noise"):
    """What an entry of the loop restores a task with; None where it takes no part."""
    restorer = entry.restorer(task, PRIOR)
    return restorer and restorer.settings


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_entry_and_rule_of_a_protocol_can_be_made(name):
    protocol = PROTOCOLS[name]
    assert {*protocol.tasks} <= {*protocol.possible}
    for entry in protocol.entries:
        made = [entry.restorer(task, PRIOR) for task in (*protocol.possible, "pairs")]
        loops = [restorer for restorer in made if isinstance(restorer, Loop)]
        for restorer in loops:
            assert [*restorer.rules(entry.rules)] == [*entry.rules]
        assert bool(loops) == bool(entry.rules)
    # Over all images, whatever the task.
    first = protocol.entries[0]
    assert all(first.restorer(task, PRIOR) for task in (*protocol.possible, "pairs"))
    assert first.images == max(entry.images for entry in protocol.entries)


def test_the_advised_method_is_bird_where_its_operator_says_something():
    assert all(isinstance(advised(task), DIIPSettings) for task in ("noise", "jpeg", "raindrops", "pairs"))
    assert advised("hole") == BIRDSettings(degradation="mask", stride=200)
    assert advised("motion_blur") == BIRDSettings(kernel_size=15, stride=200)


def test_the_quality_that_is_published_is_what_a_user_gets_but_for_the_stride():
    default, diip = QUALITY.entries
    assert (settings(default), settings(diip)) == (BlindSettings(), DIIPSettings(stride=200))
    assert [*default.rules] == [BlindSettings().stopping] and next(iter(diip.rules)) == DIIPSettings().stopping


def test_the_protocol_of_bird_compares_defaults_presets_and_the_truth():
    entries = {entry.name: functools.partial(settings, entry) for entry in BIRD.entries}
    for entry in BIRD.entries:
        assert next(iter(entry.rules)) == settings(entry, "motion_blur").stopping
    assert entries["DIIP"]("x4_blur") == DIIPSettings(stride=200)
    for task in BIRD.tasks:
        blind = entries["BIRD"](task)
        assert blind == BIRDSettings(
            degradation=blind.degradation, kernel_size=blind.kernel_size, scale=blind.scale, stride=200
        )
        told = {"degradation": blind.degradation, "scale": blind.scale, "stride": 200}
        assert entries["BIRD, code preset"](task) == settings_named("bird", told, "code")
        assert entries["BIRD, paper preset"](task) == settings_named(
            "bird", {**told, "kernel_size": blind.kernel_size}, "paper"
        )
        image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        degraded = degrade(task, image)
        true = entries["BIRD, true kernel"](task)
        assert (true is None) == (degraded.kernel is None)
        assert true is None or degraded.kernel.shape == (true.kernel_size, true.kernel_size)
        assert blind.degradation != "downsample" or degraded.scale == blind.scale
        assert (blind.degradation == "mask") == (degraded.mask is not None)


def test_the_table_of_methods_has_the_papers_tasks_and_tells_bird_the_truth():
    assert {"noise", "x4", "x8", "jpeg", "raindrops", "deformation"} < {*METHODS.tasks}
    entries = {entry.name: entry for entry in METHODS.entries}
    assert {name: entry.images for name, entry in entries.items() if entry.images != 16} == {"Blind": 64, "DIP": 4}
    assert settings(entries["DIIP"], "x8") == DIIPSettings(stride=200)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for task in METHODS.tasks:
        blind = settings(entries["BIRD"], task)
        degraded = degrade(task, image)
        nothing_to_learn = ("noise", "mixed_noise", "jpeg", "salt_and_pepper")
        assert (blind is None) == (task in ("raindrops", "deformation", *nothing_to_learn))
        if blind is not None:
            assert (blind.degradation == "mask") == (degraded.mask is not None)
            assert (blind.scale if blind.degradation == "downsample" else 1) == degraded.scale
            blurred = blind.degradation in ("blur", "downsample")
            assert (blind.kernel_size if blurred else 1) == (1 if degraded.kernel is None else len(degraded.kernel))


def test_the_baselines_settings_are_among_those_that_were_swept():
    reported = next(entry for entry in METHODS.entries if entry.name == "DreamClean")
    swept = [entry.restorer("noise", PRIOR).decides for entry in DREAMCLEAN.entries]
    assert reported.restorer("noise", PRIOR).decides in swept


def test_ablations_change_one_thing_at_a_time():
    base, *others = map(settings, ABLATIONS.entries)
    assert base == DIIPSettings(stride=200)
    changed = [
        {name for name, value in dataclasses.asdict(other).items() if value != getattr(base, name)} for other in others
    ]
    printed = {"learning_rate", "max_iterations", "stopping"}
    assert changed == [{"stride"}, {"stride"}, {"project"}, printed, {"gradient"}]
    assert all(each.max_iterations > each.k_min for each in (base, *others))
    rules = [dataclasses.replace(base, **change) for name, change in ABLATIONS.entries[0].rules.items() if "," in name]
    assert {(rule.k_min, rule.eps) for rule in rules} == {(50, 1e-3), (150, 1e-3), (100, 5e-3), (100, 5e-4)}
    assert all(rule.stopping == "paper" and rule.k_min < rule.max_iterations for rule in rules)


def test_the_two_phase_study_has_the_papers_length_and_rate():
    detached, full, dip = map(settings, TWO_PHASE.entries)
    assert {each.max_iterations for each in (detached, full, dip)} == {1500}
    assert {each.learning_rate for each in (detached, full)} == {0.0015}
    assert [detached.gradient, full.gradient] == ["detached", "full"] and isinstance(dip, DIPSettings)
    assert TWO_PHASE.curves
