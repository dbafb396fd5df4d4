import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import UNET, LinearNoise, images, tiny_prior, unchecked

import diip_jax as dj
from diip_jax.ddim_sampling import reverse
from diip_jax.plugs.generators import DDIM, UntrainedNetwork, ddim, to_sphere
from diip_jax.prior import activation_bytes
from diip_jax.schedule import Sampler, Schedule

SHAPE = (16, 16, 3)


def test_projection_puts_z_on_the_sphere_and_keeps_its_direction():
    z = 3 * jax.random.normal(jax.random.key(0), (8, 12, 3)) + 1
    projected = to_sphere(z)
    assert float(jnp.linalg.norm(projected)) == pytest.approx((8 * 12 * 3) ** 0.5, rel=1e-6)
    np.testing.assert_allclose(projected / projected[0, 0, 0], z / z[0, 0, 0], rtol=1e-4)


def test_it_is_reverse_of_one_image_and_settings_are_passed_on():
    prior = tiny_prior()
    generator = ddim(prior, 500, variant="paper")
    z = generator.init(jax.random.key(1), SHAPE)
    np.testing.assert_allclose(
        generator(z, jax.random.key(2)), reverse(prior, z[None], 500, variant="paper")[0], rtol=1e-5
    )


def test_first_noise_is_standard_normal_and_depends_on_the_key():
    generator = ddim(tiny_prior(model=UNET))
    z = generator.init(jax.random.key(0), (64, 64, 3))
    assert abs(float(z.mean())) < 0.03 and float(z.std()) == pytest.approx(1, abs=0.03)
    assert not np.array_equal(z, generator.init(jax.random.key(1), (64, 64, 3)))
    with pytest.raises(ValueError, match="images are 15x16: this prior takes sides that are multiples of 2"):
        generator.init(jax.random.key(0), (15, 16, 3))


def test_without_projection_z_is_free():
    z = 5 * jnp.ones((4, 4, 3))
    np.testing.assert_array_equal(DDIM(tiny_prior(), project_to_sphere=False).project(z), z)


def test_an_untrained_networks_noise_differs_from_key_to_key_and_its_images_lie_in_the_range():
    generator = UntrainedNetwork(levels=2, channels=8, input_channels=4, input_noise=0.5)
    u = generator.init(jax.random.key(0), (8, 12, 3))
    assert u["noise"].shape == (8, 12, 4) and 0 <= u["noise"].min() and u["noise"].max() <= 0.1
    apply = jax.jit(generator.__call__)
    image, again, other = (apply(u, jax.random.key(seed)) for seed in (1, 1, 2))
    assert image.shape == (8, 12, 3) and np.abs(image).max() < 1 and image.min() < 0 < image.max()
    np.testing.assert_array_equal(image, again)
    assert np.abs(image - other).max() > 0.01


# How the memory of the full gradient is chosen.


@pytest.mark.parametrize("make", [dj.DIIP, dj.BIRD])
def test_auto_is_the_first_that_fits_into_a_quarter_of_the_memory(make):
    prior = tiny_prior()
    kept = 3 * activation_bytes(prior, SHAPE)  # three images at once
    full = make(prior, gradient="full", stride=250).problem().generator  # four steps

    def choice(memory):
        return full.fitted(SHAPE, 3, memory).remat

    assert [choice(4 * 4 * kept), choice(4 * 4 * kept - 1), choice(4 * kept), choice(4 * kept - 1)] == [
        "none",
        "step",
        "step",
        "block",
    ]
    assert choice(None) == "auto"


def test_what_was_asked_for_stays():
    asked = ddim(tiny_prior(), 250, gradient="full", remat="block")
    assert asked.fitted(SHAPE, 1, 10**12) is asked
    detached = ddim(tiny_prior(), 250)
    assert detached.fitted(SHAPE, 1, 10**12) is detached


def test_remat_reaches_the_gradient():
    """More is kept where nothing is computed again: the program with "none" needs more memory than with "step"."""

    def temporary_bytes(remat):
        def energy(z, generator):
            return jnp.sum(generator(z, jax.random.key(1)) ** 2)

        generator = ddim(tiny_prior(), 250, gradient="full", remat=remat)
        program = jax.jit(jax.grad(energy)).lower(jnp.zeros(SHAPE), generator).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert temporary_bytes("none") > 1.5 * temporary_bytes("step")


# Kept noise.


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_kept_noise_that_nothing_clips_is_refused_where_it_is_amplified(prediction):
    """Kept noise makes x0_hat by a division by sqrt(alpha_bar), 5e-5 at the end of a cosine schedule."""
    cosine = Schedule(beta_schedule="cosine")
    prior = dataclasses.replace(tiny_prior(), schedule=cosine, prediction=prediction)
    with pytest.raises(ValueError, match=r"alpha_bar is 2\.4e-09 at t = 999 .* nothing clips it") as error:
        DDIM(prior, 200, "paper", refresh=1)
    assert "\n" not in str(error.value)
    assert DDIM(prior, 200, "code", refresh=1).steps == 5
    assert DDIM(dataclasses.replace(prior, schedule=Schedule()), 200, "paper", refresh=1).steps == 5


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_an_iterate_with_kept_noise_is_ddim_with_the_noise_of_earlier_iterates(variant):
    """Against a plain loop, with a noise predictor that is known: two of five timesteps an iterate, from high t on."""
    prior = LinearNoise(0.3)
    generator = DDIM(prior, 200, variant, refresh=2)
    z = [jax.random.normal(jax.random.key(i), (4, 4, 3)) for i in range(4)]
    alpha_bar = prior.schedule.alpha_bar
    t = np.arange(0, 1000, 200)[::-1] if variant == "code" else np.arange(200, 1001, 200)[::-1] - 1
    a, a_next = alpha_bar[t], np.append(alpha_bar[t][1:], 1.0)

    def run(x, eps, anew):
        x = np.asarray(x, np.float64)
        for i in range(5):
            eps[i] = 0.3 * x if i in anew else eps[i]
            x0_hat, direction = (x - np.sqrt(1 - a[i]) * eps[i]) / np.sqrt(a[i]), eps[i]
            if variant == "code":
                x0_hat = np.clip(x0_hat, -1, 1)
                direction = (x - np.sqrt(a[i]) * x0_hat) / np.sqrt(1 - a[i])
            x = np.sqrt(a_next[i]) * x0_hat + np.sqrt(1 - a_next[i]) * direction
        return x

    cache, eps = generator.init_cache(z[0]), [None] * 5
    run(z[0], eps, range(5))
    np.testing.assert_allclose(cache, eps, rtol=1e-4, atol=1e-5)
    # Where the two go around the end, the timestep of the lower t is predicted first, and the other after it.
    for k, anew in enumerate(([0, 1], [2, 3], [4, 0], [1, 2])):
        expected_eps = list(eps)
        for one in anew:
            run(z[k], expected_eps, [one])
        eps = expected_eps
        image, cache = generator.apply(z[k], cache, jax.random.key(0), jnp.int32(k))
        np.testing.assert_allclose(cache, eps, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(image, run(z[k], list(eps), []), rtol=1e-4, atol=1e-4)


def test_the_gradient_with_kept_noise_is_that_of_the_detached_network():
    prior, z = tiny_prior(), jax.random.normal(jax.random.key(0), SHAPE)
    plain, kept = ddim(prior, 250), ddim(prior, 250, refresh=4)

    def gradient(generator):
        def energy(z):
            return jnp.mean(generator.apply(z, generator.init_cache(z), jax.random.key(1), jnp.int32(0))[0] ** 2)

        return jax.jit(jax.value_and_grad(energy))(z)

    for ours, theirs in zip(gradient(kept), gradient(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler("trailing", clip_sample_range=0.3),
        Sampler(
            "linspace", set_alpha_to_one=False, thresholding=True, dynamic_thresholding_ratio=0.8, sample_max_value=9.0
        ),
    ],
)
def test_kept_noise_goes_the_way_that_the_checkpoint_is_sampled(sampler):
    prior = dataclasses.replace(tiny_prior(), prediction="v_prediction", sampler=sampler)
    z = jax.random.normal(jax.random.key(0), SHAPE)
    plain, kept = ddim(prior, 250), ddim(prior, 250, refresh=4)

    def gradient(generator):
        def energy(z):
            return jnp.mean(generator.apply(z, generator.init_cache(z), jax.random.key(1), jnp.int32(0))[0] ** 2)

        return jax.jit(jax.value_and_grad(energy))(z)

    for ours, theirs in zip(gradient(kept), gradient(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)


def test_refresh_of_all_is_the_plain_loop_and_the_network_is_counted():
    prior, y = tiny_prior(), np.asarray(images(2))
    settings = {"max_iterations": 6, "optimizer": dj.opt(optax.adam, 0.02)}
    plain, all_of_them, four, one = (
        dj.restore(dj.Problem(generator, **settings), y, save=("loss",))
        for generator in (
            ddim(prior, 250),
            ddim(prior, 250, refresh="all"),
            ddim(prior, 250, refresh=4),
            ddim(prior, 250, refresh=1),
        )
    )
    np.testing.assert_array_equal(plain.images, all_of_them.images)
    np.testing.assert_allclose(plain.images, four.images, atol=1e-4)
    assert [s.stats["evaluations"].tolist() for s in (plain, all_of_them, four, one)] == [
        [[24], [24]],
        [[24], [24]],
        [[28], [28]],
        [[10], [10]],
    ]
    # The first iterate is the same, the others are near; the loss falls all the same.
    np.testing.assert_allclose(one.traces["loss"][..., 0], plain.traces["loss"][..., 0], rtol=1e-5)
    assert (one.traces["loss"][..., -1] < one.traces["loss"][..., 0]).all()


@pytest.mark.parametrize("refresh", [1, 3])
def test_kept_noise_depends_neither_on_the_batch_nor_on_pieces(refresh):
    prior, y = tiny_prior(), np.asarray(images(3))
    problem = dj.Problem(ddim(prior, 250, refresh=refresh), max_iterations=5)
    whole, alone = dj.restore(problem, y), dj.restore(problem, y[[1, 0]])
    np.testing.assert_array_equal(whole.images[[1, 0]], alone.images)
    half = dj.restore(dataclasses.replace(problem, max_iterations=2), y)
    np.testing.assert_array_equal(whole.images, dj.restore(problem, y, u0=half.state).images)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"refresh": 0}, "refresh=0: expected 'all', or 1 to 4 of the visited timesteps"),
        ({"refresh": 5}, "refresh=5: expected 'all', or 1 to 4 of the visited timesteps"),
        ({"refresh": 1, "gradient": "full"}, "refresh=1: a kept eps has no gradient"),
        ({"remat": "all"}, "remat='all': expected one of none, step, block"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    defaults = {field.name: field.default for field in dataclasses.fields(DDIM)} | {"prior": tiny_prior()}
    with pytest.raises(ValueError, match=message):
        unchecked(DDIM, **(defaults | {"stride": 250} | settings))
