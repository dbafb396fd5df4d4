"""denoising-diffusion-pytorch's names: its Trainer's milestones, and state dicts of its Unet. Needs no torch.

A milestone holds the buffers of GaussianDiffusion beside the network's weights, so that it says itself what its noise
is and what the network predicts; the size of the images alone is in none of them.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from diip_jax.convert.families.family import ConfigError, Family, Preset, Shapes, Targets
from diip_jax.convert.families.gaussian_diffusion import OBJECTIVES, named_schedule, objective_of, schedule_of
from diip_jax.convert.families.layouts import Fused, Kind, Target, WeightError, count
from diip_jax.convert.families.values import flag, numbers, one_of, refuse_unknown, whole
from diip_jax.models import ModelConfig
from diip_jax.models.lucidrains_unet import BlockNorm, LucidrainsUNetConfig
from diip_jax.prediction import Prediction
from diip_jax.schedule import Sampler, Schedule


def _table(model: LucidrainsUNetConfig) -> dict[str, list[Target]]:
    """Our parameters for each of torch's names: one, or the three of a fused query-key-value weight.

    A block's `res_conv` is listed even where its widths do not need one.
    """
    targets: dict[str, list[Target]] = {}

    def add(theirs: str, ours: str, kind: Kind) -> None:
        targets[f"{theirs}.weight"] = [Target(f"{ours}/{'scale' if kind == 'same' else 'kernel'}", kind)]
        targets[f"{theirs}.bias"] = [Target(f"{ours}/bias", "same")]

    def add_root_mean_square(theirs: str, ours: str) -> None:
        targets[f"{theirs}.g"] = [Target(f"{ours}/scale", "channels")]

    def add_block(theirs: str, ours: str) -> None:
        add(f"{theirs}.mlp.1", f"{ours}/time_projection", "dense")
        for n in (1, 2):
            add(f"{theirs}.block{n}.proj", f"{ours}/conv{n}", "conv")
            if model.block_norm == "rms":
                add_root_mean_square(f"{theirs}.block{n}.norm", f"{ours}/norm{n}")
            else:
                add(f"{theirs}.block{n}.norm", f"{ours}/norm{n}", "same")
        add(f"{theirs}.res_conv", f"{ours}/shortcut", "pointwise")

    def add_attention(theirs: str, ours: str, full: bool) -> None:
        add_root_mean_square(f"{theirs}.norm", f"{ours}/norm")
        thirds = enumerate(("query", "key", "value"))
        targets[f"{theirs}.to_qkv.weight"] = [
            Target(f"{ours}/{part}/kernel", "pointwise", Fused(third, None)) for third, part in thirds
        ]
        if model.memory_tokens:
            targets[f"{theirs}.mem_kv"] = [Target(f"{ours}/memory", "same")]
        if full:
            add(f"{theirs}.to_out", f"{ours}/out", "pointwise")
        else:
            add(f"{theirs}.to_out.0", f"{ours}/out", "pointwise")
            add_root_mean_square(f"{theirs}.to_out.1", f"{ours}/norm_out")

    add("init_conv", "conv_in", "conv")
    add("time_mlp.1", "time_embed_0", "dense")
    add("time_mlp.3", "time_embed_1", "dense")
    last = len(model.full_attention) - 1
    for level, full in enumerate(model.full_attention):
        # Counted in the order in which they run: upwards from the lowest resolution.
        down, up = f"downs.{level}", f"ups.{last - level}"
        for j in range(2):
            add_block(f"{down}.{j}", f"down_{level}_block_{j}")
            add_block(f"{up}.{j}", f"up_{level}_block_{j}")
        add_attention(f"{down}.2", f"down_{level}_attention_0", full)
        add_attention(f"{up}.2", f"up_{level}_attention_0", full)
        if level < last:
            add(f"{down}.3.1", f"down_{level}_downsample", "pointwise")
        else:
            add(f"{down}.3", f"down_{level}_downsample", "conv")
        add(f"{up}.3.1" if level > 0 else f"{up}.3", f"up_{level}_upsample", "conv")
    add_block("mid_block1", "middle_block_0")
    add_attention("mid_attn", "middle_attention_0", True)
    add_block("mid_block2", "middle_block_1")
    add_block("final_res_block", "last_block_0")
    add("final_conv", "conv_out", "pointwise")
    return targets


def _targets(model: ModelConfig, new_attention_order: bool) -> Targets | None:
    if not isinstance(model, LucidrainsUNetConfig):
        return None
    table = _table(model)
    return lambda name: table.get(name, [])


# Names that only other networks of the package have.
_OTHER_NETWORKS = (
    (".fn.", "of a version before 1.8, whose layers are others: load them in today's version, or train anew"),
    ("time_mlp.0.weights", "that is told learned or random sinusoids (elucidated or continuous-time diffusion)"),
    ("classes_mlp.", "that is told a class (classifier_free_guidance)"),
)


def _check(names: Collection[str]) -> None:
    for part, what in _OTHER_NETWORKS:
        if any(part in name for name in names):
            raise WeightError(f"weights of a Unet of denoising-diffusion-pytorch {what}, which is not supported")


def _layout(shapes: Shapes) -> dict[str, Any]:
    width, in_channels, *kernel = shapes["init_conv.weight"]
    out_channels = shapes["final_conv.weight"][0]
    if len(kernel) != 2:
        raise WeightError(
            "weights of a Unet of denoising-diffusion-pytorch for sequences or videos: no prior of images"
        )
    if in_channels == 2 * out_channels:
        raise WeightError(
            "weights of a Unet with self_condition=True, which is shown its own last estimate beside the image, which "
            "is not supported: train it without"
        )
    levels = range(count(shapes, lambda level: f"downs.{level}.0.mlp.1.weight"))
    ends = (f"downs.{level}.3.{'1.' if level < levels[-1] else ''}weight" for level in levels)
    full = tuple(f"downs.{level}.2.to_out.weight" in shapes for level in levels)
    memories = [shapes[f"downs.{level}.2.mem_kv"] for level in levels]  # [2, heads, d, n], or of full ones [.., n, d]
    group = "mid_block1.block1.norm.weight" in shapes
    return {
        "model_channels": shapes["time_mlp.1.weight"][1],
        "widths": (width, *(shapes[name][0] for name in ends)),
        "full_attention": full,
        "heads": tuple(memory[1] for memory in memories),
        "head_channels": tuple(memory[3 if f else 2] for memory, f in zip(memories, full, strict=True)),
        "memory_tokens": shapes["mid_attn.mem_kv"][2],
        "in_channels": in_channels,
        "out_channels": out_channels,
        "block_norm": "group" if group else "rms",
    }


def _of_file(shapes: Shapes, buffers: Mapping[str, Any], image_size: int | tuple[int, int] | None) -> Preset:
    """What a milestone says by its weights and the buffers of its GaussianDiffusion."""
    fields = _layout(shapes)
    if not {"betas", "loss_weight"} <= {*buffers}:
        raise WeightError(
            "a Unet of denoising-diffusion-pytorch without the buffers of its GaussianDiffusion (betas, loss_weight), "
            "which say what it predicts: add --config=FILE.json with the words of its Unet and GaussianDiffusion, "
            'such as {"dim": 64, "dim_mults": [1, 2, 4, 8], "image_size": 128, "objective": "pred_v", '
            '"beta_schedule": "sigmoid"}'
        )
    if image_size is None:
        raise WeightError("the size of its images is not in the file: add --image_size=SIDE, in pixels")
    betas, loss_weight = (np.asarray(buffers[name], np.float64) for name in ("betas", "loss_weight"))
    try:
        model = LucidrainsUNetConfig(image_size, **fields)
        return _preset(model, schedule_of(betas), objective_of(betas, loss_weight))
    except ValueError as error:
        raise WeightError(str(error)) from error


def _preset(model: ModelConfig, schedule: Schedule, prediction: Prediction) -> Preset:
    # GaussianDiffusion.ddim_sample: from T - 1 down to the image, clipped.
    return Preset(model, schedule, prediction, sampler=Sampler(timestep_spacing="trailing"))


_WITHOUT_EFFECT = (
    "dropout", "flash_attn", "learned_sinusoidal_dim",  # of Unet
    "ddim_sampling_eta", "immiscible", "min_snr_gamma", "min_snr_loss_weight", "offset_noise_strength",
    "p2_loss_weight_gamma", "p2_loss_weight_k", "sampling_timesteps",
)  # fmt: skip
# Of which our network has these values alone, which are the package's defaults.
_FIXED: dict[str, Any] = {
    "self_condition": False, "learned_sinusoidal_cond": False, "random_fourier_features": False,
    "sinusoidal_pos_emb_theta": 10000, "auto_normalize": True, "schedule_fn_kwargs": {},
}  # fmt: skip
_READ = (
    "dim", "init_dim", "dim_mults", "channels", "learned_variance", "attn_dim_head", "attn_heads", "full_attn",
    "resnet_block_groups", "block_norm", "image_size", "timesteps", "objective", "beta_schedule",
)  # fmt: skip


def _preset_of(content: Mapping[str, Any]) -> Preset:
    """Of the arguments of Unet and GaussianDiffusion; one that is missing has their default.

    Key of ours: `block_norm` ("rms"), "group" for versions before 2.0.
    """
    config = {key: value for key, value in content.items() if value is not None}
    refuse_unknown(config, (*_READ, *_WITHOUT_EFFECT, *_FIXED))
    for key, only in _FIXED.items():
        if config.get(key, only) != only:
            raise ConfigError(f"{key}={config[key]!r}: supported is {only!r}")
    width, channels = whole(config, "dim"), whole(config, "channels", 3)
    multipliers = numbers(config, "dim_mults", (1, 2, 4, 8))
    levels = len(multipliers)
    full = config.get("full_attn") or (False,) * (levels - 1) + (True,)
    full = (full,) * levels if isinstance(full, bool) else tuple(map(bool, full))
    norms: dict[str, BlockNorm] = {"rms": "rms", "group": "group"}
    try:
        model = LucidrainsUNetConfig(
            image_size=whole(config, "image_size"),
            model_channels=width,
            widths=(whole(config, "init_dim", width), *(int(width * multiplier) for multiplier in multipliers)),
            full_attention=full,
            heads=_per_level(config, "attn_heads", 4, levels),
            head_channels=_per_level(config, "attn_dim_head", 32, levels),
            in_channels=channels,
            out_channels=2 * channels if flag(config, "learned_variance", False) else channels,
            block_norm=one_of(config, "block_norm", norms, "rms"),
            norm_groups=whole(config, "resnet_block_groups", 8),
        )
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error
    schedules = {name: name for name in ("linear", "cosine", "sigmoid")}
    schedule = named_schedule(one_of(config, "beta_schedule", schedules, "sigmoid"), whole(config, "timesteps", 1000))
    return _preset(model, schedule, one_of(config, "objective", OBJECTIVES, "pred_v"))


def _per_level(config: Mapping[str, Any], key: str, default: int, levels: int) -> tuple[int, ...]:
    if isinstance(config.get(key, default), list | tuple):
        return tuple(int(value) for value in numbers(config, key))
    return (whole(config, key, default),) * levels


def _torch_network(weights: Mapping[str, Any], preset: Preset) -> Any:
    """The package's own network, for `--verify`."""
    import torch
    from denoising_diffusion_pytorch import Unet

    model = preset.model
    assert isinstance(model, LucidrainsUNetConfig)
    if model.block_norm == "group":
        raise ValueError("its blocks have the group norms of versions before 2.0, which this one does not have")
    network = Unet(
        model.model_channels,
        init_dim=model.widths[0],
        out_dim=model.out_channels,
        dim_mults=tuple(width // model.model_channels for width in model.widths[1:]),
        channels=model.in_channels,
        attn_dim_head=model.head_channels,
        attn_heads=model.heads,
        full_attn=model.full_attention,
    )
    network.load_state_dict({name: torch.from_numpy(np.array(weight)) for name, weight in weights.items()})
    return network.eval()


LUCIDRAINS = Family(
    name="denoising-diffusion-pytorch",
    projects="denoising-diffusion-pytorch (lucidrains)",
    signs=("downs.0.", "init_conv.", "time_mlp."),
    architecture=LucidrainsUNetConfig,
    layout=_layout,
    targets=_targets,
    preset_of=_preset_of,
    of_file=_of_file,
    torch_network=_torch_network,
    reference="denoising_diffusion_pytorch",
    check=_check,
)
