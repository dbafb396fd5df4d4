import numpy as np
import pytest
from networks import uint8_images

from diip_jax.evaluate.spread import markdown, spread_of
from diip_jax.metrics import psnr


@pytest.fixture(scope="module")
def clean():
    return uint8_images(2)


def test_independent_errors_average_out_and_are_seen_in_the_spread():
    rng = np.random.default_rng(0)
    clean = rng.integers(100, 156, (2, 32, 32, 3), np.uint8)
    sigma = np.linspace(2, 20, 32)[:, None, None]
    samples = np.rint(clean[:, None] + sigma * rng.standard_normal((2, 4, 32, 32, 3))).astype(np.uint8)
    found = spread_of("noise", "DIIP", samples, clean)
    np.testing.assert_allclose(found.mean - found.one, 10 * np.log10(4), atol=0.2)
    np.testing.assert_allclose(found.one[0], np.mean([psnr(sample, clean[0]) for sample in samples[0]]))
    assert (found.correlation > 0.6).all()
    # Where all are wrong together nothing shows it.
    wrong = clean[:, None] + np.where(np.arange(32) < 16, 0, 60)[:, None].astype(np.uint8)
    narrow = rng.integers(0, 3, (2, 4, 32, 32, 3)).astype(np.uint8)
    assert np.abs(spread_of("noise", "DIIP", wrong + narrow, clean).correlation).max() < 0.1


def test_the_table_has_gain_and_correlation(clean):
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 256, (2, 3, 16, 16, 3), np.uint8)
    row = spread_of("hole", "BIRD", samples, clean)
    head, _, line = markdown([row], 3).splitlines()
    assert [cell.strip() for cell in head.split("|")[5:7]] == ["PSNR of the mean of 3 (dB)", "gain (dB)"]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[:4] == ["hole", "BIRD", "2", f"{row.one.mean():.2f}"]
    assert cells[5].startswith(f"{(row.mean - row.one).mean():.2f} [")
