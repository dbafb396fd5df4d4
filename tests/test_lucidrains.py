"""Files of denoising-diffusion-pytorch: a Trainer's milestones and what is refused.

The last tests run where the package imports; `.ci/run` has it in an environment of its own.
"""

import json
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from lucidrains_cases import CASES, OBJECTIVES, SCHEDULES, random_unet
from torchvision_operators import declare

from diip_jax.convert.conversion import identify, read_torch_prior
from diip_jax.convert.families import WeightError
from diip_jax.convert.families.gaussian_diffusion import named_schedule, objective_of, schedule_of
from diip_jax.convert.families.lucidrains import LUCIDRAINS
from diip_jax.convert.main import main
from diip_jax.convert.torch_parity import TOLERANCE, verify
from diip_jax.convert.weight_files import ConversionError
from diip_jax.prior import load_prior
from diip_jax.schedule import Sampler, Schedule

GOLDEN = Path(__file__).parent / "golden" / "lucidrains.npz"
PREDICTIONS = {"pred_noise": "epsilon", "pred_x0": "sample", "pred_v": "v_prediction"}


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def shapes_of(golden, case="as it comes") -> dict[str, tuple[int, ...]]:
    return {name: tuple(shape) for name, shape in json.loads(str(golden[f"{case}/shapes"])).items()}


def tensors(state, prefix="") -> dict[str, torch.Tensor]:
    return {prefix + name: torch.from_numpy(np.array(array)) for name, array in state.items()}


def milestone(golden, path: Path, case="as it comes", noise="sigmoid/pred_v") -> Path:
    """What `Trainer.save` writes, with other weights in the average, in the model and in the average's own copy."""
    shapes = shapes_of(golden, case)
    raw, average = random_unet(shapes, 1), random_unet(shapes, 2)
    buffers = {name: golden[f"{noise}/{name}"] for name in ("betas", "loss_weight", "alphas_cumprod")}
    ema = tensors(raw | {}, "online_model.model.") | tensors(average, "ema_model.model.")
    ema |= tensors(buffers, "online_model.") | tensors(buffers, "ema_model.")
    optimiser = {"state": {0: {"exp_avg": torch.zeros(3), "step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4}]}
    content = {"step": 7, "model": tensors(raw, "model.") | tensors(buffers), "opt": optimiser, "scaler": None}
    content |= {"ema": ema | {"initted": torch.tensor(True), "step": torch.tensor(7)}, "version": "2.3.4"}
    torch.save(content, path)
    return path


def test_the_averaged_network_of_a_milestone_is_converted(golden, tmp_path, capsys):
    source = milestone(golden, tmp_path / "model-7.pt")
    assert main([f"--source={source}", f"--output={tmp_path / 'prior'}", "--image_size=16x12"]) == 0
    said = capsys.readouterr().err
    assert "weights of 'ema/ema_model.model' (not of 'model/model', 'ema/online_model.model'; --weights=model/m" in said
    assert "recognised as a network of denoising-diffusion-pytorch, which predicts v_prediction" in said
    prior = load_prior(tmp_path / "prior")
    assert (prior.prediction, prior.image_shape) == ("v_prediction", (16, 12, 3))
    assert prior.sampler == Sampler(timestep_spacing="trailing")  # T - 1 down to the image, in strides
    kernel = random_unet(shapes_of(golden), 2)["downs.0.2.to_qkv.weight"][:, :, 0, 0]
    np.testing.assert_array_equal(prior.params["down_0_attention_0"]["key"]["kernel"], kernel[128:256].T)
    raw = read_torch_prior(source, weights="model", image_size=16)
    assert raw.params["conv_in"]["bias"][0] == random_unet(shapes_of(golden), 1)["init_conv.bias"][0]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("schedule", "total"), SCHEDULES)
def test_buffers_tell_the_schedule_and_the_objective(schedule, total, objective, golden):
    betas, weight, alpha_bar = (
        golden[f"{schedule}/{objective}/{name}"].astype(np.float64)
        for name in ("betas", "loss_weight", "alphas_cumprod")
    )
    found = schedule_of(betas)
    assert found == named_schedule(schedule, total)
    np.testing.assert_allclose(found.alpha_bar, alpha_bar, rtol=2e-6)
    assert objective_of(betas, weight) == PREDICTIONS[objective]


def test_betas_of_no_name_are_kept():
    betas = np.linspace(0.01, 0.3, 20)
    assert schedule_of(betas) == Schedule(20, trained_betas=tuple(betas.tolist()))
    with pytest.raises(WeightError, match="of no objective"):
        objective_of(betas, np.linspace(3, 9, 20))


def test_words_say_what_the_shapes_and_buffers_say(golden, tmp_path):
    source = milestone(golden, tmp_path / "model.pt", "other widths, heads and attention; grey", "cosine/pred_noise")
    options, _ = CASES["other widths, heads and attention; grey"]
    words = options | {"image_size": 8, "timesteps": 50, "objective": "pred_noise", "beta_schedule": "cosine"}
    (tmp_path / "words.json").write_text(json.dumps(words | {"flash_attn": True, "dropout": 0.1}))
    by_words = identify(source, config=tmp_path / "words.json").preset
    assert by_words == identify(source, image_size=8).preset
    bare = tmp_path / "bare.pt"
    torch.save(tensors(random_unet(shapes_of(golden))), bare)
    with pytest.raises(ConversionError, match=r"bare\.pt: .* without the buffers of its GaussianDiffusion .*--config="):
        read_torch_prior(bare, image_size=8)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"self_condition": True}, "self_condition=True: supported is False"),
        ({"learned_sinusoidal_cond": True}, "learned_sinusoidal_cond=True: supported is False"),
        ({"auto_normalize": False}, "auto_normalize=False: supported is True"),
        ({"sinusoidal_pos_emb_theta": 500}, "sinusoidal_pos_emb_theta=500: supported is 10000"),
        ({"objective": "pred_score"}, "objective='pred_score': supported is"),
        ({"beta_schedule": "linear", "timesteps": 10}, "beta_schedule='linear', timesteps=10: "),
        ({"attn_heads": [4, 4]}, "heads has 2 entries, widths 5"),
        ({"dim": 9}, "model_channels=9"),
        ({"a_word_of_the_future": 1}, "a_word_of_the_future=1: this version does not know"),
    ],
)
def test_words_that_say_another_network_are_named(words, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        LUCIDRAINS.preset_of({"dim": 8, "image_size": 16} | words)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_conv.weight": (8, 6, 7, 7)}, "self_condition=True"),
        ({"init_conv.weight": (8, 3, 7)}, "a Unet of .* for sequences or videos"),
        ({"downs.0.2.fn.fn.to_qkv.weight": (8,)}, "of a version before 1.8"),
        ({"time_mlp.0.weights": (8,)}, "learned or random sinusoids"),
        ({"classes_mlp.0.weight": (8,)}, r"told a class \(classifier_free_guidance\)"),
        ({"downs.0.2.mem_kv": None}, "a weight is missing"),
        ({"mid_block1.block1.norm.g": None}, "missing weight for our middle_block_0/norm1/scale"),
    ],
)
def test_other_networks_of_the_package_are_refused_with_a_line(changes, message, golden, tmp_path):
    shapes = shapes_of(golden) | {name: shape for name, shape in changes.items() if shape is not None}
    state = {name: torch.zeros(shape) for name, shape in shapes.items() if changes.get(name, ()) is not None}
    buffers = {name: torch.from_numpy(golden[f"sigmoid/pred_v/{name}"]) for name in ("betas", "loss_weight")}
    torch.save({f"model.{name}": tensor for name, tensor in state.items()} | buffers, tmp_path / "model.pt")
    with pytest.raises(ConversionError, match=message) as error:
        read_torch_prior(tmp_path / "model.pt", image_size=16)
    assert "\n" not in str(error.value)


def test_the_size_of_the_images_is_asked_for(golden, tmp_path):
    with pytest.raises(ConversionError, match=r"the size of its images is not in the file: add --image_size=SIDE"):
        read_torch_prior(milestone(golden, tmp_path / "model.pt"))


def test_verify_says_what_to_install(golden, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "denoising_diffusion_pytorch", None)
    source = milestone(golden, tmp_path / "model.pt")
    given = [f"--source={source}", f"--output={tmp_path / 'out'}", "--image_size=16", "--verify"]
    assert main(given) == 2 and not (tmp_path / "out").exists()
    assert "--verify needs torch and denoising-diffusion-pytorch: pip install denoising-d" in capsys.readouterr().err


# --- with the package itself


@pytest.fixture(scope="module")
def package():
    try:
        declare()
    except ImportError:
        pytest.skip("no torchvision here")
    return pytest.importorskip("denoising_diffusion_pytorch", exc_type=ImportError)


@pytest.mark.filterwarnings("default")  # the package's own
@pytest.mark.parametrize("case", [case for case in CASES if "group" not in case])
def test_a_file_of_the_package_itself_gives_its_output(case, package, tmp_path):
    options, size = CASES[case]
    from ema_pytorch import EMA

    learned = options.get("learned_variance", False)
    kind = package.LearnedGaussianDiffusion if learned else package.GaussianDiffusion
    given = {"objective": "pred_noise"} if learned else {"objective": "pred_x0", "beta_schedule": "linear"}
    diffusion = kind(package.Unet(**options), image_size=size, timesteps=100, **given)
    average = EMA(diffusion)
    source = tmp_path / "model-1.pt"
    torch.save({"step": 1, "model": diffusion.state_dict(), "ema": average.state_dict(), "scaler": None}, source)
    identified = identify(source, image_size=size)
    assert identified.preset.prediction == ("epsilon" if learned else "sample")
    rows = verify(identified, read_torch_prior(source, image_size=size))
    print(case, rows)
    assert max(row.maximum for row in rows) <= TOLERANCE


@pytest.mark.filterwarnings("default")
def test_ddim_draws_what_the_package_draws(package, tmp_path):
    import diip_jax as dj

    diffusion = package.GaussianDiffusion(
        package.Unet(8, dim_mults=(1, 2)), image_size=8, timesteps=100, sampling_timesteps=5
    )
    torch.save(diffusion.state_dict(), tmp_path / "model.pt")
    noise = np.random.default_rng(0).standard_normal((1, 8, 8, 3), np.float32)
    with pytest.MonkeyPatch.context() as patch:
        first = iter([torch.from_numpy(noise.transpose(0, 3, 1, 2))])
        patch.setattr(torch, "randn", lambda *_, **__: next(first))
        with torch.inference_mode():
            expected = diffusion.sample(batch_size=1).numpy().transpose(0, 2, 3, 1) * 2 - 1
    prior = read_torch_prior(tmp_path / "model.pt", image_size=8)
    given = np.asarray(dj.reverse(prior, jnp.asarray(noise), stride=20))
    np.testing.assert_allclose(given, expected, atol=1e-4)
