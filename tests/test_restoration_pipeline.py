"""The call in diffusers' manner is `restore`."""

import numpy as np
import pytest
import torch
from networks import tiny_prior
from PIL import Image

import diip_jax as dj
from diip_jax.interop.pipeline import RestorationPipeline


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior") / "tiny"
    dj.save_prior(folder, tiny_prior())
    return RestorationPipeline.from_pretrained(folder, dj.DIIP, max_iterations=3)


def test_restores_a_picture_as_restore_does(pipeline, photo, prior):
    made = pipeline(Image.fromarray(photo), generator=torch.Generator().manual_seed(5))
    expected = dj.restore(dj.DIIP(prior, max_iterations=3), photo[None], seed=5)
    np.testing.assert_array_equal(np.asarray(made.images[0]), expected.images[0])
    assert made.solution.stats["iterations"][0, 0] == 3


def test_arrays_and_several_samples(pipeline, photo):
    made = pipeline([Image.fromarray(photo)], num_images_per_prompt=2, output_type="np")
    assert made.images.shape == (1, 16, 16, 3) and 0 <= made.images.min() < made.images.max() <= 1
    assert len(made.solution.samples[0]) == 2


def test_another_output_type_is_refused(pipeline, photo):
    with pytest.raises(ValueError, match=r"^output_type='latent': expected 'pil' or 'np'$"):
        pipeline(Image.fromarray(photo), output_type="latent")
