"""Conversion of torch weights: what is read, what is refused, what is written, what the command line says."""

import importlib
import io
import json
import logging
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch
from adm_cases import tiny
from diffusers import (
    CMStochasticIterativeScheduler,
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    UNet2DModel,
)
from diffusers.training_utils import EMAModel
from torch_networks import DDPMNetwork, diffusers_network, randomise

from diip_jax.convert import main as command
from diip_jax.convert.conversion import identify, read_torch_prior
from diip_jax.convert.diffusers_network import to_diffusers
from diip_jax.convert.families import PRESETS, ConfigError, Preset
from diip_jax.convert.families.diffusers import model_from_diffusers
from diip_jax.convert.main import describe, main
from diip_jax.convert.torch_parity import verify
from diip_jax.convert.weight_files import ConversionError
from diip_jax.models.ddpm_unet import DDPMUNetConfig
from diip_jax.prior import Prior, Provenance, load_prior
from diip_jax.schedule import Sampler, Schedule

TINY = DDPMUNetConfig(8, (8, 16), (False, True), blocks_per_level=1, norm_groups=4)
ROOT = Path(__file__).resolve().parent.parent
State = dict[str, torch.Tensor]
predict = jax.jit(Prior.eps, compiler_options={"xla_backend_optimization_level": 0})  # compiling is most of the time


@pytest.fixture(autouse=True)
def tiny_preset(monkeypatch):
    monkeypatch.setitem(PRESETS, "tiny", Preset(TINY))


@pytest.fixture(scope="session")
def ddpm_network() -> torch.nn.Module:
    return randomise(DDPMNetwork(TINY))


@pytest.fixture
def ddpm_state(ddpm_network) -> State:
    return dict(ddpm_network.state_dict())


@pytest.fixture(scope="session")
def saved_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    diffusers_network(TINY).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved_folder, tmp_path) -> Path:
    """A diffusers folder as today's library writes it."""
    copy = tmp_path / "diffusers"
    copy.mkdir()
    for file in saved_folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def edit_json(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | changes))


def _scheduler(**changes: object) -> str:
    usual = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02, "num_train_timesteps": 1000}
    return json.dumps(usual | changes)


def save(state: object, path: Path) -> Path:
    torch.save(state, path)
    return path


def assert_predicts_like(prior: Prior, network: torch.nn.Module) -> None:
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 3), dtype=np.float32)
    t = np.array([3, 700], np.float32)
    expected = network(torch.from_numpy(x.transpose(0, 3, 1, 2)), torch.from_numpy(t)).numpy().transpose(0, 2, 3, 1)
    given = predict(replace(prior, provenance=Provenance()), x, t)
    np.testing.assert_allclose(given, expected, atol=1e-5 * np.abs(expected).max())


def assert_same_params(a: Prior, b: Prior) -> None:
    jax.tree.map(np.testing.assert_array_equal, a.params, b.params)


# --- diffusers folders


def test_diffusers_folder(folder):
    prior = read_torch_prior(folder)
    assert prior.model == TINY
    assert prior.schedule == Schedule()
    assert prior.provenance.source == "diffusion_pytorch_model.safetensors"
    assert max(parity.maximum for parity in verify(identify(folder), prior)) < 1e-5


def old_names(state: State) -> State:
    """The state dict as diffusers 0.0.4 wrote it: other attention names, down-sampling convolutions under two names."""
    renamed = {}
    for name, tensor in state.items():
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            name = name.replace(f".{new}.", f".{old}.")
        renamed[name] = tensor
        if "downsamplers" in name:
            renamed[name.replace(".conv.", ".Conv2d_0.")] = tensor
    return renamed


def test_old_diffusers_names_in_a_bin_file(folder):
    new = read_torch_prior(folder)
    weights = folder / "diffusion_pytorch_model.safetensors"
    state = old_names(safetensors.torch.load_file(weights))
    weights.unlink()
    save(state, folder / "diffusion_pytorch_model.bin")
    assert sum("Conv2d_0" in name for name in state) == 2 and sum("proj_attn" in name for name in state) == 8
    old = read_torch_prior(folder)
    assert_same_params(old, new)
    assert max(parity.maximum for parity in verify(identify(folder), old)) < 1e-5


def test_two_names_of_one_weight_must_agree(folder):
    weights = folder / "diffusion_pytorch_model.safetensors"
    state = old_names(safetensors.torch.load_file(weights))
    state["down_blocks.0.downsamplers.0.Conv2d_0.bias"] = state["down_blocks.0.downsamplers.0.conv.bias"] + 1
    weights.unlink()
    save(state, folder / "diffusion_pytorch_model.bin")
    with pytest.raises(ConversionError, match=r"Conv2d_0\.bias differ, but both are our down_0_downsample/bias"):
        read_torch_prior(folder)


def test_a_config_of_diffusers_0_0_4_says_enough(folder):
    keys = (
        "_class_name act_fn attention_head_dim block_out_channels center_input_sample down_block_types "
        "downsample_padding flip_sin_to_cos freq_shift in_channels layers_per_block mid_block_scale_factor norm_eps "
        "norm_num_groups out_channels sample_size time_embedding_type up_block_types"
    ).split()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({key: config[key] for key in keys}))
    assert read_torch_prior(folder).model == TINY


def test_pipeline_folder_with_its_scheduler(folder, tmp_path):
    pipeline = tmp_path / "pipeline"
    pipeline.mkdir()
    (pipeline / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    folder.rename(pipeline / "unet")
    DDPMScheduler(num_train_timesteps=400, beta_schedule="squaredcos_cap_v2").save_pretrained(pipeline / "scheduler")
    from_pipeline = read_torch_prior(pipeline)
    assert from_pipeline.schedule.beta_schedule == "cosine" and from_pipeline.schedule.num_timesteps == 400
    assert read_torch_prior(pipeline / "unet").schedule == from_pipeline.schedule


def test_a_pipeline_of_a_consistency_model(tmp_path):
    model = tiny(num_classes=3, out_channels=3, scale_shift=False).model
    diffusers_network(model).save_pretrained(tmp_path / "unet")
    CMStochasticIterativeScheduler(num_train_timesteps=40).save_pretrained(tmp_path / "scheduler")
    prior = read_torch_prior(tmp_path)
    assert (prior.model, prior.prediction, prior.schedule) == (model, "consistency", PRESETS["ct_cat256"].schedule)
    assert max(parity.maximum for parity in verify(identify(tmp_path), prior)) < 1e-5
    edit_json(tmp_path / "scheduler" / "scheduler_config.json", sigma_data=1.0)
    with pytest.raises(ConversionError, match=r"sigma_data=1\.0: supported for a consistency model is 0\.5"):
        read_torch_prior(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"variant": "fp16"},
        {"max_shard_size": "40KB"},
        {"max_shard_size": "40KB", "safe_serialization": False},
        {"max_shard_size": "40KB", "variant": "fp16"},
    ],
)
def test_variants_and_shards_as_diffusers_writes_them(options, folder, tmp_path):
    network = UNet2DModel.from_pretrained(folder)
    network.save_pretrained(tmp_path / "saved", **options)
    prior = read_torch_prior(tmp_path / "saved")
    assert len([*(tmp_path / "saved").iterdir()]) > 3 or "max_shard_size" not in options
    assert_same_params(prior, read_torch_prior(folder))
    assert max(parity.maximum for parity in verify(identify(tmp_path / "saved"), prior)) < 1e-5


def test_a_training_s_checkpoint_with_an_average_as_diffusers_writes_it(folder, tmp_path, caplog):
    network = UNet2DModel.from_pretrained(folder)
    checkpoint = tmp_path / "trained" / "checkpoint-500"
    network.save_pretrained(checkpoint / "unet")
    average = EMAModel(network.parameters(), decay=0.5, model_cls=UNet2DModel, model_config=network.config)
    for shadow in average.shadow_params:
        shadow *= 0.5
    average.save_pretrained(checkpoint / "unet_ema")
    DDPMScheduler(beta_schedule="squaredcos_cap_v2").save_pretrained(tmp_path / "trained" / "scheduler")
    with caplog.at_level(logging.INFO, "diip_jax"):
        prior, raw = read_torch_prior(checkpoint), read_torch_prior(checkpoint, weights="unet")
        raw_by_name = read_torch_prior(checkpoint / "unet")
    assert "weights of 'unet_ema' (not of 'unet'" in caplog.text
    assert "averaged weights lie beside it in unet_ema" in caplog.text
    assert prior.schedule.beta_schedule == "cosine"
    assert_same_params(raw, read_torch_prior(folder))
    assert_same_params(raw_by_name, raw)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b / 2, rtol=1e-6), prior.params, raw.params)


def test_averages_in_a_file_beside_are_mentioned(ddpm_state, tmp_path, caplog):
    save(ddpm_state, tmp_path / "ema_0.9999_010000.pt")
    with caplog.at_level(logging.INFO, "diip_jax"):
        read_torch_prior(save(ddpm_state, tmp_path / "model010000.pt"), "tiny")
        read_torch_prior(save(ddpm_state, tmp_path / "model020000.pt"), "tiny")
    assert caplog.text.count("averaged weights lie beside it in ema_0.9999_010000.pt") == 1


@pytest.mark.parametrize("place", ["scheduler_config.json", "scheduler/scheduler_config.json"])
def test_scheduler_next_to_the_model(folder, place):
    DDPMScheduler(beta_schedule="scaled_linear", beta_end=0.012).save_pretrained((folder / place).parent)
    assert read_torch_prior(folder).schedule == Schedule(beta_schedule="scaled_linear", beta_end=0.012)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_checkpoint_keeps_what_the_scheduler_says(folder, prediction, tmp_path):
    zero_snr = prediction != "epsilon"
    DDIMScheduler(
        prediction_type=prediction, rescale_betas_zero_snr=zero_snr, timestep_spacing="trailing", clip_sample_range=2.0
    ).save_pretrained(folder)
    assert main([f"--source={folder}", f"--output={tmp_path / 'out'}"]) == 0
    prior = load_prior(tmp_path / "out")
    assert (prior.prediction, prior.schedule) == (prediction, Schedule(rescale_betas_zero_snr=zero_snr))
    assert prior.sampler == Sampler(timestep_spacing="trailing", clip_sample_range=2.0)
    description = describe(tmp_path / "out")
    assert f"predicts              {prediction}" in description
    assert "linear, beta 0.0001 to 0.02, 1000 timesteps" in description
    assert ("timesteps, rescaled to no signal at the end" in description) == zero_snr
    assert "sampled               timesteps trailing, x0 clipped to 2" in description


def test_trained_betas_survive_the_checkpoint(folder, tmp_path):
    betas = np.linspace(0.001, 0.4, 10).tolist()
    DDIMScheduler(10, trained_betas=betas).save_pretrained(folder)
    assert main([f"--source={folder}", f"--output={tmp_path / 'out'}"]) == 0
    assert load_prior(tmp_path / "out").schedule == Schedule(10, trained_betas=tuple(betas))
    assert "schedule              trained betas, beta 0.001 to 0.4, 10 timesteps" in describe(tmp_path / "out")


def test_another_sampler_is_said(folder, caplog):
    EulerDiscreteScheduler(prediction_type="v_prediction").save_pretrained(folder)
    with caplog.at_level(logging.INFO, "diip_jax"):
        prior = read_torch_prior(folder)
    assert (prior.prediction, prior.sampler.timestep_spacing) == ("v_prediction", "linspace")
    assert "the steps are DDIM's, not those of EulerDiscreteScheduler" in caplog.text


def test_an_assumed_schedule_is_said(folder, caplog):
    with caplog.at_level(logging.INFO, "diip_jax"):
        read_torch_prior(folder)
    assert "no scheduler_config.json: DDPM's schedule is assumed" in caplog.text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("_class_name", "UNet2DConditionModel"),
        ("act_fn", "gelu"),
        ("add_attention", None),
        ("attn_norm_num_groups", 2),
        ("class_embed_type", "timestep"),
        ("down_block_types", ["DownBlock2D", "SkipDownBlock2D"]),
        ("down_block_types", ["AttnDownBlock2D", "DownBlock2D"]),
        ("up_block_types", ["AttnUpBlock2D"]),
        ("downsample_padding", 2),
        ("mid_block_type", None),
        ("norm_num_groups", None),
        ("norm_num_groups", 3),
        ("block_out_channels", 8),
        ("resnet_time_scale_shift", "scale_shift"),
        ("upsample_type", "conv2d"),
        ("sample_size", None),
        ("sample_size", [8, 16, 3]),
        ("num_class_embeds", "ten"),
        ("out_channels", 5),
        ("time_embedding_dim", 77),
        ("time_embedding_type", "fourier"),
        ("a_key_of_the_future", 1),
    ],
)
def test_unsupported_model_settings_are_errors_that_name_the_key(folder, key, value):
    edit_json(folder / "config.json", **{key: value})
    with pytest.raises(ConversionError, match=key):
        read_torch_prior(folder)


@pytest.mark.parametrize(
    ("model", "key", "value"),
    [
        (tiny().model, "attn_norm_num_groups", None),
        (tiny().model, "out_channels", 5),
        (tiny(num_classes=3).model, "num_class_embeds", "three"),
    ],
)
def test_unsupported_settings_of_an_adm_network_are_errors_that_name_the_key(model, key, value):
    config = {"_class_name": "UNet2DModel", **to_diffusers(model)}
    assert model_from_diffusers(config) == model
    with pytest.raises(ConfigError, match=key):
        model_from_diffusers(config | {key: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"center_input_sample": True, "mid_block_scale_factor": 1.5, "num_class_embeds": 3, "out_channels": 6},
        {"resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 4, "downsample_type": "resnet"},
        {
            "block_out_channels": [8, 8, 16],
            "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
            "sample_size": [8, 16],
            "add_attention": False,
        },
    ],
)
def test_what_diffusers_networks_may_have_besides(changes, tmp_path):
    config = {"_class_name": "UNet2DModel", **to_diffusers(TINY), **changes}
    randomise(UNet2DModel.from_config(config)).save_pretrained(tmp_path)
    prior = read_torch_prior(tmp_path)
    assert prior.image_shape == (8, 16 if "sample_size" in changes else 8, 3)
    assert max(parity.maximum for parity in verify(identify(tmp_path), prior)) < 1e-5
    again = model_from_diffusers({"_class_name": "UNet2DModel", **to_diffusers(prior.model)})
    assert again == prior.model


def test_the_size_of_images_that_a_folder_does_not_say_is_asked_for(folder, tmp_path, capsys):
    edit_json(folder / "config.json", sample_size=None)
    arguments = (f"--source={folder}", f"--output={tmp_path / 'prior'}")
    status, _, err = run(*arguments, capsys=capsys)
    assert status == 2 and err.rstrip().endswith("add --image_size=SIDE or --image_size=HEIGHTxWIDTH, in pixels")
    status, _, err = run(*arguments, "--image_size=8x", capsys=capsys)
    assert status == 2 and "--image_size=8x: expected SIDE or HEIGHTxWIDTH" in err
    assert run(*arguments, "--image_size=8x12", capsys=capsys)[0] == 0
    assert load_prior(tmp_path / "prior").image_shape == (8, 12, 3)
    assert "image size            8 x 12 x 3" in describe(tmp_path / "prior")


@pytest.mark.parametrize("key", ["freq_shift", "norm_eps", "flip_sin_to_cos", "attention_head_dim", "_class_name"])
def test_a_key_without_a_stable_default_must_be_there(key):
    config = {"_class_name": "UNet2DModel", **to_diffusers(TINY)}
    assert model_from_diffusers(config) == TINY
    del config[key]
    with pytest.raises(ConfigError, match=f"{key} is missing"):
        model_from_diffusers(config)


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, head_channels=4, cos_first=True, freq_shift=0.0, symmetric_downsample=True, norm_eps=1e-5),
        replace(TINY, in_channels=1, out_channels=1, blocks_per_level=3, image_size=32),
        *{preset.model for preset in PRESETS.values() if isinstance(preset.model, DDPMUNetConfig)},
        *(PRESETS[name].model for name in ("ffhq_10m", "imagenet256_cond", "edm_imagenet64_ema", "ct_cat256")),
        tiny(resblock_updown=False, in_channels=1, out_channels=2).model,
    ],
)
def test_configurations_survive_diffusers(config):
    assert model_from_diffusers({"_class_name": "UNet2DModel", **to_diffusers(config)}) == config


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("prediction_type", "flow_prediction"),
        ("beta_schedule", "sigmoid"),
        ("timestep_spacing", "log"),
        ("a_key_of_the_future", 1),
    ],
)
def test_unsupported_schedules_are_errors_that_name_the_file_and_the_key(folder, key, value):
    DDPMScheduler().save_pretrained(folder)
    edit_json(folder / "scheduler_config.json", **{key: value})
    with pytest.raises(ConversionError, match=rf"scheduler_config\.json: {key}="):
        read_torch_prior(folder)


# --- state dicts in DDPM names


def test_ddpm_names(ddpm_network, ddpm_state, tmp_path):
    source = save(ddpm_state, tmp_path / "model.ckpt")
    prior = read_torch_prior(source, "tiny")
    assert_predicts_like(prior, ddpm_network)
    assert max(parity.maximum for parity in verify(identify(source, "tiny"), prior)) < 1e-5
    assert len(jax.tree.leaves(prior.params)) == len(ddpm_state)


class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("stream", [None, Full(), io.TextIOWrapper(io.BytesIO(), encoding="ascii")])
def test_what_becomes_of_its_lines_changes_nothing(stream, ddpm_state, tmp_path, monkeypatch):
    source = save({"model": ddpm_state, "ema": ddpm_state}, tmp_path / "größe.ckpt")
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream)
    assert main([f"--source={source}", f"--output={tmp_path / 'größe'}", "--preset=tiny"]) == 0
    assert main([f"--source={source}", f"--output={tmp_path / 'größe'}", "--preset=tiny"]) == 2
    if isinstance(stream, io.TextIOWrapper):
        lines = stream.buffer.getvalue().decode().splitlines()
        assert lines[0].startswith(r"diip_jax.convert: gr\xf6\xdfe.ckpt: weights of 'ema'")
        assert all(r"gr\xf6\xdfe" in line for line in lines)


def test_verify_finds_a_wrong_weight(ddpm_state, tmp_path):
    source = save(ddpm_state, tmp_path / "model.ckpt")
    prior = read_torch_prior(source, "tiny")
    prior.params["up_0_block_1"]["conv1"]["kernel"] *= 1.001
    assert min(parity.maximum for parity in verify(identify(source, "tiny"), prior)) > 1e-5


@pytest.mark.parametrize(
    ("wrap", "says"),
    [
        (lambda good, other: good, ""),
        (lambda good, other: {f"module.{name}": tensor for name, tensor in good.items()}, ""),
        (lambda good, other: {"state_dict": good, "step": 7}, "weights of 'state_dict'"),
        (lambda good, other: {"model": good, "optimizer": {"lr": 0.1}}, "weights of 'model'"),
        (
            lambda good, other: {"state_dict": other, "ema": good},
            "weights of 'ema' (not of 'state_dict'; --weights=state_dict takes those)",
        ),
        (lambda good, other: [good, {"state": {}, "param_groups": []}, 3, 4000], "weights of 'entry 0'"),
        (lambda good, other: [other, {"state": {}}, 3, 4000, good], "weights of 'entry 4' (not of 'entry 0'"),
    ],
)
def test_wrappers_of_training_scripts(wrap, says, ddpm_state, tmp_path, caplog):
    other = {name: tensor + 1 for name, tensor in ddpm_state.items()}
    plain = read_torch_prior(save(ddpm_state, tmp_path / "plain.pt"), "tiny")
    with caplog.at_level(logging.INFO, "diip_jax"):
        wrapped = read_torch_prior(save(wrap(ddpm_state, other), tmp_path / "wrapped.pth"), "tiny")
    assert_same_params(wrapped, plain)
    assert says in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "net": {"a": torch.ones(1)}}, r"unknown weights \(a, "),
        ({"epoch": 3, "net": {"a": 1}}, r"holds a dict of 'epoch' \(int\), 'net' \(dict\)"),
        ([1, {"a": 1}], "holds a list of 2: int, dict"),
        ([{"a": torch.ones(1)}, {"b": torch.ones(1)}], "holds a list of 2: dict, dict"),
        (torch.ones(3), "holds Tensor"),
        ({}, "expected a state dict"),
    ],
)
def test_other_contents_are_described(content, message, tmp_path):
    with pytest.raises(ConversionError, match=message):
        read_torch_prior(save(content, tmp_path / "model.pt"), "tiny")


def test_safetensors_in_ddpm_names_needs_no_torch(ddpm_network, ddpm_state, tmp_path, monkeypatch):
    safetensors.torch.save_file(ddpm_state, tmp_path / "model.safetensors")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        prior = read_torch_prior(tmp_path / "model.safetensors", "tiny")
    assert_predicts_like(prior, ddpm_network)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_half_precision_files_become_float32(dtype, suffix, ddpm_state, tmp_path, caplog):
    low = {name: tensor.to(dtype) for name, tensor in ddpm_state.items()}
    path = tmp_path / f"model{suffix}"
    safetensors.torch.save_file(low, path) if suffix == ".safetensors" else save(low, path)
    with caplog.at_level(logging.INFO, "diip_jax"):
        prior = read_torch_prior(path, "tiny")
    assert f"weights in {str(dtype).removeprefix('torch.')} are converted to float32" in caplog.text
    kernel = prior.params["conv_in"]["kernel"]
    assert kernel.dtype == jnp.float32
    np.testing.assert_array_equal(kernel, low["conv_in.weight"].float().numpy().transpose(2, 3, 1, 0))


def without(state: State, name: str) -> State:
    return {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: without(s, "mid.attn_1.k.weight"),
            r"missing weight for our middle_attention_0/key/kernel \[16, 16\]",
        ),
        (lambda s: without(without(s, "conv_in.bias"), "conv_out.bias"), r"missing weight .* and 1 more"),
        (
            lambda s: s | {"down.5.block.0.conv1.weight": torch.ones(1)},
            r"surplus weight down\.5\.block\.0\.conv1\.weight",
        ),
        (lambda s: s | {"down.0.attn.0.q.bias": torch.ones(8)}, r"surplus weight down\.0\.attn\.0\.q\.bias \[8\]"),
        (lambda s: s | {"num_batches": torch.ones(2)}, r"surplus weight num_batches \[2\]"),
        (
            lambda s: s | {"conv_in.weight": torch.ones(8, 3, 5, 5)},
            r"conv_in\.weight has shape \[8, 3, 5, 5\], expected \[8, 3, 3, 3\] \(our conv_in/kernel \[3, 3, 3, 8\]\)",
        ),
        (
            lambda s: s | {"mid.attn_1.q.weight": torch.ones(16, 16)},
            r"mid\.attn_1\.q\.weight has shape \[16, 16\], expected \[16, 16, 1, 1\]",
        ),
        (lambda s: s | {"norm_out.bias": torch.full((8,), torch.nan)}, r"norm_out\.bias .* not finite"),
        (lambda s: s | {"norm_out.bias": torch.ones(8, dtype=torch.int8)}, r"norm_out\.bias is int8"),
        (lambda s: {"input_blocks.0.0.weight": torch.ones(2)}, r"weights of a classifier \(input_blocks"),
        (
            lambda s: {f"{place}_blocks.0.0.weight": torch.ones(2) for place in ("input", "output")},
            "the names are those of adm, the configuration is one of ddpm_unet",
        ),
        (lambda s: {"encoder.weight": torch.ones(2)}, r"unknown weights \(encoder\.weight"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, message, ddpm_state, tmp_path):
    with pytest.raises(ConversionError, match=message):
        read_torch_prior(save(change(ddpm_state), tmp_path / "model.pt"), "tiny")


# As ermongroup/ddim's YAML files have it, in JSON; the groups of the norms are ours to say.
TINY_CONFIG: dict[str, dict] = {
    "data": {"dataset": "CELEBA", "image_size": 8, "channels": 3, "rescaled": True},
    "model": {
        "type": "simple", "in_channels": 3, "out_ch": 3, "ch": 8, "ch_mult": [1, 2], "num_res_blocks": 1,
        "attn_resolutions": [4], "dropout": 0.0, "ema": True, "resamp_with_conv": True, "norm_groups": 4,
    },
    "diffusion": {"beta_schedule": "quad", "beta_start": 0.0015, "beta_end": 0.0195, "num_diffusion_timesteps": 500},
    "training": {"batch_size": 128},
}  # fmt: skip


def test_a_network_of_ones_own_size_by_its_project_s_configuration(ddpm_state, tmp_path):
    source, config = save(ddpm_state, tmp_path / "model.pt"), tmp_path / "config.json"
    config.write_text(json.dumps(TINY_CONFIG))
    prior = read_torch_prior(source, config=config)
    assert (prior.model, prior.schedule) == (TINY, Schedule(500, 0.0015, 0.0195, "scaled_linear"))
    assert_same_params(prior, read_torch_prior(source, "tiny"))
    config.write_text(json.dumps({key: value for part in TINY_CONFIG.values() for key, value in part.items()}))
    with pytest.raises(ConversionError, match=r"config\.json: batch_size=128: this version does not know the key"):
        read_torch_prior(source, config=config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ch", 0), ("ch_mult", "one"), ("resamp_with_conv", False), ("out_ch", "3"), ("beta_schedule", "sigmoid"),
        ("ch_mult", None), ("norm_groups", 0),
    ],
)  # fmt: skip
def test_a_configuration_that_does_not_fit_names_the_key(key, value, ddpm_state, tmp_path):
    source, config = save(ddpm_state, tmp_path / "model.pt"), tmp_path / "config.json"
    section = next(section for section, content in TINY_CONFIG.items() if key in content)
    config.write_text(json.dumps(TINY_CONFIG | {section: TINY_CONFIG[section] | {key: value}}))
    with pytest.raises(ConversionError, match=rf"config\.json: {key}") as error:
        read_torch_prior(source, config=config)
    assert "\n" not in str(error.value)


def test_a_flat_file_in_diffusers_names_by_its_config_json(folder, tmp_path):
    weights = (folder / "diffusion_pytorch_model.safetensors").rename(tmp_path / "weights.safetensors")
    edit_json(folder / "config.json", mid_block_scale_factor=1.5)
    (folder / "scheduler_config.json").write_text(_scheduler(prediction_type="v_prediction"))
    prior = read_torch_prior(weights, config=folder / "config.json")
    assert (prior.model.middle_scale, prior.prediction) == (1.5, "v_prediction")
    assert max(p.maximum for p in verify(identify(weights, config=folder / "config.json"), prior)) < 1e-5


def test_a_file_without_a_preset_is_recognised(ddpm_state, tmp_path, caplog):
    source = save(ddpm_state, tmp_path / "model.pt")
    with caplog.at_level(logging.INFO, "diip_jax"):
        assert_same_params(read_torch_prior(source), read_torch_prior(source, "tiny"))
    assert "model.pt: recognised as the network of tiny" in caplog.text


def test_a_preset_of_ones_own(ddpm_state, tmp_path):
    source = save(ddpm_state, tmp_path / "model.pt")
    prior = read_torch_prior(source, Preset(TINY, Schedule(500)))
    assert (prior.model, prior.schedule) == (TINY, Schedule(500))


def test_a_preset_of_another_network_is_an_error(ddpm_state, tmp_path):
    with pytest.raises(ConversionError, match="the weights do not belong to this configuration"):
        read_torch_prior(save(ddpm_state, tmp_path / "model.pt"), "faces64")


# --- hostile and damaged files


class _Hostile:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (None, r"refused: it holds \S*open, which loading would run"),  # a file of today's torch: a zip archive
        (2, r"refused: it holds \S*open, which loading would run"),
        (4, "no torch file of plain tensors"),  # torch's restricted reader stops at the protocol
    ],
)
def test_a_pickle_that_would_run_code_is_refused(protocol, message, ddpm_state, tmp_path):
    trace, source = tmp_path / "it-ran", tmp_path / "model.ckpt"
    hostile = ddpm_state | {"conv_in.weight": _Hostile(trace)}
    if protocol is None:
        torch.save(hostile, source)
    else:
        source.write_bytes(pickle.dumps(_Hostile(trace), protocol))
    with pytest.raises(ConversionError, match=message) as error:
        read_torch_prior(source, "tiny")
    assert not trace.exists()
    assert "\n" not in str(error.value) and "weights_only" not in str(error.value)


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("size", [0, 5, 100, 5000, -1])
def test_truncated_files(suffix, size, ddpm_state, tmp_path):
    whole = io.BytesIO()
    torch.save(ddpm_state, whole)
    content = whole.getvalue() if suffix == ".ckpt" else safetensors.torch.save(ddpm_state)
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content[:size])
    with pytest.raises(ConversionError, match="damaged, or no") as error:
        read_torch_prior(path, "tiny")
    assert "\n" not in str(error.value)


# --- the command line


def run(*arguments: object, capsys: pytest.CaptureFixture) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    return (status, *capsys.readouterr())


def test_convert_verify_and_inspect(folder, tmp_path, capsys):
    output = tmp_path / "made" / "on" / "the" / "way"
    status, out, err = run(f"--source={folder}", f"--output={output}", "--verify", capsys=capsys)
    assert status == 0
    assert "relative error against diffusers" in out and " 999  max " in out
    assert "schedule is assumed" in err and "error" not in err
    assert_same_params(load_prior(output), read_torch_prior(folder))

    status, out, err = run(f"--inspect={output}", capsys=capsys)
    assert (status, err) == (0, "")
    for line in (
        "architecture          ddpm_unet",
        "parameters            45,259 as float32, intact",
        "image size            8 x 8 x 3",
        "schedule              linear, beta 0.0001 to 0.02, 1000 timesteps",
        "source                diffusion_pytorch_model.safetensors",
        "block_channels        (8, 16)",
    ):
        assert line in out
    # A checkpoint is passed on: nothing in it may tell the machine it was made on.
    for file in output.rglob("*"):
        assert file.is_dir() or str(tmp_path).encode() not in file.read_bytes(), file
    assert [path.name for path in output.parent.iterdir()] == ["way"]


def test_storing_as_bfloat16_rounds_and_halves(ddpm_state, tmp_path, capsys):
    source, output = save(ddpm_state, tmp_path / "model.ckpt"), tmp_path / "prior"
    flags = (f"--source={source}", f"--output={output}", "--preset=tiny", "--stored_dtype=bfloat16", "--verify")
    status, out, _ = run(*flags, capsys=capsys)
    assert status == 0 and "stored as bfloat16" in out
    exact, stored = read_torch_prior(source, "tiny"), load_prior(output)
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16).astype(jnp.float32), exact.params)
    assert_same_params(stored, replace(exact, params=rounded))
    assert stored.provenance.source == "model.ckpt" and "as bfloat16, intact" in describe(output)


def test_a_failed_verification_writes_nothing(folder, tmp_path, capsys, monkeypatch):
    def wrong(identified, prior):
        prior.params["conv_out"]["bias"] += 0.1
        return verify(identified, prior)

    monkeypatch.setattr(command, "verify", wrong)
    status, _, err = run(f"--source={folder}", f"--output={tmp_path / 'prior'}", "--verify", capsys=capsys)
    assert status == 1
    assert "error: relative error above 1e-05: nothing was written" in err
    assert not (tmp_path / "prior").exists()


def test_a_failed_write_leaves_nothing(folder, tmp_path, capsys, monkeypatch):
    def fail(path, params, **_):
        path.mkdir()
        (path / "half").write_text("written")
        raise RuntimeError("no space left\nand more lines")

    monkeypatch.setattr("orbax.checkpoint.v1.partial.save", fail)
    status, _, err = run(f"--source={folder}", f"--output={tmp_path / 'out' / 'prior'}", capsys=capsys)
    assert status == 2
    assert err.endswith("prior: cannot be written (no space left)\n")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--source and --output are needed"),
        (["--source={folder}"], "--source and --output are needed"),
        (["--sorce=x"], "Unknown command line flag 'sorce'"),
        (["{folder}"], "unexpected argument"),
        (["--source={tmp}/none", "--output={tmp}/out"], "none: no such file or folder"),
        (["--source={tmp}", "--output={tmp}/out"], "no config.json there or in unet/"),
        (["--source={folder}", "--output={tmp}"], "exists already"),
        (["--source={folder}", "--output={tmp}/out", "--preset=tiny"], "drop --preset"),
        (["--source={folder}", "--output={tmp}/out", "--stored_dtype=int8"], "stored_dtype"),
        (["--source={folder}/config.json", "--output={tmp}/out", "--preset=tiny"], "no index of a sharded file"),
        (["--source={tmp}/a.pt", "--output={tmp}/out", "--preset=tinny"], "preset 'tinny' is unknown: expected one of"),
        (["--source={folder}", "--output={tmp}/out", "--config={tmp}/c.json"], "drop --config"),
        (["--source={tmp}/a.pt", "--output={tmp}/out", "--config=c.json", "--preset=tiny"], "give one"),
        (["--inspect={tmp}/none"], "no such checkpoint folder"),
        (["--inspect=~nobody-here/x"], "--inspect=~nobody-here/x: there is no such home directory"),
        (["--source=~nobody-here/x", "--output={tmp}/out"], "--source=~nobody-here/x: there is no such home"),
        (["--source={folder}", "--output=~nobody-here/x"], "--output=~nobody-here/x: there is no such home"),
        (["--inspect={tmp}/none", "--source={folder}"], "--inspect goes without"),
        (["--inspect={folder}"], "a diffusers folder, which is not converted yet"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments, message, folder, tmp_path, capsys):
    (tmp_path / "a.pt").touch()
    status, out, err = run(*(text.format(folder=folder, tmp=tmp_path) for text in arguments), capsys=capsys)
    assert (status, out) == (2, "")
    assert err.startswith("diip_jax.convert: error: ") and err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{", r"config\.json: "),
        ("config.json", "[]", "not a JSON object"),
        ("scheduler_config.json", "{}", "beta_schedule is missing"),
        ("scheduler_config.json", _scheduler(num_train_timesteps="1000"), "num_train_timesteps='1000': supported is"),
        ("scheduler_config.json", _scheduler(num_train_timesteps=0), "num_train_timesteps=0: supported is"),
        ("scheduler_config.json", _scheduler(beta_schedule=["linear"]), r"beta_schedule=\['linear'\]: supported is"),
        ("scheduler_config.json", _scheduler(beta_end="0.02"), "beta_end='0.02': supported is a number"),
        ("scheduler_config.json", _scheduler(beta_start=float("nan")), "beta_start=nan: supported is a number"),
    ],
)
def test_damaged_json(file, content, message, folder):
    (folder / file).write_text(content)
    with pytest.raises(ConversionError, match=message):
        read_torch_prior(folder)


def test_a_folder_without_weights(folder):
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ConversionError, match=r"holds neither diffusion_pytorch_model\.safetensors nor"):
        read_torch_prior(folder)


@pytest.mark.parametrize(("package", "suffix"), [("torch", ".pt"), ("safetensors", ".safetensors")])
def test_a_missing_package_is_one_line(package, suffix, tmp_path, monkeypatch):
    state = {"conv_in.weight": torch.ones(2)}
    path = tmp_path / f"model{suffix}"
    save(state, path) if package == "torch" else safetensors.torch.save_file(state, path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConversionError, match=rf'needs {package}: pip install "diip_jax\[convert\]"'):
        read_torch_prior(tmp_path / f"model{suffix}", "tiny")


def test_verify_without_diffusers_is_one_line(folder, monkeypatch):
    prior = read_torch_prior(folder)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ConversionError, match="--verify needs torch and diffusers"):
        verify(identify(folder), prior)


@pytest.mark.parametrize(
    "error", [RuntimeError("operator torchvision::nms does not exist\nmore"), OSError("libcudart")]
)
def test_verify_with_packages_that_do_not_import_is_no_difference(error, folder, tmp_path, capsys, monkeypatch):
    def broken(name, *rest, original=importlib.import_module):
        if name == "diffusers":
            raise error
        return original(name, *rest)

    monkeypatch.setattr(importlib, "import_module", broken)
    status, out, err = run(f"--source={folder}", f"--output={tmp_path / 'prior'}", "--verify", capsys=capsys)
    assert (status, out) == (2, "") and not (tmp_path / "prior").exists()
    said = f"--verify needs torch and diffusers, which do not import here ({str(error).splitlines()[0]})"
    assert err.splitlines()[-1].startswith(
        f"diip_jax.convert: error: {said}; install versions of torch and torchvision"
    )


def test_paths_from_home(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    status, out, _ = run(f"--source=~/{folder.name}", "--output=~/prior", capsys=capsys)
    assert status == 0 and out.startswith(f"{tmp_path / 'prior'}: ") and (tmp_path / "prior").is_dir()
    status, out, _ = run("--inspect=~/prior", capsys=capsys)
    assert status == 0 and "intact" in out


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_diffusers_does_not_take_is_one_line(kind, folder, ddpm_state, tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise KeyError("no such\nthing")

    monkeypatch.setattr("diffusers.UNet2DModel.from_pretrained", fail)
    monkeypatch.setattr("diffusers.UNet2DModel.load_state_dict", fail)
    given = [f"--source={folder}"] if kind == "folder" else [f"--source={save(ddpm_state, tmp_path / 'm.pt')}"]
    preset = [] if kind == "folder" else ["--preset=tiny"]
    status, _, err = run(*given, *preset, f"--output={tmp_path / 'out'}", "--verify", capsys=capsys)
    assert status == 2 and "Traceback" not in err
    assert err.splitlines()[-1].startswith(f"diip_jax.convert: error: {given[0][9:]}: diffusers does not take it")
    assert not (tmp_path / "out").exists()


def test_help_and_errors_of_the_module(tmp_path):
    def python(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "diip_jax.convert", *arguments], cwd=ROOT, capture_output=True, text=True
        )

    done = python("--help")
    assert done.returncode == 0 and "--stored_dtype" in done.stdout and done.stderr == ""
    done = python(f"--source={tmp_path / 'none'}", f"--output={tmp_path / 'out'}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"diip_jax.convert: error: {tmp_path / 'none'}: no such file or folder\n"


# --- the bundled prior


def test_the_bundled_prior_is_what_its_card_says():
    prior = load_prior()
    card = (ROOT / "checkpoints" / "README.md").read_text()
    assert prior.model == PRESETS["faces64"].model and prior.schedule == Schedule()
    assert prior.provenance.source_sha256 in card and prior.provenance.params_sha256 in card
    for name, most in (("faces64", 12e6), ("photos", 8e6)):
        size = sum(file.stat().st_size for file in (ROOT / "checkpoints" / name).rglob("*") if file.is_file())
        assert size < most, name


def test_the_bundled_prior_denoises():
    # A face is smooth; of a smooth picture with much noise the prior must tell most of the noise.
    prior = load_prior()
    t, alpha_bar = 400, Schedule().alpha_bar[400]
    noise = jax.random.normal(jax.random.key(0), (2, 64, 64, 3))
    x_t = np.sqrt(1 - alpha_bar).astype(np.float32) * noise
    eps = predict(prior, x_t, jnp.full((2,), float(t)))
    assert float(jnp.mean((eps - noise) ** 2)) < 0.05
