import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diip_jax import operators
from diip_jax.operators import Known
from diip_jax.operators.kernels import to_centre


@pytest.mark.parametrize("model", [operators.kernel_network, operators.kernel_logits])
def test_a_kernel_is_not_negative_and_sums_to_1(model):
    kernel = model(5)
    draw = jax.jit(lambda key: kernel.apply(kernel.init(key), Known()))
    for seed in range(3):
        k = draw(jax.random.key(seed))
        assert k.shape == (5, 5) and (k > 0).all()
        np.testing.assert_allclose(k.sum(), 1, rtol=1e-6)


def test_the_network_reads_small_positive_noise():
    noise = jax.jit(operators.kernel_network(3).init)(jax.random.key(0))["noise"]
    assert noise.shape == (200,) and noise.min() >= 0 and 0.09 < noise.max() <= 0.1


def test_the_networks_input_is_never_learned():
    kernel = operators.kernel_network(3)
    eta = jax.jit(kernel.init)(jax.random.key(0))
    gradient = jax.jit(jax.grad(lambda eta: kernel.apply(eta, Known())[0, 0]))(eta)
    np.testing.assert_array_equal(gradient["noise"], 0)
    assert np.abs(gradient["weights"]["Dense_0"]["kernel"]).max() > 0


def test_logits_start_as_a_gaussian():
    """Away from the rim, where there is less to smooth over."""
    k = operators.kernel_logits(27).apply(operators.kernel_logits(27).init(jax.random.key(0)), Known())
    offsets = np.arange(-4, 5)
    np.testing.assert_allclose(k[13], k[:, 13], rtol=1e-6)
    np.testing.assert_allclose(k[13, 9:18] / k[13, 13], np.exp(-(offsets**2) / (2 * 4.5**2)), rtol=1e-5)


def test_neighbouring_logits_go_together_and_distant_ones_do_not():
    """By a Gaussian of standard deviation 1."""
    k = np.asarray(operators.kernel_logits(15).apply(jnp.zeros((15, 15)).at[7, 7].set(0.1), Known()))
    logits = np.log(k / k[0, 0])
    offsets = np.arange(-4, 5)
    np.testing.assert_allclose(logits[7, 3:12] / logits[7, 7], np.exp(-(offsets**2) / 2), atol=1e-5)


def test_known_kernel_is_the_given_one():
    kernel = operators.known_kernel(3)
    given = jnp.arange(9.0).reshape(3, 3) / 36
    assert kernel.needs == ("kernel",) and jax.tree.leaves(kernel.init(jax.random.key(0))) == []
    np.testing.assert_array_equal(kernel.apply((), Known(kernel=given)), given)
    with pytest.raises(ValueError, match=r"kernel_size=5: the kernel that was given is \(3, 3\)"):
        operators.known_kernel(5).apply((), Known(kernel=given))


def centre_of_mass(k):
    offsets = np.arange(len(k)) - len(k) // 2
    return np.array([k.sum(axis=1) @ offsets, k.sum(axis=0) @ offsets])


def test_a_centred_kernel_has_its_centre_of_mass_at_the_centre():
    row, column = jnp.mgrid[-9:10, -9:10]
    eta = -((row + 1.4) ** 2 + (column - 0.8) ** 2) / (2 * 1.5**2) / 32
    plain, centred = operators.kernel_logits(19), operators.centred(operators.kernel_logits(19))
    np.testing.assert_allclose(centre_of_mass(np.asarray(plain.apply(eta, Known()))), [-1.4, 0.8], atol=0.01)
    k = np.asarray(centred.apply(eta, Known()))
    np.testing.assert_allclose(k.sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(centre_of_mass(k), 0, atol=0.01)


def test_a_kernel_is_moved_by_whole_pixels_as_it_is():
    k = np.zeros((1, 7, 7), np.float32)
    k[0, 2:5, 2:5] = [[0.05, 0.1, 0.05], [0.1, 0.4, 0.1], [0.05, 0.1, 0.05]]
    np.testing.assert_allclose(to_centre(jnp.asarray(k)), k, atol=1e-6)
    np.testing.assert_allclose(to_centre(jnp.roll(k, (1, -2), (1, 2))), k, atol=1e-6)


def test_faint_values_do_not_pull_the_centre():
    k = np.full((1, 9, 9), 0.02, np.float32)
    k[0, 3:6, 3:6] = 1
    k[0, 8] = 0.09
    np.testing.assert_allclose(to_centre(jnp.asarray(k)), k / k.sum(), atol=1e-6)


def test_kernels_are_moved_together():
    k = np.zeros((2, 7, 7), np.float32)
    k[0, 3, 1] = k[1, 3, 3] = 1
    expected = np.zeros_like(k)
    expected[0, 3, 2] = expected[1, 3, 4] = 1
    np.testing.assert_allclose(to_centre(jnp.asarray(k)), expected, atol=1e-6)


@pytest.mark.parametrize("model", [operators.kernel_network, operators.kernel_logits, operators.known_kernel])
@pytest.mark.parametrize("size", [0, 4, -3])
def test_even_sizes_are_refused(model, size):
    with pytest.raises(ValueError, match=f"kernel_size={size}: expected an odd number, 1 or more"):
        model(size)
