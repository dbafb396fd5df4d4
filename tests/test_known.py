import numpy as np
import pytest

from diip_jax.operators import Known, check_known

SHAPE = (2, 4, 5)
KERNELS = np.full((2, 3, 3), 1 / 9)


def test_what_is_needed_is_handed_on():
    masks = np.ones(SHAPE, bool)
    assert check_known((), SHAPE, None, None) == Known()
    assert check_known(("mask",), SHAPE, masks, None).mask is masks
    kernel = check_known(("kernel",), SHAPE, None, KERNELS).kernel
    assert kernel.dtype == np.float32
    np.testing.assert_allclose(kernel, KERNELS, rtol=1e-6)


@pytest.mark.parametrize(
    "needs, masks, kernels, message",
    [
        (("mask",), None, None, "the method needs masks: see `degradation`"),
        ((), np.ones(SHAPE, bool), None, "the method takes no masks: see"),
        (("kernel",), None, None, "the method needs kernels: see"),
        (
            ("mask",),
            np.ones((2, 5, 4), bool),
            None,
            r"masks have shape \(2, 5, 4\): expected \(2, 4, 5\), one of its size",
        ),
        (("mask",), np.ones(SHAPE), None, "masks are float64: expected bool, true at one pixel of each image at least"),
        (("mask",), np.zeros(SHAPE, bool), None, "true at one pixel of each image at least"),
        (("kernel",), None, KERNELS[0], r"kernels have shape \(3, 3\): expected \(2, K, K\), one for each image"),
        (("kernel",), None, KERNELS[:1], r"kernels have shape \(1, 3, 3\)"),
        (("kernel",), None, 2 * KERNELS, "kernels have sums up to 2: expected 1; divide each by its sum"),
    ],
)
def test_what_does_not_fit_is_refused(needs, masks, kernels, message):
    with pytest.raises(ValueError, match=message):
        check_known(needs, SHAPE, masks, kernels)
