"""The convolution by F(4, 3) against torch, in float64 and float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from diip_jax.models import winograd


def arrays(height, width, c, f, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, height, width, c)).astype(dtype)
    return x, (rng.standard_normal((3, 3, c, f)) / np.sqrt(9 * c)).astype(dtype)


def by_torch(x, kernel):
    weight = torch.from_numpy(kernel.astype(np.float64).transpose(3, 2, 0, 1).copy())
    return F.conv2d(torch.from_numpy(x.astype(np.float64).transpose(0, 3, 1, 2).copy()), weight, padding=1).numpy()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 2e-6)])
@pytest.mark.parametrize("size", [(4, 5), (16, 16), (20, 3)])
def test_equals_the_direct_convolution(size, dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        x, kernel = arrays(*size, 5, 7, dtype)
        given = np.asarray(winograd.convolution(jnp.asarray(x), jnp.asarray(kernel))).transpose(0, 3, 1, 2)
    expected = by_torch(x, kernel)
    error = np.linalg.norm(given - expected) / np.linalg.norm(expected)
    print(f"relative error in {dtype}: {error:.1e}")
    assert given.dtype == dtype
    assert error < tolerance


@pytest.mark.parametrize(
    ("height", "channels", "dtype", "expected"),
    [
        (16, 32, "float32", True),
        (64, 32, "float32", True),
        (18, 32, "float32", False),  # no multiple of 4
        (8, 32, "float32", False),
        (16, 16, "float32", False),
        (16, 32, "bfloat16", False),
    ],
)
def test_suits(height, channels, dtype, expected):
    x, kernel = jnp.zeros((1, height, 16, channels), dtype), jnp.zeros((3, 3, channels, 32), dtype)
    assert winograd.suits(x, kernel) == expected
    assert not winograd.suits(x, jnp.zeros((1, 1, channels, 32), dtype))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 2e-6)])
@pytest.mark.parametrize("channels", [(5, 7), (7, 5)])
@pytest.mark.parametrize("size", [(4, 5), (16, 16), (20, 3)])
def test_kernel_gradient(size, channels, dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        x, kernel = arrays(*size, *channels, dtype)
        g = np.random.default_rng(1).standard_normal((2, *size, channels[1])).astype(dtype)
        given = np.asarray(winograd.kernel_gradient(jnp.asarray(x), jnp.asarray(g)))
    weight = torch.zeros(channels[1], channels[0], 3, 3, dtype=torch.float64, requires_grad=True)
    images = (torch.from_numpy(a.astype(np.float64).transpose(0, 3, 1, 2).copy()) for a in (x, g))
    image, cotangent = images
    F.conv2d(image, weight, padding=1).backward(cotangent)
    expected = weight.grad.permute(2, 3, 1, 0).numpy()
    error = np.linalg.norm(given - expected) / np.linalg.norm(expected)
    print(f"relative error in {dtype}: {error:.1e}")
    assert given.dtype == dtype and given.shape == kernel.shape
    assert error < tolerance


@pytest.mark.parametrize(
    ("height", "dtype", "expected"),
    [
        (8, "float32", True),
        (64, "float32", True),
        (18, "float32", False),
        (4, "float32", False),
        (16, "bfloat16", False),
    ],
)
def test_suits_gradient(height, dtype, expected):
    x = jnp.zeros((1, height, 5, 3), dtype)
    assert winograd.suits_gradient(x, jnp.zeros((3, 3, 3, 8), dtype)) == expected
    assert not winograd.suits_gradient(x, jnp.zeros((2, 2, 3, 8), dtype))
