"""What the machine can do: the FLOP/s of a large matrix product and of a large convolution, on the devices in use."""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diip_jax import distribute


class Ceiling(NamedTuple):
    """FLOP/s over all devices, medians."""

    matrix_product: float
    convolution: float


def measure_ceiling(devices: int, dtype: str = "float32", repeats: int = 10) -> Ceiling:
    """A 2048x2048 matrix product and a 3x3 convolution of 64x64 pixels and 256 channels, one on every device at once.

    Args:
        devices: how many of this process's devices take part.
        dtype: of the operands.
    """
    mesh = distribute.device_mesh(devices)
    side, pixels, channels = 2048, 64, 256
    matrix = jnp.ones((mesh.size, side, side), dtype)
    images = jnp.ones((mesh.size, pixels, pixels, channels), dtype)
    kernel = jnp.ones((3, 3, channels, channels), dtype)

    def convolve(kernel: Any, images: Any) -> Any:
        return jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def speed(function: Any, whole: Any, part: Any, flops: float) -> float:
        program = jax.jit(distribute.on_each_device(function, mesh))
        whole, part = distribute.replicate(whole, mesh), distribute.split(part, mesh)
        jax.block_until_ready(program(whole, part))
        seconds = []
        for _ in range(repeats):
            began = time.monotonic()
            jax.block_until_ready(program(whole, part))
            seconds.append(time.monotonic() - began)
        return mesh.size * flops / float(np.median(seconds))

    return Ceiling(
        matrix_product=speed(lambda _, part: part @ part, (), matrix, 2.0 * side**3),
        convolution=speed(convolve, kernel, images, 2.0 * 9 * pixels**2 * channels**2),
    )
