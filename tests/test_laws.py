"""Laws that hold whatever the numbers: hypothesis looks for an example that breaks one, the same ones every time."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import diip_jax as dj
from diip_jax.image_reading import LoadedImage
from diip_jax.images import fit_to_size, unfit
from diip_jax.plugs.rules import Candidate

settings.register_profile("laws", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("laws")

FEW = settings(max_examples=8)
SHAPE = (12, 8, 3)


def pixels(*shape):
    """Float32 arrays in [-1, 1]."""
    return arrays(np.float32, shape, elements=st.floats(-1, 1, width=32))


KNOWN = {"kernel": np.arange(1.0, 10).reshape(3, 3) / 45, "mask": np.arange(96).reshape(12, 8) % 3 > 0}
LINEAR = {
    "identity": dj.Identity(),
    "mask": dj.Mask(),
    "down-sampling": dj.Downsample(dj.Identity(), 4),
    **{f"blur, {boundary}": dj.Blur(dj.KnownKernel(3), boundary) for boundary in ("zero", "reflect", "valid")},
    "down-sampling of a blur": dj.Downsample(dj.Blur(dj.KnownKernel(3)), 2),
}


@jax.jit
def there_and_back(operator, x, weight, known):
    """(H x, H^T weight), the second by the derivative that the loop uses, taken at another place."""
    y, pull = jax.vjp(lambda image: operator((), image, known), jnp.ones(SHAPE) - x)
    del y
    return operator((), x, known), pull(weight)[0]


@pytest.mark.parametrize("operator", LINEAR.values(), ids=LINEAR)
@FEW
@given(data=st.data())
def test_an_operators_derivative_is_its_adjoint(operator, data):
    """<H x, w> = <x, H^T w>, for operators that are linear in the image."""
    x = data.draw(pixels(*SHAPE))
    w = data.draw(pixels(*operator.y_shape(SHAPE)))
    y, back = there_and_back(operator, x, w, KNOWN)
    assert y.shape == w.shape
    np.testing.assert_allclose(np.vdot(np.float64(y), w), np.vdot(x, np.float64(back)), atol=2e-4)


sides = st.integers(1, 70)


@settings(max_examples=100)
@given(sides, sides, st.integers(1, 40), st.integers(1, 40), st.sampled_from(["fit", "crop"]))
def test_any_picture_fits_any_prior_and_comes_back(height, width, to_height, to_width, policy):
    rgb = np.linspace(-1, 1, height * width * 3, dtype=np.float32).reshape(height, width, 3)
    fitted = fit_to_size(LoadedImage(Path("x.png"), rgb, None, "RGB"), to_height, to_width, policy)
    assert fitted.rgb.shape == (to_height, to_width, 3) and np.abs(fitted.rgb).max() <= 1
    top, left, inner_height, inner_width = fitted.content
    assert 0 <= top <= to_height - inner_height and 0 <= left <= to_width - inner_width
    assert (inner_height, inner_width) == (to_height, to_width) or policy == "fit"
    back = unfit(fitted.rgb, fitted)
    assert back.shape == (inner_height, inner_width, 3)
    if policy == "fit":
        # The picture touches two sides, and keeps its aspect to a pixel.
        assert inner_height == to_height or inner_width == to_width
        scale = min(to_height / height, to_width / width)
        assert abs(inner_height - height * scale) <= 1 and abs(inner_width - width * scale) <= 1
    if (height, width) == (to_height, to_width):
        np.testing.assert_array_equal(back, rgb)


LENGTH = 10
RULES = {
    "printed": dj.printed(2),
    "robust": dj.robust(k_min=2, patience=2),
    "laplacian_variance": dj.laplacian_variance_peak(2),
    "loss_slope": dj.LossSlope(1e-3),
    "loss_threshold": dj.LossThreshold(0.1),
    "wmv": dj.windowed_moving_variance(3, patience=2),
    "emv": dj.exponential_moving_variance(k_min=2, patience=2),
    "discrepancy": dj.Discrepancy(),
    "averaged": dj.Averaged(dj.robust(k_min=2, patience=2), 0.9),
    "combined": dj.combined(k_min=2, patience=2),
    "first_of": dj.first_of(dj.LossThreshold(0.1), dj.sharpness_peak(patience=2)),
    "never": dj.Never(),
}


@jax.jit
def judged(rule, loss, sharpness, images, y):
    """The verdicts on a whole curve."""

    def step(state, seen):
        return rule.judge(state, seen)

    nothing = Candidate(jnp.int32(-1), jnp.zeros_like(y))
    seen = dj.Observation(jnp.arange(LENGTH), loss, sharpness, images)
    return jax.lax.scan(step, rule.start(nothing, y), seen)[1]


finite = st.floats(0, 2.0**20, width=32)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=25)
@given(
    arrays(np.float32, LENGTH, elements=finite),
    arrays(np.float32, LENGTH, elements=finite),
    arrays(np.float32, (LENGTH, 1, 1, 1), elements=st.floats(-1, 1, width=32)),
)
def test_a_rule_takes_any_finite_curve_and_returns_an_iterate_that_it_has_seen(name, loss, sharpness, levels):
    rule, ks = RULES[name], np.arange(LENGTH)
    texture = 0.1 * (np.indices((4, 4)).sum(0) % 2)[..., None]
    images = (levels * np.ones((4, 4, 3)) + texture).astype(np.float32)
    verdict = judged(rule, loss, sharpness, images, images[0])
    k, found = np.asarray(verdict.chosen.k), np.asarray(verdict.chosen.image)
    assert (0 <= k).all() and (k <= ks).all() and np.isfinite(found).all()
    assert ((0 <= verdict.reason) & (verdict.reason < len(rule.names))).all()
    if name != "averaged":
        np.testing.assert_array_equal(found, images[k])
    # What comes later changes nothing.
    cut = np.where(ks < LENGTH // 2, loss, 7.0).astype(np.float32)
    early = judged(rule, cut, sharpness, images, images[0])
    np.testing.assert_array_equal(verdict.stop[: LENGTH // 2], early.stop[: LENGTH // 2])
    np.testing.assert_array_equal(k[: LENGTH // 2], early.chosen.k[: LENGTH // 2])


@dj.plug()
class Pixels(dj.Generator):
    """The image itself."""

    def init(self, key, image_shape):
        return 0.1 * jax.random.normal(key, image_shape)

    def __call__(self, u, key):
        return jnp.tanh(u)


PROBLEM = dj.Problem(Pixels(), rule=dj.LossThreshold(0.05), max_iterations=60)
NOISY = np.tanh(np.random.default_rng(0).normal(size=(5, 6, 4, 3))).astype(np.float32)


@FEW
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(1, 3))
def test_an_images_result_depends_neither_on_its_company_nor_on_the_batch(chosen, batch_size):
    whole = dj.restore(PROBLEM, NOISY)
    part = dj.restore(PROBLEM, NOISY[chosen], batch_size=batch_size)
    np.testing.assert_array_equal(part.images, whole.images[chosen])
    np.testing.assert_array_equal(part.selected, whole.selected[chosen])
    assert part.reasons == [whole.reasons[i] for i in chosen]
