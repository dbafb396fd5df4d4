import logging
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import UNET, images, tiny_prior, uint8_images
from PIL import Image

import diip_jax as dj
from diip_jax.metrics import psnr
from diip_jax.solve import batch, inputs


def diip(prior, **settings):
    """DIIP with few steps and iterations."""
    return dj.DIIP(
        prior, **({"rule": dj.robust(4), "stride": 250, "learning_rate": 0.02, "max_iterations": 10} | settings)
    )


@pytest.fixture(scope="module")
def photos():
    return uint8_images(3)


def test_uint8_and_float_give_the_same_picture_in_their_own_range(prior, photos):
    as_uint8 = dj.restore(diip(prior), photos)
    as_float = dj.restore(diip(prior), photos.astype(np.float32) / np.float32(127.5) - 1)
    assert as_uint8.images.dtype == np.uint8 and as_uint8.images.shape == photos.shape
    assert as_float.images.dtype == np.float32 and np.abs(as_float.images).max() <= 1
    np.testing.assert_array_equal(as_uint8.images, np.rint((as_float.images + 1) * 127.5).astype(np.uint8))
    np.testing.assert_array_equal(as_uint8.selected, as_float.selected)


def test_an_image_depends_neither_on_its_batch_nor_on_its_place():
    prior, y = tiny_prior(model=UNET), np.asarray(images(5))
    full = dj.restore(diip(prior), y)
    for order, batch_size in (([4, 2, 0, 1, 3], None), ([0, 1, 2, 3, 4], 2), ([3, 3, 1], 3), ([2], None), ([1, 0], 1)):
        other = dj.restore(diip(prior), y[order], batch_size=batch_size)
        np.testing.assert_array_equal(other.images, full.images[order])
        np.testing.assert_array_equal(other.selected, full.selected[order])


def test_vmapped_images_as_on_an_accelerator_agree_with_those_alone(prior, monkeypatch):
    y = np.asarray(images(5))
    alone = np.concatenate([dj.restore(diip(prior), y[i : i + 1]).images for i in range(5)])
    monkeypatch.setattr(batch.distribute, "on_cpu", lambda mesh: False)
    for order in ([0, 1, 2, 3, 4], [4, 0], [2]):
        np.testing.assert_allclose(dj.restore(diip(prior), y[order]).images, alone[order], atol=2e-4)


def test_a_smaller_last_batch_runs_in_the_same_program(prior, photos, caplog):
    whole = dj.restore(diip(prior), photos, batch_size=3)
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        part = dj.restore(diip(prior), photos[:2], batch_size=3)
        assert not [r.message for r in caplog.records if "jit(advance)" in r.message]
    np.testing.assert_array_equal(part.images, whole.images[:2])


@pytest.mark.parametrize("raised", [RuntimeError("mine"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_what_a_callback_raises_carries_what_was_done(prior, photos, raised):
    def look(view):
        if 3 in view.running and view.iterations[list(view.running).index(3)] >= 4:
            raise raised

    method, y = diip(prior, rule=dj.Never()), np.concatenate([photos, photos[:1]])
    with pytest.raises(type(raised)) as caught:
        dj.restore(method, y, samples=2, batch_size=3, callback=dj.every(2, look))
    assert caught.value is raised
    done = caught.value.solution
    whole = dj.restore(method, y, samples=2, batch_size=3)
    # Of the second image one sample is finished; its other one and the third image have done 4 iterations.
    assert len(done.images) == 3 and done.reasons == [["budget"] * 2, ["budget", "stopped"], ["stopped"] * 2]
    assert done.stats["iterations"].tolist() == [[10, 10], [10, 4], [4, 4]]
    np.testing.assert_array_equal(done.images[0], whole.images[0])
    assert "what was done of the first 3 images" in caught.value.__notes__[0]
    resumed = dj.restore(method, y[:3], samples=2, batch_size=3, u0=done.state)
    np.testing.assert_array_equal(resumed.images, whole.images[:3])


def grey(photos):
    return np.repeat(photos[..., :1], 3, -1)


@pytest.mark.parametrize("method", ["diip", "blind", "mask", "down", "dreamclean"])
def test_grey_stays_grey_and_colour_stays_colour_in_one_batch(prior, photos, method):
    y, args = np.concatenate([grey(photos[:1]), photos[1:2]]), None
    if method == "diip":
        problem = diip(prior)
    elif method == "blind":  # which may return a guess without an iteration
        problem = dj.Blind(prior, max_iterations=4)
    elif method == "mask":
        problem = dj.BIRD(prior, dj.Mask(), dj.Never(), stride=250, max_iterations=4)
        args = {"mask": np.ones((2, 16, 16), bool)}
        args["mask"][:, 4:9, 4:9] = False
        y[0, 4:9, 4:9] = 255, 0, 0  # the mark over what is to be filled in is no colour of the picture
    elif method == "down":
        problem, y = (
            dj.BIRD(prior, dj.Downsample(dj.Blur(3), 2), dj.Never(), stride=250, max_iterations=4),
            y[:, ::2, ::2],
        )
    else:
        problem = dj.DreamClean(prior, tau=20)
    seen = []
    look = None if method == "dreamclean" else dj.every(2, lambda view: seen.append(view.current()))
    solution = dj.restore(problem, y, args, samples=2, callback=look)
    for restored in (solution.images, *solution.samples.swapaxes(0, 1), *(one[::2] for one in seen)):
        assert np.ptp(np.asarray(restored[0], float), axis=-1).max() == 0
        assert np.ptp(np.asarray(restored[1], float), axis=-1).max() > 0


def test_what_is_traced_of_a_grey_picture_is_that_of_what_is_returned(prior, photos):
    clean = grey(np.asarray(images(1, seed=3)))
    method = diip(prior, rule=dj.Never())
    solution = dj.restore(method, grey(photos[:1]) / 127.5 - 1, {"clean": clean}, save=(dj.psnr,))
    assert solution.traces["psnr"][0, 0, -1] == pytest.approx(psnr(solution.images[0], clean[0]), abs=1e-3)


def test_the_bundled_prior_takes_noise_away():
    """From end to end: a real portrait, 20 iterations of 2 network evaluations."""
    folder = Path(__file__).resolve().parent.parent / "examples"
    noisy, clean = (np.asarray(Image.open(folder / kind / "astronaut.png")) for kind in ("noise", "clean"))
    method = dj.DIIP(dj.load_prior(), dj.Never(), stride=500, learning_rate=0.1, max_iterations=20)
    restored = dj.restore(method, noisy[None]).images[0]
    signed = [image / 127.5 - 1 for image in (noisy, restored, clean)]
    assert psnr(signed[1], signed[2]) > psnr(signed[0], signed[2]) + 2


def test_floats_from_0_to_1_are_warned_about(prior):
    with pytest.warns(UserWarning, match=r"expected in \[-1, 1\], not \[0, 1\]"):
        dj.restore(diip(prior), np.full((1, 16, 16, 3), 0.5, np.float32))


def test_an_image_that_never_had_a_finite_loss(photos):
    broken = jax.tree.map(lambda leaf: leaf * np.nan, tiny_prior())
    solution = dj.restore(diip(broken), photos[:1])
    assert solution.reasons == [["diverged"]] and solution.selected.tolist() == [[-1]]
    assert "lower the learning rate" in dj.Result(int(solution.result[0, 0])).advice


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64", "a byte order of another machine", "not contiguous"])
def test_the_same_picture_gives_the_same_result_in_every_type(prior, photos, kind):
    y = {
        "uint8": photos,
        "float32": photos.astype(np.float32) / np.float32(127.5) - 1,
        "float64": photos / 127.5 - 1,
        "a byte order of another machine": (photos / 127.5 - 1).astype(">f8"),
        "not contiguous": np.asfortranarray(photos / 127.5 - 1),
    }[kind]
    expected = dj.restore(diip(prior), photos)
    solution = dj.restore(diip(prior), y)
    np.testing.assert_array_equal(np.asarray(solution.u), np.asarray(expected.u))
    np.testing.assert_array_equal(solution.selected, expected.selected)


def test_the_noise_is_that_of_the_seed_and_the_sample_and_of_nothing_else(prior):
    """After a step too small to be seen the noise is still where it began."""
    still = diip(prior, learning_rate=1e-12, max_iterations=1, rule=dj.Never())
    y = np.asarray(images(3))
    u = np.asarray(dj.restore(still, y, seed=7, samples=2).u)
    for image in u:
        np.testing.assert_allclose(image, u[0], atol=1e-6)
    assert not np.allclose(u[0, 0], u[0, 1], atol=0.1)
    np.testing.assert_allclose(np.asarray(dj.restore(still, y[:1] * 0.9, seed=7).u)[0, 0], u[0, 0], atol=1e-6)
    with jax.default_prng_impl("rbg"):
        np.testing.assert_allclose(np.asarray(dj.restore(still, y[:1], seed=7).u)[0, 0], u[0, 0], atol=1e-6)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64, 1.0, "0", None, True, np.float32(3)])
def test_a_seed_that_is_not_its_own_is_refused(photos, seed):
    with pytest.raises(ValueError, match=r"^seed=.*: expected a whole number from 0 to 2\*\*32 - 1$"):
        inputs.image_keys(photos, seed)


def test_seeds_of_every_whole_type_and_size(photos):
    keys = [inputs.image_keys(photos, seed)[0] for seed in (5, np.int64(5), np.uint8(5), 2**32 - 1, 2**31)]
    data = [tuple(np.asarray(jax.random.key_data(key))) for key in keys]
    assert data[0] == data[1] == data[2] and len(set(data)) == 3


def test_seed_decides_the_noise(prior, photos):
    runs = [dj.restore(diip(prior), photos[:1], seed=seed).images for seed in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def compiled(caplog, *programs):
    """How often JAX has compiled each of the programs, by what it says."""
    names = [record.message for record in caplog.records if "Finished XLA compilation of jit(" in record.message]
    return [sum(f"jit({program})" in name for name in names) for program in programs]


def test_other_arrays_rates_thresholds_and_budgets_run_in_the_same_program(prior, photos, caplog):
    """Ten restorations that differ in all that is data: one compilation."""
    masks = np.random.default_rng(0).random((10, 3, 16, 16)) < 0.8
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        for n in range(10):
            other = jax.tree.map(lambda leaf, n=n: leaf * (1 + n / 100), prior)
            rule = dj.first_of(dj.LossThreshold(n / 1e3), dj.robust(n, 0.1 / (n + 1), 0.5 + n / 25, n + 1))
            method = dj.BIRD(other, dj.Mask(), rule, learning_rate=0.01 * (n + 1), stride=250, max_iterations=2 + n)
            dj.restore(method, photos, {"mask": masks[n]}, seed=n)
        assert compiled(caplog, "advance", "start") == [1, 1]
        for n in range(10):
            rates = {"operator": 0.1 * (n + 1), "log_gain": 0.01 * (n + 1), "offset": 0.02}
            problem = dj.Problem(
                dj.ddim(prior, 250, refresh=1),
                dj.GainOffset(dj.Blur(dj.KnownKernel(3))),
                optimizer=dj.opt(optax.adam, dj.decay(optax.cosine_decay_schedule, 0.01 * (n + 1), 12)),
                operator_optimizer=dj.Groups({name: dj.opt(optax.adam, rate) for name, rate in rates.items()}),
                max_iterations=2,
            )
            kernels = np.random.default_rng(n).random((3, 3, 3)).astype(np.float32)
            dj.restore(problem, photos, {"kernel": kernels / kernels.sum((1, 2), keepdims=True)})
        assert compiled(caplog, "advance", "start") == [2, 2]
        dj.restore(diip(prior, stride=500), photos)
        assert compiled(caplog, "advance", "start") == [3, 3]


def test_the_loop_is_one_program(prior, photos, monkeypatch):
    """All iterations of all images: without a callback one call."""
    calls = []
    original = batch.advance
    monkeypatch.setattr(batch, "advance", lambda *arguments: calls.append(1) or original(*arguments))
    dj.restore(diip(prior), photos)
    assert len(calls) == 1


def test_records_of_a_run(prior, photos):
    solution = dj.restore(diip(prior), photos, save=("loss",))
    iterations = solution.stats["iterations"]
    assert iterations.shape == solution.selected.shape == (3, 1)
    np.testing.assert_array_equal(solution.stats["evaluations"], 4 * iterations)
    assert solution.stats["seconds"] > 0 and {*solution.traces} == {"loss"}
    for reasons, k, selected, losses in zip(
        solution.reasons, iterations, solution.selected, solution.traces["loss"], strict=True
    ):
        assert reasons[0] in {"laplacian_variance", "loss_slope", "budget"}
        assert 0 <= selected[0] < k[0] <= 10
        assert np.isfinite(losses[0, : k[0]]).all() and np.isnan(losses[0, k[0] :]).all()
    assert dj.restore(diip(prior), photos).traces == {}


def test_samples_are_different_and_their_mean_is_returned(prior):
    y = np.asarray(images(2))
    restored = dj.restore(diip(prior), y, samples=3, batch_size=4)
    assert restored.samples.shape == (2, 3, 16, 16, 3)
    np.testing.assert_allclose(restored.images, restored.samples.mean(axis=1), atol=1e-6)
    assert np.abs(restored.samples[:, 0] - restored.samples[:, 1]).max() > 0.01
    one = dj.restore(diip(prior), y)
    np.testing.assert_allclose(one.images, restored.samples[:, 0], atol=2e-4)


def test_psnr_to_a_clean_image_is_saved_and_changes_nothing(prior):
    y = np.asarray(images(2))
    clean = np.asarray(images(2, seed=7))
    watched = dj.restore(diip(prior), y, {"clean": clean}, save=(dj.psnr,))
    np.testing.assert_array_equal(watched.images, dj.restore(diip(prior), y).images)
    for i in range(2):
        at_selected = watched.traces["psnr"][i, 0, watched.selected[i, 0]]
        assert at_selected == pytest.approx(psnr(watched.images[i], clean[i]), abs=1e-3)


def test_a_callback_sees_where_the_run_is(prior, photos):
    seen = []

    def look(view):
        losses = np.isfinite(view.traces()["loss"]).sum(axis=1)
        seen.append((view.jobs, list(view.running), view.iterations.tolist(), view.current().shape, losses.tolist()))

    watched = dj.restore(diip(prior, rule=dj.Never()), photos, batch_size=2, callback=dj.every(4, look), save=("loss",))
    assert [s[2] for s in seen] == [s[4] for s in seen] == [[4, 4], [8, 8], [10, 10], [4], [8], [10]]
    assert {s[0] for s in seen} == {3} and seen[0][1] == [0, 1] and seen[-1][1] == [2]
    assert seen[0][3] == (2, 16, 16, 3)
    np.testing.assert_array_equal(watched.images, dj.restore(diip(prior, rule=dj.Never()), photos).images)
    plain = []
    dj.restore(
        diip(prior, rule=dj.Never(), max_iterations=25), photos, callback=lambda view: plain.append(view.iterations)
    )
    assert [k.tolist() for k in plain] == [[10] * 3, [20] * 3, [25] * 3]


def test_a_callback_may_stop_one_image_or_all(prior, photos):
    shown = {}

    def stop_one(view):
        shown[int(view.iterations.max())] = view.current()
        if view.iterations.max() == 4:
            view.stop([1])

    method = diip(prior, rule=dj.Never())
    one = dj.restore(method, photos, callback=dj.every(2, stop_one))
    assert one.stats["iterations"].tolist() == [[10], [4], [10]]
    assert one.reasons == [["budget"], ["stopped"], ["budget"]] and one.selected.tolist() == [[9], [3], [9]]
    np.testing.assert_array_equal(one.images[1], np.rint((shown[4][1] + 1) * 127.5).astype(np.uint8))
    whole = dj.restore(method, photos)
    np.testing.assert_array_equal(one.images[[0, 2]], whole.images[[0, 2]])
    # It goes on as if it had not been stopped.
    np.testing.assert_array_equal(dj.restore(method, photos, u0=one.state).images, whole.images)
    every_one = dj.restore(method, photos, callback=dj.every(3, lambda view: view.stop()))
    assert every_one.stats["iterations"].tolist() == [[3]] * 3 and every_one.reasons == [["stopped"]] * 3


@pytest.mark.parametrize("rule", [dj.Never(), dj.windowed_moving_variance(4, patience=50)])
def test_50_and_50_iterations_are_100(prior, photos, rule):
    """Bit for bit, optimisers, operator and rule included."""

    def method(iterations):
        return dj.BIRD(prior, dj.Blur(3), rule, stride=500, learning_rate=0.02, max_iterations=iterations)

    half = dj.restore(method(50), photos, samples=2, batch_size=3)
    again = dj.restore(method(100), photos, samples=2, batch_size=3, u0=half.state)
    whole = dj.restore(method(100), photos, samples=2, batch_size=3)
    for ours, theirs in zip(*(jax.tree.leaves(s.state._replace(key=())) for s in (again, whole)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(again.samples, whole.samples)
    np.testing.assert_array_equal(again.operator["kernel"], whole.operator["kernel"])
    np.testing.assert_array_equal(again.stats["evaluations"], whole.stats["evaluations"])


def test_traces_of_a_run_that_goes_on_begin_where_it_does(prior, photos):
    half = dj.restore(diip(prior, max_iterations=2), photos)
    losses = dj.restore(diip(prior, rule=dj.robust(4), max_iterations=5), photos, u0=half.state, save=("loss",)).traces[
        "loss"
    ]
    assert np.isnan(losses[..., :2]).all() and np.isfinite(losses[..., 2:]).all()


def test_first_variables_may_be_given(prior):
    y = np.asarray(images(2))
    z = np.random.default_rng(0).standard_normal(y.shape).astype(np.float32)
    method = diip(prior, max_iterations=1, rule=dj.Never())
    begun = dj.restore(method, y, u0=z)
    on_sphere = z * np.sqrt(z[0].size / (z**2).sum((1, 2, 3), keepdims=True))
    np.testing.assert_allclose(begun.images, dj.reverse(prior, jnp.asarray(on_sphere), 250), atol=1e-4)
    again = dj.restore(method, y, u0=dj.restore(method, y).u)
    assert again.stats["iterations"].tolist() == [[1], [1]]
    two = dj.restore(method, y, samples=2, u0=z)
    np.testing.assert_array_equal(two.samples[:, 0], two.samples[:, 1])


@pytest.mark.parametrize(
    "u0, message",
    [
        (np.zeros((2, 8, 16, 3)), r"u0 has shape \(2, 8, 16, 3\): expected \(2, 16, 16, 3\), one for each image"),
        ({"z": np.zeros((2, 16, 16, 3))}, "as the generator has it"),
    ],
)
def test_first_variables_that_do_not_fit_are_refused(prior, u0, message):
    with pytest.raises(ValueError, match=message):
        dj.restore(diip(prior), np.asarray(images(2)), u0=u0)


def test_a_state_of_another_problem_is_refused(prior):
    y = np.asarray(images(2))
    state = dj.restore(diip(prior, max_iterations=1), y).state
    for method, given in ((diip(prior), y[:1]), (diip(prior, rule=dj.Never()), y), (dj.BIRD(prior, stride=250), y)):
        with pytest.raises(ValueError, match="u0 is a state of 2 restorations, or of another problem"):
            dj.restore(method, given, u0=state)


@pytest.mark.parametrize(
    "y, arguments, message",
    [
        (np.zeros((16, 16, 3), np.uint8), {}, r"images have shape \(16, 16, 3\): expected \[N, H, W, C\]"),
        (np.zeros((0, 16, 16, 3), np.uint8), {}, "with at least one image"),
        (np.zeros((1, 16, 16, 3), np.int32), {}, "images have dtype int32: expected uint8, or float in"),
        (np.full((1, 16, 16, 3), 255.0), {}, "hold values up to 255: expected float in"),
        (np.full((1, 16, 16, 3), np.nan), {}, r"hold nan at \[0, 0, 0, 0\], in all 768 values"),
        (np.zeros((1, 16, 16, 1)), {}, "images have 1 channels: this prior takes 3"),
        (None, {"samples": 0}, "samples=0: expected at least 1"),
        (None, {"batch_size": 0}, "batch_size=0"),
        (
            None,
            {"args": {"clean": np.zeros((2, 16, 16, 3))}},
            r"args\['clean'\] has shape \(2, 16, 16, 3\): expected a",
        ),
        (
            None,
            {"args": {"mask": np.ones((1, 16, 16), bool)}},
            r"args\['mask'\]: neither the operator nor the loss nor",
        ),
        (None, {"save": ("kernel",)}, "save=kernel: expected of loss, laplacian_variance, or functions"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(prior, y, arguments, message):
    y = np.zeros((1, 16, 16, 3), np.float32) if y is None else y
    with pytest.raises(ValueError, match=message) as error:
        dj.restore(diip(prior), y, **arguments)
    assert "\n" not in str(error.value)


def test_a_callback_needs_an_interval():
    with pytest.raises(ValueError, match="iterations=0: expected at least 1"):
        dj.every(0, print)


def test_sizes_are_those_that_the_levels_allow():
    method = diip(tiny_prior(model=UNET), max_iterations=1)
    assert dj.restore(method, jnp.zeros((1, 8, 20, 3))).images.shape == (1, 8, 20, 3)
    with pytest.raises(ValueError, match="images are 15x16: this prior takes sides that are multiples of 2"):
        dj.restore(method, np.zeros((1, 15, 16, 3)))
