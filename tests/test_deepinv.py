"""The adapter in deepinv's test loop.

deepinv is in no extra: it brings torchvision, which diffusers would then take, and which has to fit torch's build.
`.ci/run` has it in an environment of its own; last run with deepinv 0.5.0.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision_operators import declare

import diip_jax as dj

# deepinv draws on libraries whose warnings are theirs.
pytestmark = pytest.mark.filterwarnings("default")
try:
    declare()
except ImportError:
    pytest.skip("no torchvision here, which deepinv needs", allow_module_level=True)
deepinv = pytest.importorskip("deepinv", exc_type=ImportError)
GUIDE = Path(__file__).resolve().parent.parent / "docs" / "guides" / "interop.md"


@pytest.fixture(scope="module")
def faces():
    """`[N, 3, 16, 16]` in [0, 1]: smooth, so that noise is noise."""
    x = torch.linspace(0, 1, 16)
    return torch.stack([x.outer(x).expand(3, 16, 16), (1 - x).outer(x).expand(3, 16, 16)])


def test_deepinvs_benchmark_calls_it(prior, faces):
    from deepinv.physics import Denoising, GaussianNoise

    from diip_jax.interop.deepinv import Reconstructor

    model = Reconstructor(dj.DIIP(prior, max_iterations=3), seed=2)
    physics = Denoising(GaussianNoise(0.1))
    torch.manual_seed(0)
    y = physics(faces)
    loader = torch.utils.data.DataLoader(torch.utils.data.StackDataset(faces, y), batch_size=2)
    results = deepinv.test(
        model,
        loader,
        physics,
        metrics=[deepinv.loss.metric.PSNR()],
        device="cpu",
        verbose=False,
        show_progress_bar=False,
    )
    expected = dj.restore(dj.DIIP(prior, max_iterations=3), 2 * y.permute(0, 2, 3, 1).numpy() - 1, seed=2).images
    psnr = -10 * np.log10(np.mean((expected / 2 + 0.5 - faces.permute(0, 2, 3, 1).numpy()) ** 2, axis=(1, 2, 3)))
    assert results["PSNR"] == pytest.approx(psnr.mean(), rel=1e-4)


def test_an_observation_that_is_no_picture_is_made_one(prior, faces):
    from deepinv.physics import Downsampling

    from diip_jax.interop.deepinv import Reconstructor

    physics = Downsampling(img_size=(3, 16, 16), factor=2)
    y = physics(faces)
    method = dj.DIIP(prior, max_iterations=2)
    restored = Reconstructor(method, lambda y, physics: physics.A_adjoint(y))(y, physics)
    assert restored.shape == faces.shape and restored.dtype == torch.float32
    assert 0 <= restored.min() and restored.max() <= 1
    assert isinstance(Reconstructor(method), deepinv.models.Reconstructor)


def test_the_guide_s_block_runs(prior, faces, monkeypatch):
    monkeypatch.setattr(dj, "Blind", lambda prior: dj.DIIP(prior, max_iterations=2))
    loader = torch.utils.data.DataLoader(torch.utils.data.StackDataset(faces, faces), batch_size=2)
    block = GUIDE.read_text().split("```{code-block} python\n")[1].partition("```")[0]
    found: dict = {"dj": dj, "prior": prior, "loader": loader}
    exec(block, found)
    assert {"PSNR", "SSIM"} <= {*found["results"]} and np.isfinite(found["results"]["PSNR"])
