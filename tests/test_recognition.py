"""What state dict is whose: the networks that are published, and what is said of the others."""

from dataclasses import replace

import pytest
from adm_cases import tiny
from adm_network import adm_shapes
from torch_networks import DDPMNetwork, diffusers_network

from diip_jax.convert.families import PRESETS, Preset
from diip_jax.convert.families.layouts import WeightError
from diip_jax.convert.recognition import recognise
from diip_jax.models.ddpm_unet import DDPMUNetConfig
from diip_jax.schedule import Schedule

# One change for every field that shows in the weights.
ADM_CASES = {
    "tiny": tiny(),
    "another width of the embedding": tiny(model_channels=16),
    "widths": tiny(block_channels=(8, 8)),
    "a level more, attention elsewhere": tiny(
        block_channels=(8, 8, 16), attention_levels=(True, False, True), blocks_per_level=2
    ),
    "attention everywhere": tiny(attention_levels=(True, True)),
    "no attention but in the middle": tiny(attention_levels=(False, False)),
    "blocks": tiny(blocks_per_level=3),
    "grey": tiny(in_channels=1, out_channels=2),
    "noise alone": tiny(out_channels=3),
    "classes": tiny(num_classes=5),
    "no scale-shift": tiny(scale_shift=False),
    "strided": tiny(resblock_updown=False),
    "strided, attention everywhere": tiny(resblock_updown=False, attention_levels=(True, True)),
    "one level": tiny(block_channels=(16,), attention_levels=(False,)),
}
TINY_DDPM = DDPMUNetConfig(8, (8, 16), (False, True), blocks_per_level=1, norm_groups=4)


@pytest.fixture
def only(monkeypatch):
    """Makes these presets all that there are."""

    def replace_presets(presets: dict[str, Preset]) -> None:
        for name in [*PRESETS]:
            monkeypatch.delitem(PRESETS, name)
        for name, preset in presets.items():
            monkeypatch.setitem(PRESETS, name, preset)

    return replace_presets


@pytest.mark.parametrize("case", ADM_CASES)
def test_every_field_that_shows_tells_networks_apart(case, only):
    only(ADM_CASES)
    assert recognise(adm_shapes(ADM_CASES[case])) == ([case], ADM_CASES[case])


@pytest.mark.parametrize("family", ["ddpm", "diffusers"])
def test_ddpm_networks_in_both_namings(family, only):
    other = replace(TINY_DDPM, blocks_per_level=2, attention_levels=(True, False))
    only({"tiny": Preset(TINY_DDPM), "other": Preset(other), "adm": tiny()})
    network = DDPMNetwork(other) if family == "ddpm" else diffusers_network(other)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert recognise(shapes) == (["other"], Preset(other))


def test_one_network_of_several_names(only):
    only({"a": tiny(), "b": tiny(), "c": tiny(num_classes=2)})
    assert recognise(adm_shapes(tiny())) == (["a", "b"], tiny())


def test_what_shapes_do_not_tell_is_asked_for(only):
    only({"a": tiny(), "b": replace(tiny(), schedule=Schedule(500)), "c": tiny(num_classes=2)})
    with pytest.raises(WeightError, match=r"shapes do not tell which preset it is: add --preset, one of a, b$"):
        recognise(adm_shapes(tiny()))


def test_an_unknown_network_is_described():
    with pytest.raises(WeightError) as error:
        recognise(adm_shapes(tiny(num_classes=5)))
    text = str(error.value)
    assert text.startswith("no preset has this network: adm_unet with model_channels=8, block_channels=(8, 16), ")
    assert "attention_levels=(False, True), blocks_per_level=1, in_channels=3, out_channels=6, num_classes=5" in text
    assert text.endswith("describe it with --config=FILE.json, see --help")


def upsampler() -> dict[str, tuple[int, ...]]:
    return adm_shapes(tiny()) | {"input_blocks.0.0.weight": (8, 6, 3, 3)}


def without(name: str) -> dict[str, tuple[int, ...]]:
    return {key: shape for key, shape in adm_shapes(tiny()).items() if key != name}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"input_blocks.0.0.weight": (2,), "out.0.bias": (2,)}, "weights of a classifier"),
        (upsampler(), "weights of an upsampler"),
        (without("time_embed.0.weight"), "a weight is missing or has too few dimensions .*time_embed"),
        (without("out.2.weight"), "a weight is missing or has too few dimensions .*out"),
        (adm_shapes(tiny()) | {"time_embed.0.weight": (8,)}, "a weight is missing or has too few dimensions"),
        ({"input_blocks.0.0.weight": (8, 3, 3, 3), "output_blocks.0.0.x": (2,)}, "a weight is missing"),
        ({"down.0.block.0.conv1.weight": (8, 8, 3, 3)}, "a weight is missing .*conv_in"),
        ({"encoder.weight": (2,)}, "unknown weights"),
        ({"all_modules.0.weight": (2,)}, "a network of score_sde"),
        ({"down_blocks.0.attentions.0.transformer_blocks.0.norm1.bias": (2,)}, "a network that is told a text"),
    ],
)
def test_what_is_no_prior_is_one_line(shapes, message):
    with pytest.raises(WeightError, match=message) as error:
        recognise(shapes)
    assert "\n" not in str(error.value)
