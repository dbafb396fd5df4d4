import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import tiny_prior

from diip_jax import generators
from diip_jax.ddim import reverse


def test_projection_puts_z_on_the_sphere_and_keeps_its_direction():
    z = 3 * jax.random.normal(jax.random.key(0), (8, 12, 3)) + 1
    projected = generators.to_sphere(z)
    assert float(jnp.linalg.norm(projected)) == pytest.approx((8 * 12 * 3) ** 0.5, rel=1e-6)
    np.testing.assert_allclose(projected / projected[0, 0, 0], z / z[0, 0, 0], rtol=1e-4)


def test_apply_is_reverse_of_one_image_and_settings_are_passed_on():
    prior = tiny_prior()
    generator = generators.ddim(prior, (16, 16, 3), stride=500, variant="paper")
    z = generator.init(jax.random.key(1))
    np.testing.assert_allclose(
        generator.apply(z, jax.random.key(2)), reverse(prior, z[None], 500, variant="paper")[0], rtol=1e-5
    )


def test_first_noise_is_standard_normal_and_depends_on_the_key():
    generator = generators.ddim(tiny_prior(), (64, 64, 3))
    z = generator.init(jax.random.key(0))
    assert abs(float(z.mean())) < 0.03 and float(z.std()) == pytest.approx(1, abs=0.03)
    assert not np.array_equal(z, generator.init(jax.random.key(1)))


def test_without_projection_z_is_free():
    z = 5 * jnp.ones((4, 4, 3))
    np.testing.assert_array_equal(generators.ddim(tiny_prior(), (4, 4, 3), project=False).project(z), z)


def test_a_skip_networks_noise_differs_from_key_to_key_and_its_images_lie_in_the_range():
    generator = generators.skip_network((8, 12, 3), levels=2, channels=8, input_channels=4, input_noise=0.5)
    u = jax.jit(generator.init)(jax.random.key(0))
    assert u["noise"].shape == (8, 12, 4) and 0 <= u["noise"].min() and u["noise"].max() <= 0.1
    apply = jax.jit(generator.apply)
    image, again, other = (apply(u, jax.random.key(seed)) for seed in (1, 1, 2))
    assert image.shape == (8, 12, 3) and np.abs(image).max() < 1 and image.min() < 0 < image.max()
    np.testing.assert_array_equal(image, again)
    assert np.abs(image - other).max() > 0.01
