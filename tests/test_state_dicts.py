"""Which weights are taken of what training scripts save, and what is said of it."""

import numpy as np
import pytest

from diip_jax.convert.families import FAMILIES
from diip_jax.convert.state_dicts import StateDictError, choose, is_averaged

SIGNS = [family.signs for family in FAMILIES]
# A network of each family: enough of its names to be found.
NETWORKS = {
    "diffusers": ("down_blocks.0.resnets.0.conv1.weight", "time_embedding.linear_1.bias", "conv_in.weight"),
    "ddpm": ("down.0.block.0.conv1.weight", "temb.dense.0.bias", "conv_in.weight"),
    "adm": ("input_blocks.0.0.weight", "output_blocks.0.0.in_layers.0.bias", "time_embed.0.weight"),
    "denoising-diffusion-pytorch": ("downs.0.0.mlp.1.weight", "init_conv.bias", "time_mlp.1.bias"),
}


def network(value: float = 0.0, prefix: str = "", family: str = "ddpm") -> dict[str, np.ndarray]:
    return {prefix + name: np.full(n + 1, value, np.float32) for n, name in enumerate(NETWORKS[family])}


def chosen(content, wanted=None):
    return choose(content, SIGNS, lambda value: isinstance(value, np.ndarray), wanted)


def without_dots(value: float, prefix: str) -> dict[str, np.ndarray]:
    return {prefix + name.replace(".", ""): array for name, array in network(value).items()}


RAW, AVERAGED = network(1), network(2)
MODEL = {"state": {0: {"exp_avg": np.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}
# What is saved, and where the averaged weights are in it.
BOTH = {
    "ema beside state_dict": ({"state_dict": RAW, "ema": AVERAGED}, "ema"),
    "ema_model": ({"model": RAW, "ema_model": AVERAGED, "optimizer": MODEL, "step": 3}, "ema_model"),
    "model_ema": ({"model_ema": AVERAGED, "model": RAW}, "model_ema"),
    "params_ema (BasicSR)": ({"params": RAW, "params_ema": AVERAGED}, "params_ema"),
    "ema_state_dict": ({"model_state_dict": RAW, "ema_state_dict": AVERAGED}, "ema_state_dict"),
    "modelEMA": ({"model": RAW, "modelEMA": AVERAGED}, "modelEMA"),
    "an average of weights": ({"net": RAW, "swa_model": AVERAGED}, "swa_model"),
    "inside another dict": ({"model": RAW, "ema": {"decay": 0.99, "module": AVERAGED}}, "ema/module"),
    "shadow parameters by name": ({"model": RAW, "ema": {"shadow": AVERAGED}}, "ema/shadow"),
    "shadow parameters in a list (torch_ema, EMAModel)": (
        {
            "model": RAW | {"sigmas": np.ones(7)},
            "ema": {"decay": 0.99, "shadow_params": [*AVERAGED.values()], "collected_params": [*RAW.values()]},
        },
        "ema/shadow_params",
    ),
    "ermongroup/ddim": ([RAW, MODEL, 3, 4000, AVERAGED], "entry 4"),
    "a prefix (Lightning)": (
        {"state_dict": network(1, "model.") | network(2, "ema_model.") | {"loss.scale": np.ones(1)}},
        "state_dict/ema_model",
    ),
    "lucidrains' EMA": (
        {
            "step": 7,
            "model": network(1, "model.") | {"betas": np.ones(4)},
            "ema": network(1, "online_model.model.") | network(2, "ema_model.model.") | {"initted": np.ones(1)},
        },
        "ema/ema_model.model",
    ),
    "latent-diffusion's LitEma": (
        {
            "state_dict": network(1, "model.diffusion_model.")
            | without_dots(2, "model_ema.diffusion_model")
            | {"model_ema.decay": np.ones(1), "betas": np.ones(4)}
        },
        "state_dict/model_ema",
    ),
}


@pytest.mark.parametrize("case", BOTH)
def test_the_averaged_weights_are_taken_and_it_is_said(case):
    content, place = BOTH[case]
    choice = chosen(content)
    assert choice.place == place
    assert {*choice.tensors} == {*NETWORKS["ddpm"]}
    assert all((array == 2).all() for array in choice.tensors.values())
    assert choice.said.startswith(f"weights of {place!r} (not of ")


@pytest.mark.parametrize("case", BOTH)
def test_the_others_are_taken_where_they_are_asked_for_in_the_words_that_were_said(case):
    content, _ = BOTH[case]
    wanted = chosen(content).said.partition("--weights=")[2].removesuffix(" takes those)")
    tensors = chosen(content, wanted).tensors
    assert all((array == 1).all() for name, array in tensors.items() if name != "sigmas")


@pytest.mark.parametrize("family", NETWORKS)
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module.module.", "model._orig_mod.", "net.unet."])
def test_prefixes_are_taken_off(family, prefix):
    choice = chosen({"state_dict": network(1, prefix, family), "epoch": 3})
    assert {*choice.tensors} == {*NETWORKS[family]}
    assert choice.said == f"weights of {'state_dict/' + prefix.rstrip('.')!r}"


@pytest.mark.parametrize("outer", ["", "ema_model.", "module._orig_mod."])
def test_buffers_of_the_diffusion_around_a_network_come_with_it(outer):
    own = {"betas": np.full(4, 2.0), "step": np.ones(())}
    others = {"betas": np.ones(4), "online_model.betas": np.ones(4), "initted": np.ones(1)} if outer else {}
    state = network(1, f"{outer}model.") | {outer + name: value for name, value in own.items()} | others
    choice = chosen({"ema": state})
    assert choice.beside == own
    assert {*choice.tensors} == {*NETWORKS["ddpm"]}
    assert chosen(RAW | {"betas": np.ones(4)}).beside == {}  # of the network itself


def test_a_network_that_is_all_there_is_goes_without_a_word():
    assert chosen(RAW) == chosen({**RAW})
    assert (chosen(RAW).place, chosen(RAW).said) == ("", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": RAW, "b": AVERAGED}, "weights of several networks: add one of --weights=a, --weights=b"),
        ({"ema_0.99": RAW, "ema_0.9": RAW}, "weights of several averages: add one of --weights=ema_0.99, --weights=e"),
        (
            {"model": RAW, "ema": {"shadow_params": [*RAW.values()][:2]}},
            "a list of 2 averaged weights in 'ema/shadow_params', without names, and no .* --weights=model takes",
        ),
        ({"state_dict": RAW | {"first_stage_model.x": np.ones(1)}}, "a latent diffusion model"),
        ({"epoch": 3}, r"holds a dict of 'epoch' \(int\): expected a state dict"),
        ([1, 2], "holds a list of 2: int, int"),
        (7, "holds int"),
    ],
)
def test_what_cannot_be_chosen_from_is_one_line(content, message):
    with pytest.raises(StateDictError, match=message) as error:
        chosen(content)
    assert "\n" not in str(error.value)


def test_a_place_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(StateDictError, match="--weights=emma: expected one of --weights=model, --weights=ema"):
        chosen({"model": RAW, "ema": AVERAGED}, "emma")


@pytest.mark.parametrize("name", ["ema", "EMA", "g_ema", "emaModel", "ema_0.9999_010000", "avg", "swa/x", "ema/x.y"])
def test_names_of_averages(name):
    assert is_averaged(name)


@pytest.mark.parametrize("name", ["", "model", "cinema", "schema", "ema/online_model", "ema/collected_params", "swan"])
def test_names_of_other_things(name):
    assert not is_averaged(name)
