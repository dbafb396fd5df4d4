"""Torch's names of the ADM network, as guided-diffusion has them. Needs no torch.

The blocks are numbered in the order in which they run, whatever their level, and modules by their place in a block. So
the table depends on the configuration.
"""

from collections.abc import Iterator

from diip_jax.convert.torch_layouts import Fused, Kind, Target
from diip_jax.models.adm_unet import ADMUNetConfig

_BLOCK: dict[str, tuple[str, Kind]] = {
    "in_layers.0": ("norm1", "same"),
    "in_layers.2": ("conv1", "conv"),
    "emb_layers.1": ("time_projection", "dense"),
    "out_layers.0": ("norm2", "same"),
    "out_layers.3": ("conv2", "conv"),
    "skip_connection": ("shortcut", "pointwise"),
}


def adm_targets(model: ADMUNetConfig, new_attention_order: bool) -> dict[str, list[Target]]:
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
        elif "block" in ours or (model.resblock_updown and "sample" in ours):
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
    yield "middle_block.1", "middle_attention_0", width
    yield "middle_block.2", "middle_block_1", width

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
