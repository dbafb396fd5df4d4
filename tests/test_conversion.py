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
from diip_jax.convert.conversion import convert, identify, read_torch_prior
from diip_jax.convert.families import PRESETS, Preset
from diip_jax.convert.families.adm import ADM
from diip_jax.convert.main import main
from diip_jax.convert.torch_parity import verify
from diip_jax.convert.weight_files import ConversionError
from diip_jax.models.adm_unet import ADMUNetConfig
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
    assert max(parity.maximum for parity in verify(identify(source, preset), prior)) < 1e-5


# guided-diffusion's flags of a network for which there is no preset; the groups of the norms are ours to say.
FLAGS = {
    "image_size": 16, "num_channels": 8, "num_res_blocks": 1, "num_heads": 2, "channel_mult": "1,2",
    "attention_resolutions": "8", "class_cond": True, "num_classes": 3, "learn_sigma": True,
    "use_scale_shift_norm": False, "resblock_updown": True, "norm_groups": 4, "use_new_attention_order": True,
    "noise_schedule": "linear", "diffusion_steps": 500, "rescale_timesteps": True, "predict_xstart": True,
    "use_fp16": True, "dropout": 0.1,
}  # fmt: skip


def test_a_network_of_ones_own_size_by_guided_diffusion_s_flags(tmp_path):
    model = tiny(heads=2, head_channels=None, num_classes=3, scale_shift=False, timestep_scale=2.0).model
    config, source = tmp_path / "flags.json", save(Preset(model), tmp_path / "model.pt")
    config.write_text(json.dumps(FLAGS))
    identified = identify(source, config=config)
    assert identified.preset == Preset(model, Schedule(500, 2e-4, 0.04), "sample", new_attention_order=True)
    prior = read_torch_prior(source, config=config)
    assert max(parity.maximum for parity in verify(identified, prior)) < 1e-5


def test_flags_that_are_left_out_are_those_of_guided_diffusion_s_scripts():
    # model_and_diffusion_defaults of its script_util.py.
    defaults = ADMUNetConfig(
        64, 128, (128, 256, 384, 512), (False, False, True, True), 2, out_channels=3, head_channels=None, heads=4,
        resblock_updown=False,
    )  # fmt: skip
    assert ADM.preset_of({}) == Preset(defaults)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_chanels": 8}, "num_chanels=8: this version does not know the key"),
        (
            {"image_size": 48, "channel_mult": ""},
            "channel_mult is missing, .* for image_size=48",
        ),
        ({"use_scale_shift_norm": "yes"}, "use_scale_shift_norm='yes': supported is true or false"),
        ({"num_heads": 3}, "a level of 16 channels does not split into 3 heads"),
        ({"norm_groups": 5}, "a level of 8 channels does not split into norm_groups=5"),
    ],
)
def test_flags_that_do_not_fit(changes, message, tmp_path):
    config, source = tmp_path / "flags.json", save(tiny(), tmp_path / "model.pt")
    config.write_text(json.dumps(FLAGS | changes))
    with pytest.raises(ConversionError, match=rf"flags\.json: {message}") as error:
        identify(source, config=config)
    assert "\n" not in str(error.value)


def test_verify_finds_another_attention_order(tmp_path):
    preset = tiny(heads=2, head_channels=None)
    source = save(preset, tmp_path / "model.pt")
    prior = read_torch_prior(source, replace(preset, new_attention_order=True))
    assert max(parity.maximum for parity in verify(identify(source, preset), prior)) > 1e-3


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
