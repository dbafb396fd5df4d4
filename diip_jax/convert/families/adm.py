"""ADM's names, as guided-diffusion has them; improved-diffusion, P2-weighting and OpenAI's consistency models, too.

The blocks are numbered in the order in which they run, whatever their level, and modules by their place in a block. So
the table of names depends on the configuration. Needs no torch.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from diip_jax.convert.families.adm_in_diffusers import in_diffusers
from diip_jax.convert.families.family import ConfigError, Family, Preset, Shapes, Targets
from diip_jax.convert.families.layouts import Fused, Kind, Target, WeightError, count
from diip_jax.convert.families.values import flag, numbers, one_of, refuse_unknown, whole
from diip_jax.models import ModelConfig
from diip_jax.models.adm_unet import ADMUNetConfig
from diip_jax.prediction import Prediction
from diip_jax.schedule import Schedule

_BLOCK: dict[str, tuple[str, Kind]] = {
    "in_layers.0": ("norm1", "same"),
    "in_layers.2": ("conv1", "conv"),
    "emb_layers.1": ("time_projection", "dense"),
    "out_layers.0": ("norm2", "same"),
    "out_layers.3": ("conv2", "conv"),
    "skip_connection": ("shortcut", "pointwise"),
}


def _table(model: ADMUNetConfig, new_attention_order: bool) -> dict[str, list[Target]]:
    """Our parameters for each of torch's names: one, or the three of a fused query-key-value weight.

    A block's `skip_connection` is listed even where its widths do not need one.

    Args:
        new_attention_order: how the fused weights are laid out (guided-diffusion's `use_new_attention_order`).
    """
    targets: dict[str, list[Target]] = {}

    def add(theirs: str, ours: str, kind: Kind) -> None:
        targets[f"{theirs}.weight"] = [Target(f"{ours}/{'scale' if kind == 'same' else 'kernel'}", kind)]
        targets[f"{theirs}.bias"] = [Target(f"{ours}/bias", "same")]

    def add_block(theirs: str, ours: str) -> None:
        for part, (name, kind) in _BLOCK.items():
            add(f"{theirs}.{part}", f"{ours}/{name}", kind)

    def add_attention(theirs: str, ours: str, width: int) -> None:
        add(f"{theirs}.norm", f"{ours}/norm", "same")
        add(f"{theirs}.proj_out", f"{ours}/out", "token")
        heads = None if new_attention_order else model.num_heads(width)
        thirds = [(part, Fused(third, heads)) for third, part in enumerate(("query", "key", "value"))]
        targets[f"{theirs}.qkv.weight"] = [Target(f"{ours}/{part}/kernel", "token", fused) for part, fused in thirds]
        targets[f"{theirs}.qkv.bias"] = [Target(f"{ours}/{part}/bias", "same", fused) for part, fused in thirds]

    for j in range(2):
        add(f"time_embed.{2 * j}", f"time_embed_{j}", "dense")
    if model.num_classes is not None:
        targets["label_emb.weight"] = [Target("class_embedding", "same")]
    for theirs, ours, width in _places(model):
        if "attention" in ours:
            add_attention(theirs, ours, width)
        elif "block" in ours or ("sample" in ours and model.resampling_blocks[int(ours.split("_")[1])]):
            add_block(theirs, ours)
        else:
            suffix = {"down": ".op", "up": ".conv"}.get(ours.split("_")[0], "")
            add(f"{theirs}{suffix}", ours, "conv")
    add("out.0", "norm_out", "same")
    add("out.2", "conv_out", "conv")
    return targets


def _places(model: ADMUNetConfig) -> Iterator[tuple[str, str, int]]:
    """(torch's name, our name, width) of every module of the blocks, in the order in which they run."""
    levels = range(len(model.block_channels))
    yield "input_blocks.0.0", "conv_in", model.block_channels[0]
    n = 1
    for level in levels:
        width = model.block_channels[level]
        for j in range(model.blocks_per_level):
            yield f"input_blocks.{n}.0", f"down_{level}_block_{j}", width
            if model.attention_levels[level]:
                yield f"input_blocks.{n}.1", f"down_{level}_attention_{j}", width
            n += 1
        if level < levels[-1]:
            yield f"input_blocks.{n}.0", f"down_{level}_downsample", width
            n += 1

    width = model.block_channels[-1]
    yield "middle_block.0", "middle_block_0", width
    if model.middle_attention:
        yield "middle_block.1", "middle_attention_0", width
    yield f"middle_block.{1 + model.middle_attention}", "middle_block_1", width

    n = 0
    for level in reversed(levels):
        width = model.block_channels[level]
        for j in range(model.blocks_per_level + 1):
            place = 1
            yield f"output_blocks.{n}.0", f"up_{level}_block_{j}", width
            if model.attention_levels[level]:
                yield f"output_blocks.{n}.1", f"up_{level}_attention_{j}", width
                place = 2
            if level > 0 and j == model.blocks_per_level:
                yield f"output_blocks.{n}.{place}", f"up_{level}_upsample", width
            n += 1


def _targets(model: ModelConfig, new_attention_order: bool) -> Targets | None:
    if not isinstance(model, ADMUNetConfig):
        return None
    table = _table(model, new_attention_order)
    return lambda name: table.get(name, [])


def _check(names: Collection[str]) -> None:
    if not any(name.startswith("output_blocks.") for name in names):
        few = ", ".join(sorted(names)[:3])
        raise WeightError(f"weights of a classifier ({few}, ...), which is half a network: expected a diffusion model")


def _layout(shapes: Shapes) -> dict[str, Any]:
    in_channels, out_channels = shapes["input_blocks.0.0.weight"][1], shapes["out.2.weight"][0]
    if in_channels == 6:
        raise WeightError("weights of an upsampler, whose input holds a small image as well: no prior of images alone")
    # On the way up the last block of a level, except of full resolution, ends with an upsampling.
    blocks = count(shapes, lambda n: f"output_blocks.{n}.0.out_layers.3.weight")
    ups = {
        n: end
        for n in range(blocks)
        for end in (f"output_blocks.{n}.{place}.{part}" for place in (1, 2) for part in ("conv", "in_layers.2"))
        if f"{end}.weight" in shapes
    }
    levels = len(ups) + 1
    ends = [*ups, blocks - 1][::-1]  # the last block of each level, full resolution first
    width = shapes["output_blocks.0.0.out_layers.3.weight"][0]
    labels = shapes.get("label_emb.weight")
    return {
        "model_channels": shapes["time_embed.0.weight"][1],
        "block_channels": tuple(shapes[f"output_blocks.{n}.0.out_layers.3.weight"][0] for n in ends),
        "attention_levels": tuple(f"output_blocks.{n}.1.qkv.weight" in shapes for n in ends),
        "blocks_per_level": blocks // levels - 1,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "num_classes": labels and labels[0],
        "scale_shift": shapes["output_blocks.0.0.emb_layers.1.weight"][0] == 2 * width,
        "resblock_updown": not any(end.endswith(".conv") for end in ups.values()),
    }


# Networks that are told sigma instead of t serve any schedule. This one's sigma is between 0.002 and 80, the range of
# Karras et al., 2022, table 1, in which OpenAI's were trained.
KARRAS = Schedule(beta_end=0.0173)

# channel_mult by image_size: `create_model` of guided-diffusion and of improved-diffusion.
_CHANNEL_MULT = {
    32: (1, 2, 2, 2),
    64: (1, 2, 3, 4),
    128: (1, 1, 2, 3, 4),
    256: (1, 1, 2, 2, 4, 4),
    512: (0.5, 1, 1, 2, 2, 4, 4),
}
_WITHOUT_EFFECT = (
    "dropout", "num_heads_upsample", "p2_gamma", "p2_k", "rescale_learned_sigmas", "sigma_small",
    "timestep_respacing", "use_checkpoint", "use_fp16", "use_kl",
)  # fmt: skip
_READ = (
    "attention_resolutions", "channel_mult", "class_cond", "diffusion_steps", "image_size", "in_channels",
    "learn_sigma", "noise_schedule", "norm_groups", "num_channels", "num_classes", "num_head_channels", "num_heads",
    "num_res_blocks", "predict_xstart", "rescale_timesteps", "resblock_updown", "use_new_attention_order",
    "use_scale_shift_norm",
)  # fmt: skip


def _preset_of(flags: Mapping[str, Any]) -> Preset:
    """Of guided-diffusion's flags (MODEL_FLAGS, DIFFUSION_FLAGS); one that is missing has the default of its scripts.

    Keys of ours: `in_channels` (3), `num_classes` (1000, with `class_cond`) and `norm_groups` (32).
    """
    refuse_unknown(flags, (*_READ, *_WITHOUT_EFFECT))
    side, width = whole(flags, "image_size", 64), whole(flags, "num_channels", 128)
    multipliers = numbers(flags, "channel_mult", "") or _CHANNEL_MULT.get(side, ())
    if not multipliers:
        raise ConfigError(f"channel_mult is missing, and there is no usual one for image_size={side}")
    attended, channels = numbers(flags, "attention_resolutions", "16,8"), whole(flags, "in_channels", 3)
    head_channels = whole(flags, "num_head_channels", -1, least=-1)
    total = whole(flags, "diffusion_steps", 1000)
    model = ADMUNetConfig(
        image_size=side,
        model_channels=width,
        block_channels=tuple(int(width * multiplier) for multiplier in multipliers),
        attention_levels=tuple(side // 2**level in attended for level in range(len(multipliers))),
        blocks_per_level=whole(flags, "num_res_blocks", 2),
        in_channels=channels,
        out_channels=2 * channels if flag(flags, "learn_sigma", False) else channels,
        head_channels=head_channels if head_channels > 0 else None,
        heads=None if head_channels > 0 else whole(flags, "num_heads", 4),
        num_classes=whole(flags, "num_classes", 1000) if flag(flags, "class_cond", False) else None,
        scale_shift=flag(flags, "use_scale_shift_norm", True),
        resblock_updown=flag(flags, "resblock_updown", False),
        timestep_scale=1000 / total if flag(flags, "rescale_timesteps", False) else 1.0,
        norm_groups=whole(flags, "norm_groups", 32),
    )
    schedule = one_of(flags, "noise_schedule", {"linear": "linear", "cosine": "cosine"}, "linear")
    scale = 1000 / total if schedule == "linear" else 1.0
    return Preset(
        model,
        Schedule(total, scale * 1e-4, scale * 0.02, schedule),
        "sample" if flag(flags, "predict_xstart", False) else "epsilon",
        flag(flags, "use_new_attention_order", False),
    )


def _published(
    side: int, width: int, blocks: int, attention: str, *, prediction: Prediction = "epsilon", **more: Any
) -> Preset:
    """A network by the flags of the projects' own READMEs; the heads are 64 wide without `num_heads`."""
    heads = {} if "num_heads" in more else {"num_head_channels": 64}
    usual = {"learn_sigma": True, "resblock_updown": True}
    own = {"image_size": side, "num_channels": width, "num_res_blocks": blocks, "attention_resolutions": attention}
    return dataclasses.replace(_preset_of(usual | heads | own | more), prediction=prediction)


def _karras(prediction: Prediction, preset: Preset) -> Preset:
    return dataclasses.replace(preset, schedule=KARRAS, prediction=prediction, new_attention_order=True)


_LIGHT = _published(256, 128, 1, "16")
_UNCONDITIONAL_256 = _published(256, 256, 2, "32,16,8")
_IMPROVED: dict[str, Any] = {
    "num_heads": 4,
    "resblock_updown": False,
    "diffusion_steps": 4000,
    "noise_schedule": "cosine",
}
_IMPROVED_IMAGENET64 = _published(64, 128, 3, "16,8", rescale_timesteps=True, **_IMPROVED)
_IMPROVED_CIFAR10 = _published(32, 128, 3, "16,8", rescale_timesteps=True, **_IMPROVED)
_IMPROVED_LSUN256 = _published(256, 128, 2, "16", num_heads=1, use_scale_shift_norm=False, resblock_updown=False)
_OF_IMAGENET64 = _published(64, 192, 3, "32,16,8", class_cond=True, learn_sigma=False)
_OF_LSUN256 = _published(256, 256, 2, "32,16,8", learn_sigma=False, use_scale_shift_norm=False)
_EDM_IMAGENET64, _CONSISTENCY_IMAGENET64 = _karras("edm", _OF_IMAGENET64), _karras("consistency", _OF_IMAGENET64)
_EDM_LSUN256, _CONSISTENCY_LSUN256 = _karras("edm", _OF_LSUN256), _karras("consistency", _OF_LSUN256)

ADM = Family(
    name="adm",
    projects="ADM (guided-diffusion, improved-diffusion, P2-weighting)",
    signs=("input_blocks.", "output_blocks.", "time_embed."),
    architecture=ADMUNetConfig,
    layout=_layout,
    targets=_targets,
    preset_of=_preset_of,
    in_diffusers=in_diffusers,
    check=_check,
    presets={
        # jychoi118/ilvr_adm: ffhq_10m.pt (also DPS's, BlindDPS's, DMPlug's), afhq_dog_4m.pt
        "ffhq_10m": _LIGHT,
        "afhq_dog_4m": _LIGHT,
        # jychoi118/P2-weighting; its *_baseline.pt are the same networks
        "ffhq_p2": _LIGHT,
        "celebahq_p2": _LIGHT,
        "afhq_p2": _LIGHT,
        "cub_p2": _LIGHT,
        "flower_p2": _LIGHT,
        "metface_p2": _LIGHT,
        # openai/guided-diffusion: {64x64,128x128,256x256,512x512}_diffusion.pt, 256x256_diffusion_uncond.pt, lsun_*.pt
        "imagenet64_cond": _published(
            64, 192, 3, "32,16,8", class_cond=True, noise_schedule="cosine", use_new_attention_order=True
        ),
        "imagenet128_cond": _published(128, 256, 2, "32,16,8", class_cond=True, num_heads=4),
        "imagenet256_cond": _published(256, 256, 2, "32,16,8", class_cond=True),
        "imagenet512_cond": _published(512, 256, 2, "32,16,8", class_cond=True),
        "imagenet256_uncond": _UNCONDITIONAL_256,
        "lsun_bedroom": _UNCONDITIONAL_256,
        "lsun_cat": _UNCONDITIONAL_256,
        "lsun_horse": _UNCONDITIONAL_256,
        "lsun_horse_nodropout": _UNCONDITIONAL_256,
        # openai/improved-diffusion: the files whose names begin so
        "imagenet64_uncond_100M": _IMPROVED_IMAGENET64,
        "imagenet64_uncond_vlb_100M": _IMPROVED_IMAGENET64,
        "imagenet64_cond_270M": _published(64, 192, 3, "16,8", class_cond=True, **_IMPROVED),
        "cifar10_uncond_50M": _IMPROVED_CIFAR10,
        "cifar10_uncond_vlb_50M": _IMPROVED_CIFAR10,
        "lsun_uncond_100M": _IMPROVED_LSUN256,
        # openai/consistency_models
        "edm_imagenet64_ema": _EDM_IMAGENET64,
        "cd_imagenet64_l2": _CONSISTENCY_IMAGENET64,
        "cd_imagenet64_lpips": _CONSISTENCY_IMAGENET64,
        "ct_imagenet64": _CONSISTENCY_IMAGENET64,
        "edm_bedroom256_ema": _EDM_LSUN256,
        "cd_bedroom256_l2": _CONSISTENCY_LSUN256,
        "cd_bedroom256_lpips": _CONSISTENCY_LSUN256,
        "ct_bedroom256": _CONSISTENCY_LSUN256,
        "edm_cat256_ema": _EDM_LSUN256,
        "cd_cat256_l2": _CONSISTENCY_LSUN256,
        "cd_cat256_lpips": _CONSISTENCY_LSUN256,
        "ct_cat256": _CONSISTENCY_LSUN256,
    },
)
