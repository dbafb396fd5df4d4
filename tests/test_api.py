import logging
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import images, tiny_prior, uint8_images
from PIL import Image

import diip_jax
from diip_jax import api
from diip_jax.metrics import psnr

SETTINGS = {"stride": 250, "learning_rate": 0.02, "max_iterations": 10, "k_min": 4}


@pytest.fixture(scope="module")
def photos():
    return uint8_images(3)


def test_uint8_and_float_give_the_same_picture_in_their_own_range(prior, photos):
    as_uint8 = diip_jax.restore(prior, photos, **SETTINGS)
    as_float = diip_jax.restore(prior, photos.astype(np.float32) / np.float32(127.5) - 1, **SETTINGS)
    assert as_uint8.images.dtype == np.uint8 and as_uint8.images.shape == photos.shape
    assert as_float.images.dtype == np.float32 and np.abs(as_float.images).max() <= 1
    np.testing.assert_array_equal(as_uint8.images, np.rint((as_float.images + 1) * 127.5).astype(np.uint8))
    np.testing.assert_array_equal(as_uint8.iterations, as_float.iterations)


def test_an_image_depends_neither_on_its_batch_nor_on_its_place(prior):
    y = np.asarray(images(5))
    full = diip_jax.restore(prior, y, **SETTINGS)
    for order, batch_size in (([4, 2, 0, 1, 3], None), ([0, 1, 2, 3, 4], 2), ([3, 3, 1], 3)):
        other = diip_jax.restore(prior, y[order], batch_size=batch_size, **SETTINGS)
        np.testing.assert_array_equal(other.images, full.images[order])
        np.testing.assert_array_equal(other.selected, full.selected[order])


def test_vmapped_images_as_on_an_accelerator_agree_with_those_alone(prior, monkeypatch):
    y = np.asarray(images(5))
    alone = np.concatenate([diip_jax.restore(prior, y[i : i + 1], **SETTINGS).images for i in range(5)])
    monkeypatch.setattr(api.distribute, "on_cpu", lambda mesh: False)
    for order in ([0, 1, 2, 3, 4], [4, 0], [2]):
        np.testing.assert_allclose(diip_jax.restore(prior, y[order], **SETTINGS).images, alone[order], atol=2e-4)


def test_a_smaller_last_batch_runs_in_the_same_program(prior, photos, caplog):
    whole = diip_jax.restore(prior, photos, batch_size=3, **SETTINGS)
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        part = diip_jax.restore(prior, photos[:2], batch_size=3, **SETTINGS)
        assert not [r.message for r in caplog.records if "_advance" in r.message]
    np.testing.assert_array_equal(part.images, whole.images[:2])


def test_the_bundled_prior_takes_noise_away():
    """From end to end: a real portrait, some 40 iterations of 4 network evaluations."""
    folder = Path(__file__).resolve().parent.parent / "examples"
    noisy, clean = (np.asarray(Image.open(folder / kind / "astronaut.png")) for kind in ("noise", "clean"))
    restored = diip_jax.restore(
        diip_jax.load_prior(), noisy[None], stride=250, learning_rate=0.03, max_iterations=40, stopping="budget"
    ).images[0]
    signed = [image / 127.5 - 1 for image in (noisy, restored, clean)]
    assert psnr(signed[1], signed[2]) > psnr(signed[0], signed[2]) + 2


def test_floats_from_0_to_1_are_warned_about(prior):
    with pytest.warns(UserWarning, match=r"expected in \[-1, 1\], not \[0, 1\]"):
        diip_jax.restore(prior, np.full((1, 16, 16, 3), 0.5, np.float32), **SETTINGS)


def test_an_image_that_never_had_a_finite_loss(photos):
    broken = jax.tree.map(lambda leaf: leaf * np.nan, tiny_prior())
    restored = diip_jax.restore(broken, photos[:1], **SETTINGS)
    assert restored.stop_reasons == [["diverged"]] and restored.selected.tolist() == [[-1]]


def test_seed_decides_the_noise(prior, photos):
    runs = [diip_jax.restore(prior, photos[:1], seed=seed, **SETTINGS).images for seed in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_a_second_call_of_the_same_shape_compiles_nothing(prior, photos, caplog):
    diip_jax.restore(prior, photos, seed=3, **SETTINGS)
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        diip_jax.restore(prior, photos[::-1].copy(), seed=4, **SETTINGS)
        assert [r.message for r in caplog.records if "ompil" in r.message] == []
        diip_jax.restore(prior, photos, **(SETTINGS | {"max_iterations": 11}))
    assert any("_advance" in record.message for record in caplog.records)


def test_the_loop_is_one_program(prior, photos, caplog, monkeypatch):
    """All iterations of all images: one compilation, and without a progress callback one call."""
    calls = []
    original = api._advance
    monkeypatch.setattr(api, "_advance", lambda *arguments: calls.append(1) or original(*arguments))
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        diip_jax.restore(prior, photos, **(SETTINGS | {"max_iterations": 9}))
    compiled = [r.message for r in caplog.records if "Finished XLA compilation of jit(_advance)" in r.message]
    assert len(compiled) == 1 and len(calls) == 1


def test_records_of_a_run(prior, photos):
    restored = diip_jax.restore(prior, photos, **SETTINGS)
    assert restored.iterations.shape == restored.selected.shape == (3, 1)
    for reasons, k, selected, losses in zip(
        restored.stop_reasons, restored.iterations, restored.selected, restored.traces["loss"], strict=True
    ):
        assert reasons[0] in {"laplacian_variance", "loss_slope", "budget"}
        assert 0 <= selected[0] < k[0] <= 10
        assert np.isfinite(losses[0, : k[0]]).all() and np.isnan(losses[0, k[0] :]).all()


def test_samples_are_different_and_their_mean_is_returned(prior):
    y = np.asarray(images(2))
    restored = diip_jax.restore(prior, y, samples=3, batch_size=4, **SETTINGS)
    assert restored.samples.shape == (2, 3, 16, 16, 3)
    np.testing.assert_allclose(restored.images, restored.samples.mean(axis=1), atol=1e-6)
    assert np.abs(restored.samples[:, 0] - restored.samples[:, 1]).max() > 0.01
    one = diip_jax.restore(prior, y, **SETTINGS)
    np.testing.assert_allclose(one.images, restored.samples[:, 0], atol=2e-4)


def test_references_add_a_psnr_trace_and_nothing_else(prior):
    y = np.asarray(images(2))
    clean = np.asarray(images(2, seed=7))
    watched, plain = diip_jax.restore(prior, y, references=clean, **SETTINGS), diip_jax.restore(prior, y, **SETTINGS)
    np.testing.assert_array_equal(watched.images, plain.images)
    for i in range(2):
        at_selected = watched.traces["psnr"][i, 0, watched.selected[i, 0]]
        assert at_selected == pytest.approx(psnr(watched.images[i], clean[i]), abs=1e-3)


def test_progress_tells_where_the_run_is(prior, photos):
    seen = []
    diip_jax.restore(
        prior,
        photos,
        batch_size=2,
        report_every=4,
        stopping="budget",
        progress=lambda p: seen.append((p.jobs, list(p.running), p.iterations.tolist(), p.current().shape)),
        **SETTINGS,
    )
    assert [s[2] for s in seen] == [[4, 4], [8, 8], [10, 10], [4], [8], [10]]
    assert {s[0] for s in seen} == {3} and seen[0][1] == [0, 1] and seen[-1][1] == [2]
    assert seen[0][3] == (2, 16, 16, 3)


def test_a_method_of_ones_own_needs_no_registration(prior, photos):
    method = diip_jax.DIIP(**SETTINGS)
    np.testing.assert_array_equal(
        diip_jax.restore(prior, photos, method).images, diip_jax.restore(prior, photos, "diip", **SETTINGS).images
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"images": np.zeros((16, 16, 3), np.uint8)}, r"images have shape \(16, 16, 3\): expected \[N, H, W, C\]"),
        ({"images": np.zeros((0, 16, 16, 3), np.uint8)}, "with at least one image"),
        ({"images": np.zeros((1, 16, 16, 3), np.int32)}, "images have dtype int32: expected uint8, or float in"),
        ({"images": np.full((1, 16, 16, 3), 255.0)}, "hold values up to 255: expected float in"),
        ({"images": np.full((1, 16, 16, 3), np.nan)}, "hold values up to nan"),
        ({"images": np.zeros((1, 15, 16, 3))}, "images are 15x16: this prior takes sides that are multiples of 2"),
        ({"images": np.zeros((1, 16, 16, 1))}, "images have 1 channels: this prior takes 3"),
        ({"method": "ddrm"}, "method='ddrm': expected one of diip"),
        ({"strides": 3}, "method 'diip' has no setting strides: it has learning_rate, "),
        ({"samples": 0}, "samples=0: expected at least 1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"references": np.zeros((2, 16, 16, 3))}, "expected equal shapes"),
        ({"method": diip_jax.DIIP(), "stride": 200}, "settings stride were given beside a method object"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(prior, arguments, message):
    images_given = arguments.pop("images", np.zeros((1, 16, 16, 3), np.float32))
    with pytest.raises(ValueError, match=message) as error:
        diip_jax.restore(prior, images_given, **arguments)
    assert "\n" not in str(error.value)


def test_a_non_square_size_that_the_levels_allow(prior):
    y = jnp.zeros((1, 8, 20, 3))
    assert diip_jax.restore(prior, y, **SETTINGS).images.shape == (1, 8, 20, 3)
