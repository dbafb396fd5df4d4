import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diip_jax.plugs import operators
from diip_jax.plugs.operators.kernels import to_centre


@pytest.mark.parametrize("model", [operators.KernelNetwork, operators.KernelLogits])
def test_a_kernel_is_not_negative_and_sums_to_1(model):
    kernel = model(5)
    draw = jax.jit(lambda key: kernel(kernel.init(key), None))
    for seed in range(3):
        k = draw(jax.random.key(seed))
        assert k.shape == (5, 5) and (k > 0).all()
        np.testing.assert_allclose(k.sum(), 1, rtol=1e-6)


def test_the_network_reads_small_positive_noise():
    noise = jax.jit(operators.KernelNetwork(3).init)(jax.random.key(0))["noise"]
    assert noise.shape == (200,) and noise.min() >= 0 and 0.09 < noise.max() <= 0.1


def test_the_networks_input_is_never_learned():
    kernel = operators.KernelNetwork(3)
    eta = jax.jit(kernel.init)(jax.random.key(0))
    gradient = jax.jit(jax.grad(lambda eta: kernel(eta, None)[0, 0]))(eta)
    np.testing.assert_array_equal(gradient["noise"], 0)
    assert np.abs(gradient["weights"]["Dense_0"]["kernel"]).max() > 0


def test_logits_start_as_a_gaussian():
    """Away from the rim, where there is less to smooth over."""
    k = operators.KernelLogits(27)(operators.KernelLogits(27).init(jax.random.key(0)), None)
    offsets = np.arange(-4, 5)
    np.testing.assert_allclose(k[13], k[:, 13], rtol=1e-6)
    np.testing.assert_allclose(k[13, 9:18] / k[13, 13], np.exp(-(offsets**2) / (2 * 4.5**2)), rtol=1e-5)


def test_neighbouring_logits_go_together_and_distant_ones_do_not():
    """By a Gaussian of standard deviation 1."""
    k = np.asarray(operators.KernelLogits(15)(jnp.zeros((15, 15)).at[7, 7].set(0.1), None))
    logits = np.log(k / k[0, 0])
    offsets = np.arange(-4, 5)
    np.testing.assert_allclose(logits[7, 3:12] / logits[7, 7], np.exp(-(offsets**2) / 2), atol=1e-5)


def test_known_kernel_is_the_given_one():
    kernel = operators.KnownKernel(3)
    given = jnp.arange(9.0).reshape(3, 3) / 36
    assert not kernel.unknown and jax.tree.leaves(kernel.init(jax.random.key(0))) == []
    np.testing.assert_array_equal(kernel((), {"kernel": given}), given)
    with pytest.raises(ValueError, match=r"kernel_size=5: the kernel that was given is \(3, 3\)"):
        operators.KnownKernel(5)((), {"kernel": given})


def centre_of_mass(k):
    offsets = np.arange(len(k)) - len(k) // 2
    return np.array([k.sum(axis=1) @ offsets, k.sum(axis=0) @ offsets])


def test_a_centred_kernel_has_its_centre_of_mass_at_the_centre():
    row, column = jnp.mgrid[-9:10, -9:10]
    eta = -((row + 1.4) ** 2 + (column - 0.8) ** 2) / (2 * 1.5**2) / 32
    plain, centred = operators.KernelLogits(19), operators.Centred(operators.KernelLogits(19))
    np.testing.assert_allclose(centre_of_mass(np.asarray(plain(eta, None))), [-1.4, 0.8], atol=0.01)
    k = np.asarray(centred(eta, None))
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


@pytest.mark.parametrize("model", [operators.KernelNetwork, operators.KernelLogits, operators.KnownKernel])
@pytest.mark.parametrize("size", [0, 4, -3])
def test_even_sizes_are_refused(model, size):
    with pytest.raises(ValueError, match=f"kernel_size={size}: expected an odd number, 1 or more"):
        model(size)


@pytest.mark.parametrize(
    "args, message",
    [
        ({"mask": 1}, "args has no 'kernel'"),
        ({"kernel": np.full((3, 3), 1 / 9)}, r"kernel: shape \(3, 3\), expected \(2, 3, 3\), one for each image"),
        ({"kernel": np.full((2, 5, 5), 1 / 25)}, r"kernel: shape \(2, 5, 5\), expected \(2, 3, 3\)"),
        ({"kernel": np.full((2, 3, 3), 2 / 9)}, "kernel: sums up to 2, expected 1; divide each by its sum"),
    ],
)
@pytest.mark.parametrize("model", [operators.KnownKernel(3), operators.Centred(operators.KnownKernel(3))])
def test_known_kernels_that_do_not_fit_are_refused(model, args, message):
    with pytest.raises(ValueError, match=message):
        model.check(2, args)
