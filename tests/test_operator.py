import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import images

from diip_jax.plugs import operators


def test_identity_has_no_parameters_and_returns_the_image():
    operator = operators.Identity()
    x = images(1)[0]
    eta = operator.init(jax.random.key(0), x.shape)
    assert jax.tree.leaves(eta) == []
    np.testing.assert_array_equal(operator(eta, x, None), x)


def test_mask_shows_what_is_known_and_nothing_else():
    operator, x = operators.Mask(), images(1)[0]
    hidden = jnp.zeros(x.shape[:2], bool).at[3:7, 2:9].set(True)
    y = operator((), x, {"mask": ~hidden})
    np.testing.assert_array_equal(y[~hidden], x[~hidden])
    np.testing.assert_array_equal(y[hidden], 0)


class Cropped(operators.PictureOperator):
    """Means of blocks of what lies inside a margin."""

    def __init__(self, scale=1, margin=0):
        self._scale, self._margin = scale, margin

    scale = property(lambda self: self._scale)
    margin = property(lambda self: self._margin)


@pytest.mark.parametrize("scale, margin", [(1, 0), (4, 0), (1, 7), (2, 5)])
def test_shapes_there_and_back(scale, margin):
    operator = Cropped(scale, margin)
    y_shape = operator.y_shape((64, 32, 3))
    assert y_shape == ((64 - 2 * margin) // scale, (32 - 2 * margin) // scale, 3)
    assert operator.image_shape(y_shape) == (64, 32, 3)


@pytest.mark.parametrize(
    "operator, message",
    [
        (Cropped(scale=3), "scale=3: expected a divisor of 64 and 32, the image's sides"),
        (Cropped(margin=16), "boundary='valid' takes 16 px off all sides of 64x32, which leaves no block of 1x1"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(operator, message):
    with pytest.raises(ValueError, match=message):
        operator.y_shape((64, 32, 3))


def test_a_mask_tells_what_is_visible():
    x = images(1)[0]
    hidden = jnp.zeros(x.shape[:2], bool).at[3:7, 2:9].set(True)
    seen = operators.Mask().visible(x, {"mask": ~hidden})
    np.testing.assert_array_equal(np.isnan(seen).all(-1), hidden)
    np.testing.assert_array_equal(seen[~hidden], x[~hidden])
    assert operators.Identity().visible(x, None) is x


@pytest.mark.parametrize(
    "args, message",
    [
        (None, "args has no 'mask': give restore"),
        ({"kernel": 1}, "args has no 'mask': give restore"),
        (
            {"mask": np.ones((2, 5, 4), bool)},
            r"mask: shape \(2, 5, 4\), expected \(2, 4, 5\), one of its size for each image",
        ),
        ({"mask": np.ones((2, 4, 5))}, "mask: float64, expected bool, true at one pixel of each image at least"),
        ({"mask": np.zeros((2, 4, 5), bool)}, "true at one pixel of each image at least"),
    ],
)
def test_masks_that_do_not_fit_are_refused(args, message):
    with pytest.raises(ValueError, match=message):
        operators.Mask().check(np.zeros((2, 4, 5, 3), np.float32), args)


@pytest.mark.parametrize(
    "y, message",
    [
        (np.zeros((4, 5, 3)), r"images have shape \(4, 5, 3\): expected \[N, H, W, C\]"),
        (np.full((1, 4, 5, 3), 255.0), r"images hold values up to 255: expected float in \[-1, 1\]"),
        (np.full((1, 4, 5, 3), np.nan), "images hold values up to nan"),
    ],
)
def test_what_is_no_picture_is_refused(y, message):
    with pytest.raises(ValueError, match=message):
        operators.Identity().check(y, None)


@pytest.mark.parametrize("seed", range(8))
def test_the_grey_of_an_image_is_never_farther_from_a_grey_picture(seed):
    """The law that a grey result costs no PSNR, whatever the image, out of range or not."""
    rng = np.random.default_rng(seed)
    clean = rng.uniform(-1, 1, (9, 7, 1)).astype(np.float32)
    x = (clean + rng.normal(0, rng.choice([0.05, 1.0]), (9, 7, 3))).astype(np.float32)
    y = np.broadcast_to(rng.normal(0, 1, (9, 7, 1)).astype(np.float32), (9, 7, 3))
    grey = np.asarray(operators.Identity().in_colours_of(jnp.asarray(y), jnp.asarray(x)))
    assert (grey == grey[..., :1]).all() and np.abs(grey).max() <= 1
    assert ((grey - clean) ** 2).mean() <= ((x.clip(-1, 1) - clean) ** 2).mean() <= ((x - clean) ** 2).mean()


def test_of_a_picture_with_colour_or_of_other_channels_nothing_is_taken():
    x = images(1)[0]
    y = np.full(x.shape, 0.5, np.float32)
    y[3, 4, 1] = np.nextafter(np.float32(0.5), np.float32(1))  # a single value, by its last bit
    y = jnp.asarray(y)
    assert (operators.Identity().in_colours_of(y, x) == x).all()
    assert operators.Identity().in_colours_of(y[..., :1], x[..., :1]).shape == (16, 16, 1)
    assert (operators.Identity().in_colours_of(y[..., :1], x) == x).all()


class Greyscale(operators.PictureOperator):
    """A camera without colour, whose image may have some."""

    def in_colours_of(self, y, x):
        return x


def test_an_operator_that_takes_colour_away_says_so_through_others():
    x, y = images(1)[0], jnp.zeros((16, 16, 3))
    for operator in (Greyscale(), operators.Downsample(Greyscale(), 2), operators.GainOffset(Greyscale())):
        assert (operator.in_colours_of(y, x) == x).all()
    grey = operators.GainOffset(operators.Blur(3)).in_colours_of(y, x)
    np.testing.assert_allclose(grey, np.repeat(np.mean(x, -1, keepdims=True), 3, -1), atol=1e-6)
