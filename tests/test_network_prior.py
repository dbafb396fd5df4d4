import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import UNET, images, tiny_prior

from diip_jax.checkpoint_files import params_sha256
from diip_jax.models import DDPMUNetConfig
from diip_jax.priors.network_prior import identity_of, param_shapes
from diip_jax.schedule import Sampler, Schedule


def test_the_published_256_configuration_has_113673219_parameters():
    model = DDPMUNetConfig(256, (128, 128, 256, 256, 512, 512), (False, False, False, False, True, False))
    assert sum(leaf.size for leaf in jax.tree.leaves(param_shapes(model))) == 113_673_219


def test_bfloat16_compute_is_close_and_keeps_float32_parameters():
    prior = tiny_prior()
    x, t = images(2), jnp.array([10, 800])
    half = prior.with_dtype("bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(half.params)} == {jnp.dtype("float32")}
    a, b = np.asarray(prior.eps(x, t)), np.asarray(half.eps(x, t))
    assert b.dtype == np.float32
    assert 1e-6 < np.linalg.norm(a - b) / np.linalg.norm(a) < 0.03


def test_sizes_that_the_levels_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="images are 16x15: this prior takes sides that are multiples of 2"):
        tiny_prior(model=UNET).eps(jnp.zeros((1, 16, 15, 3)), jnp.zeros(1))
    assert tiny_prior(model=UNET).eps(jnp.zeros((1, 6, 10, 3)), jnp.zeros(1)).shape == (1, 6, 10, 3)


def test_the_same_parameters_read_otherwise_are_another_prior():
    usual = tiny_prior()
    others = [
        dataclasses.replace(usual, prediction="v_prediction"),
        dataclasses.replace(usual, schedule=Schedule(beta_schedule="cosine")),
        dataclasses.replace(usual, sampler=Sampler(clip_sample=False)),
        tiny_prior(seed=1),
    ]
    assert identity_of(usual) == params_sha256(usual.params)
    assert len({identity_of(prior) for prior in [usual, *others]}) == 5
