"""Files in guided-diffusion's names: converted, verified, refused."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
import safetensors.numpy
import torch
from adm_cases import TINY_CASES, tiny
from adm_network import adm_shapes, random_state

import diip_jax
from diip_jax.convert.conversion import convert, read_torch_prior
from diip_jax.convert.main import main
from diip_jax.convert.presets import PRESETS, Preset
from diip_jax.convert.torch_files import ConversionError
from diip_jax.convert.torch_parity import verify
from diip_jax.prior import load_prior, read_metadata
from diip_jax.schedule import Schedule


def save(preset: Preset, path, state=None, **options):
    state = random_state(adm_shapes(preset, **options)) if state is None else state
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, path)
    return path


def run(*arguments: object, capsys) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    return (status, *capsys.readouterr())


@pytest.mark.parametrize(
    "preset",
    [
        tiny(new_attention_order=True, num_classes=3, out_channels=3),
        tiny(heads=2, head_channels=None, model_channels=16, scale_shift=False),
        tiny(resblock_updown=False, timestep_scale=0.25, blocks_per_level=2, attention_levels=(True, True)),
    ],
)
def test_verify_runs_diffusers_with_the_same_weights(preset, tmp_path):
    source = save(preset, tmp_path / "model.pt")
    prior = read_torch_prior(source, preset)
    order = {"new_attention_order": preset.new_attention_order}
    assert max(parity.maximum for parity in verify(source, prior, **order)) < 1e-5


def test_verify_finds_another_attention_order(tmp_path):
    preset = tiny(heads=2, head_channels=None)
    source = save(preset, tmp_path / "model.pt")
    prior = read_torch_prior(source, replace(preset, new_attention_order=True))
    assert max(parity.maximum for parity in verify(source, prior)) > 1e-3


def test_the_command_converts_verifies_and_reports(tmp_path, capsys, monkeypatch):
    preset = replace(tiny(num_classes=3), schedule=Schedule(beta_schedule="cosine"), prediction="edm")
    monkeypatch.setitem(PRESETS, "tiny", preset)
    source, output = save(preset, tmp_path / "weights.pt"), tmp_path / "prior"
    status, out, err = run(f"--source={source}", f"--output={output}", "--verify", capsys=capsys)
    assert status == 0 and "recognised as the network of tiny" in err
    lines = out.splitlines()
    assert lines[0] == "relative error against diffusers, noise of 16 x 16 x 3, float32"
    count = sum(int(np.prod(shape)) for shape in adm_shapes(preset).values())
    assert lines[-1].startswith(f"{output}: {count:,} parameters, from a file of ")
    assert lines[-1].endswith(" GB") and "peak memory" in lines[-1]
    loaded = load_prior(output, class_label=2)
    assert (loaded.model, loaded.schedule) == (preset.model, preset.schedule)
    assert (loaded.prediction, loaded.class_label) == ("edm", 2)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, read_torch_prior(source, preset).params)
    status, out, _ = run(f"--inspect={output}", capsys=capsys)
    assert status == 0
    for line in ("architecture          adm_unet", "predicts              edm", "num_classes           3"):
        assert line in out


def test_safetensors_and_a_checkpoint_of_any_preset_object(tmp_path):
    preset = tiny()
    state = random_state(adm_shapes(preset))
    safetensors.numpy.save_file(state, tmp_path / "model.safetensors")
    prior = convert(tmp_path / "model.safetensors", tmp_path / "prior", preset=preset, stored_dtype="bfloat16")
    assert read_metadata(tmp_path / "prior")["stored_dtype"] == "bfloat16"
    exact = read_torch_prior(save(preset, tmp_path / "model.pt", state), preset)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2**-8), prior.params, exact.params)


@pytest.mark.parametrize("case", ["grey with variance", "new order, convolutions of images in attention"])
def test_a_converted_file_restores_an_image(case, tmp_path):
    preset, size, label = TINY_CASES[case]
    source = save(preset, tmp_path / "model.pt", image_convolutions="images" in case)
    prior = convert(source, tmp_path / "prior", preset=preset).with_class_label(label)
    y = np.random.default_rng(0).uniform(-1, 1, (1, *size, preset.model.in_channels)).astype(np.float32)
    restored = diip_jax.restore(diip_jax.DIIP(prior, stride=500, max_iterations=2), y, save=("loss",))
    assert restored.images.shape == y.shape and np.isfinite(restored.traces["loss"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "middle_block.1.qkv.bias"}, "missing weight for our middle_att"),
        (lambda s: s | {"input_blocks.9.0.in_layers.0.bias": s["out.0.bias"]}, "surplus weight input_blocks.9.0"),
        (
            lambda s: s | {"middle_block.1.qkv.weight": s["middle_block.1.proj_out.weight"]},
            r"middle_block\.1\.qkv\.weight has shape \[16, 16, 1\], expected \[48, 16, 1\] "
            r"\(our middle_attention_0/query/kernel \[16, 16\]\)",
        ),
        (
            lambda s: s | {"out.0.bias": np.full(8, np.nan, np.float32)},
            r"out\.0\.bias \(our norm_out/bias\) holds values",
        ),
    ],
)
def test_weights_that_do_not_fit_leave_no_checkpoint(change, message, tmp_path):
    source = save(tiny(), tmp_path / "model.pt", change(random_state(adm_shapes(tiny()))))
    with pytest.raises(ConversionError, match=message) as error:
        convert(source, tmp_path / "made" / "prior", preset=tiny())
    assert "\n" not in str(error.value)
    assert not (tmp_path / "made").exists() or list((tmp_path / "made").iterdir()) == []


def test_networks_of_other_kinds_are_refused_with_one_line(tmp_path, capsys):
    shapes = adm_shapes(tiny())
    half = {name: array for name, array in random_state(shapes).items() if not name.startswith("output_blocks")}
    source = save(tiny(), tmp_path / "classifier.pt", half)
    status, out, err = run(f"--source={source}", f"--output={tmp_path / 'prior'}", capsys=capsys)
    assert (status, out) == (2, "")
    assert err.startswith(f"diip_jax.convert: error: {source}: weights of a classifier") and err.count("\n") == 1
    assert not (tmp_path / "prior").exists()


def test_a_checkpoint_of_an_unknown_prediction_is_damaged(tmp_path):
    convert(save(tiny(), tmp_path / "model.pt"), tmp_path / "prior", preset=tiny())
    file = tmp_path / "prior" / "_CHECKPOINT_METADATA"
    metadata = json.loads(file.read_text())
    metadata["custom_metadata"]["prediction"] = "velocity"
    file.write_text(json.dumps(metadata))
    with pytest.raises(
        ValueError,
        match=r"damaged metadata or another version's \(prediction='velocity': expected one of epsilon, .*\)",
    ):
        load_prior(tmp_path / "prior")


def test_class_labels_are_checked_before_the_parameters_are_read(tmp_path):
    convert(save(tiny(), tmp_path / "model.pt"), tmp_path / "prior", preset=tiny())
    with pytest.raises(ValueError, match="class_label=1: this prior is not class-conditional"):
        load_prior(tmp_path / "prior", class_label=1)
