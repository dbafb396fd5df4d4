import dataclasses
import json
import shlex

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import TINY, tiny_prior

from diip_jax.prediction import check_prediction
from diip_jax.prior import (
    CheckpointError,
    Provenance,
    bundled_checkpoint,
    identity_of,
    load_prior,
    params_sha256,
    read_card,
    read_metadata,
    save_prior,
)
from diip_jax.schedule import Sampler, Schedule


@pytest.fixture
def saved(tmp_path):
    schedule = Schedule(500, 1e-3, 0.01)
    prior = dataclasses.replace(tiny_prior(), schedule=schedule, provenance=Provenance("weights.pt", "ab" * 32))
    save_prior(tmp_path / "prior", prior)
    return prior, tmp_path / "prior"


def test_save_and_load_round_trip_is_exact(saved):
    prior, path = saved
    loaded = load_prior(path)
    assert (loaded.model, loaded.schedule, loaded.provenance.source) == (TINY, Schedule(500, 1e-3, 0.01), "weights.pt")
    jax.tree.map(np.testing.assert_array_equal, loaded.params, prior.params)
    assert loaded.provenance.params_sha256 == params_sha256(prior.params)
    assert read_metadata(path)["num_params"] == sum(leaf.size for leaf in jax.tree.leaves(prior.params))


def test_bfloat16_storage_rounds_to_eight_bits_and_loads_as_float32(tmp_path):
    prior = tiny_prior()
    save_prior(tmp_path / "half", prior, stored_dtype="bfloat16")
    loaded = load_prior(tmp_path / "half")
    for a, b in zip(jax.tree.leaves(loaded.params), jax.tree.leaves(prior.params), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=2**-8)


def test_the_bundled_prior_denoises():
    """At t = 200 it must recover most of the noise of a smooth picture: random weights, or swapped ones, would not."""
    prior = load_prior()
    assert prior.image_shape == (64, 64, 3)
    assert bundled_checkpoint().is_dir() and bundled_checkpoint("photos").is_dir()
    grid = jnp.linspace(-0.5, 0.5, 64)
    x = jnp.broadcast_to(grid[None, :, None, None], (1, 64, 64, 3))
    noise = jax.random.normal(jax.random.key(0), x.shape)
    alpha_bar = float(prior.schedule.alpha_bar[200])
    eps = prior.eps(alpha_bar**0.5 * x + (1 - alpha_bar) ** 0.5 * noise, jnp.full(1, 200))
    assert float(jnp.mean((eps - noise) ** 2)) < 0.06


def _one_line(error):
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model.ckpt", "my model/config.json", "p/model_index.json", "p/unet_ema/config.json"])
def test_what_is_not_converted_yet_is_answered_with_the_command_to_type(name, tmp_path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    given = tmp_path / name.split("/")[0]
    with pytest.raises(CheckpointError, match=r"not converted yet; run: python -m diip_jax\.convert") as error:
        load_prior(given)
    assert f"--source={shlex.quote(str(given))} --output=FOLDER, and give that FOLDER" in str(error.value)
    _one_line(error)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere: no such checkpoint folder; make one with") as e:
        load_prior(tmp_path / "nowhere")
    _one_line(e)


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="not an Orbax checkpoint, or damaged") as e:
        load_prior(tmp_path)
    _one_line(e)


def test_a_foreign_orbax_checkpoint(tmp_path):
    from orbax.checkpoint import v1 as ocp

    ocp.save(tmp_path / "other", {"a": jnp.zeros(2)})
    with pytest.raises(CheckpointError, match="not a diip_jax prior") as e:
        load_prior(tmp_path / "other")
    _one_line(e)


def test_a_damaged_data_file_is_noticed(saved):
    _, path = saved
    largest = max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    largest.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged checkpoint") as e:
        load_prior(path)
    _one_line(e)


def test_a_missing_data_file_is_noticed(saved):
    _, path = saved
    max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size).unlink()
    with pytest.raises(CheckpointError, match="damaged checkpoint") as e:
        load_prior(path)
    _one_line(e)


def test_metadata_of_another_network_is_noticed(saved):
    _, path = saved
    file = path / "_CHECKPOINT_METADATA"
    metadata = json.loads(file.read_text())
    metadata["custom_metadata"]["model"]["block_channels"] = [24]
    file.write_text(json.dumps(metadata))
    with pytest.raises(CheckpointError, match="damaged checkpoint") as e:
        load_prior(path)
    _one_line(e)


def test_other_dtypes_and_existing_folders_are_refused(saved, tmp_path):
    prior, path = saved
    with pytest.raises(ValueError, match="dtype='float16': expected one of float32, bfloat16"):
        prior.with_dtype("float16")
    with pytest.raises(ValueError, match="stored_dtype='int8': expected one of float32, bfloat16"):
        save_prior(tmp_path / "x", prior, stored_dtype="int8")
    with pytest.raises(FileExistsError, match="exists already; give another folder or remove it"):
        save_prior(path, prior)


def _rewrite_metadata(path, **changes):
    file = path / "_CHECKPOINT_METADATA"
    metadata = json.loads(file.read_text())
    metadata["custom_metadata"] |= changes
    file.write_text(json.dumps(metadata))


def test_a_checkpoint_of_an_earlier_version_says_eps(saved):
    _, path = saved
    assert read_metadata(path)["prediction"] == "epsilon"
    _rewrite_metadata(path, prediction="eps")
    assert load_prior(path).prediction == "epsilon"


def test_a_prior_may_be_told_what_its_output_is(saved, tmp_path):
    prior, path = saved
    right = dataclasses.replace(load_prior(path), prediction="v_prediction")
    save_prior(tmp_path / "right", right)
    assert load_prior(tmp_path / "right").prediction == "v_prediction"
    jax.tree.map(np.testing.assert_array_equal, right.params, prior.params)


def test_an_unknown_prediction_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="prediction='eps': expected one of epsilon, v_prediction, sample, edm, cons"):
        check_prediction("eps")


def test_noise_is_no_prediction_where_nothing_else_is_left(saved):
    _, path = saved
    metadata = read_metadata(path)
    _rewrite_metadata(path, schedule=metadata["schedule"] | {"rescale_betas_zero_snr": True})
    with pytest.raises(CheckpointError, match=r"prediction='epsilon': alpha_bar is 0 at the last .* only v_pred"):
        load_prior(path)
    _rewrite_metadata(path, prediction="v_prediction")
    assert load_prior(path).schedule.alpha_bar[-1] == 0


def test_a_checkpoint_without_a_word_about_its_sampler_is_sampled_as_birds_code_does(saved):
    _, path = saved
    file = path / "_CHECKPOINT_METADATA"
    metadata = json.loads(file.read_text())
    assert metadata["custom_metadata"].pop("sampler") == dataclasses.asdict(Sampler())
    file.write_text(json.dumps(metadata))
    assert load_prior(path).sampler == Sampler()


def test_a_prior_is_the_same_after_it_was_stored(saved):
    prior, path = saved
    assert identity_of(load_prior(path)) == identity_of(prior)


def test_a_bundled_prior_is_loaded_by_its_name(tmp_path, monkeypatch):
    photos = load_prior("photos")
    assert photos.local and photos.prediction == "v_prediction" and not load_prior("faces64").local
    card = read_card("photos")
    assert "Berkeley" in card.data and "non-commercial" in card.terms and card.heldout.mean < 0.04
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces64").mkdir()  # some folder of that name is none
    assert load_prior("faces64").image_shape == (64, 64, 3)
    # A checkpoint of one's own of that name goes before.
    save_prior("photos", tiny_prior())
    assert load_prior("photos").image_shape == (16, 16, 3)
