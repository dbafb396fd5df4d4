"""What stands in the output folder for each flag."""

import numpy as np
import pytest
from command_line import picture, pixels, record, run
from picture_files import p3_profile, png_16
from PIL import Image, PngImagePlugin

from diip_jax import metrics, report
from diip_jax.image_reading import read_image


@pytest.fixture
def one(tmp_path):
    return picture(tmp_path / "in" / "one.png")


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_blend_mixes_with_the_input(capsys, tmp_path, one):
    for blend in (0, 0.25, 1):
        run(capsys, one, f"--blend={blend}", f"--output_dir={tmp_path / str(blend)}")
    none, quarter, full = (pixels(tmp_path / folder / "one.png") for folder in ("0", "0.25", "1"))
    assert (none == pixels(one)).all()
    assert np.abs(quarter - (0.25 * full + 0.75 * none)).max() <= 0.75
    assert record(tmp_path / "0.25" / "one.json")["settings"]["blend"] == 0.25


def test_samples_give_their_mean_and_spread(capsys, tmp_path, one):
    outcome = run(capsys, one, "--samples=3", "--compare", f"--output_dir={tmp_path / 'out'}")
    assert outcome.code == 0 and "4/4/4 iterations" in outcome.out[0]
    out = tmp_path / "out"
    each = {f"one_sample{i}.png" for i in range(3)}
    assert names(out) == {"one.png", "one.json", "one_spread.png", "one_compare.png"} | each
    samples = np.stack([pixels(out / name) for name in sorted(each)])
    assert np.abs(samples.mean(axis=0) - pixels(out / "one.png")).max() <= 1
    assert (samples[0] != samples[1]).any()
    told = record(out / "one.json")
    assert told["iterations"] == [4, 4, 4] and told["stop_reason"] == ["budget"] * 3 and told["selected_k"] == [3, 3, 3]
    assert np.shape(told["traces"]["loss"]) == (3, 4)
    spread = np.sqrt((samples / 127.5).var(axis=0).mean(axis=-1))
    assert told["spread"]["brightest"] == pytest.approx(spread.max(), abs=0.01)
    assert told["spread"]["mean"] == pytest.approx(spread.mean(), abs=0.01)
    brightness = pixels(out / "one_spread.png").sum(axis=-1)
    assert brightness.flat[spread.argmax()] == brightness.max()
    single = tmp_path / "single"
    run(capsys, one, f"--output_dir={single}")
    assert (pixels(single / "one.png") == samples[0]).all()  # sample 0 is what a run without --samples gives


def test_save_every_keeps_snapshots(capsys, tmp_path, one):
    out = tmp_path / "out"
    assert run(capsys, one, "--save_every=2", f"--output_dir={out}").code == 0
    assert names(out) == {"one.png", "one.json", "one_k00002.png"}  # after 4 it has stopped
    assert record(out / "one.json")["snapshots"] == [
        {"file": "one_k00002.png", "sample": 0, "iterations": 2, "k": 1},
    ]
    run(capsys, one, "--max_iterations=2", f"--output_dir={tmp_path / 'short'}")
    assert (pixels(out / "one_k00002.png") == pixels(tmp_path / "short" / "one.png")).all()
    assert "snapshots" not in record(tmp_path / "short" / "one.json")
    assert (pixels(out / "one_k00002.png") != pixels(out / "one.png")).any()
    run(capsys, one, "--save_every=3", "--samples=2", f"--output_dir={tmp_path / 'two'}")
    assert {"one_sample0_k00003.png", "one_sample1_k00003.png"} <= names(tmp_path / "two")
    assert [shot["sample"] for shot in record(tmp_path / "two" / "one.json")["snapshots"]] == [0, 1]


def test_no_snapshot_after_the_stop(capsys, tmp_path):
    paths = [picture(tmp_path / "in" / f"{name}.png", n) for n, name in enumerate("ab")]
    # Both stop after 2 of 4 iterations.
    run(
        capsys,
        *paths,
        "--stopping=loss_slope",
        "--eps=10",
        "--save_every=1",
        "--batch_size=2",
        f"--output_dir={tmp_path}",
    )
    assert {path.name for path in tmp_path.glob("*_k*")} == {"a_k00001.png", "b_k00001.png"}


def test_compare_draws_a_picture(capsys, tmp_path, one):
    run(capsys, one, "--compare", f"--output_dir={tmp_path / 'without'}")
    run(capsys, one, "--compare", f"--reference={one}", f"--output_dir={tmp_path / 'with'}")
    without, with_reference = (pixels(tmp_path / folder / "one_compare.png") for folder in ("without", "with"))
    assert without.shape[1] > 512 and with_reference.shape[1] > without.shape[1]  # a column and a curve more


def test_reference_measures(capsys, tmp_path):
    damaged, clean = picture(tmp_path / "in" / "a.png", 1), picture(tmp_path / "clean" / "a.jpg", 2)
    outcome = run(capsys, damaged, f"--reference={clean}", f"--output_dir={tmp_path / 'out'}")
    told = record(tmp_path / "out" / "a.json")
    as_float = [pixels(path) / 127.5 - 1 for path in (damaged, tmp_path / "out" / "a.png", clean)]
    for name, image in zip(("input", "output"), as_float, strict=False):
        assert told["metrics"][f"psnr_{name}"] == pytest.approx(metrics.psnr(image, as_float[2]), abs=0.05)
        assert told["metrics"][f"ssim_{name}"] == pytest.approx(metrics.ssim(image, as_float[2]), abs=0.01)
        assert f"{name} PSNR {told['metrics'][f'psnr_{name}']:.2f} dB, SSIM " in outcome.out[0]
    assert told["traces"]["psnr"][-1] == pytest.approx(told["metrics"]["psnr_output"], abs=1e-3)
    assert told["reference"]["file"] == "a.jpg"


def test_psnr_over_the_margin_is_called_so(capsys, tmp_path, monkeypatch):
    drawn = []
    usual = report.comparison
    monkeypatch.setattr(
        report, "comparison", lambda columns, traces, **rest: drawn.append([*traces]) or usual(columns, traces, **rest)
    )
    wide, clean = (picture(tmp_path / name / "wide.png", seed, (16, 32)) for seed, name in enumerate(("in", "clean")))
    for policy in ("fit", "crop"):
        out = tmp_path / policy
        run(capsys, wide, f"--reference={clean}", f"--resize={policy}", "--compare", f"--output_dir={out}")
    fit, crop = ([*record(tmp_path / policy / "wide.json")["traces"]] for policy in ("fit", "crop"))
    assert fit == ["loss", "laplacian_variance", "psnr_with_margin"] and crop == ["loss", "laplacian_variance", "psnr"]
    assert [titles[-1] for titles in drawn] == ["PSNR with margin (dB)", "psnr"]


def test_reference_of_another_aspect(capsys, tmp_path, one):
    wide = picture(tmp_path / "wide.png", size=(16, 32))
    outcome = run(capsys, one, f"--reference={wide}", f"--output_dir={tmp_path / 'out'}")
    assert outcome.code == 1 and "has another aspect" in outcome.err[0] and str(wide) in outcome.err[0]


def test_reference_changes_no_restoration(capsys, tmp_path, one):
    run(capsys, one, f"--output_dir={tmp_path / 'without'}")
    run(capsys, one, f"--reference={picture(tmp_path / 'r.png', 5)}", f"--output_dir={tmp_path / 'with'}")
    # Another program: equal up to rounding.
    written = (pixels(tmp_path / folder / "one.png") for folder in ("without", "with"))
    assert np.abs(np.subtract(*written)).max() <= 1


def test_resize(capsys, tmp_path):
    wide = picture(tmp_path / "in" / "wide.png", size=(16, 32))
    for policy, size in (("fit", (8, 16, 3)), ("crop", (16, 16, 3))):
        out = tmp_path / policy
        assert run(capsys, wide, f"--resize={policy}", f"--output_dir={out}").code == 0
        assert pixels(out / "wide.png").shape == size
        told = record(out / "wide.json")["input"]
        assert (told["height"], told["width"], told["resize_policy"]) == (16, 32, policy)
    outcome = run(capsys, wide, "--resize=error", f"--output_dir={tmp_path / 'error'}")
    assert outcome.code == 1
    assert outcome.err[0].startswith(f"diip_jax.launch: error: {wide}: is 16x32 (height x width), expected 16x16; use")


def test_alpha_is_carried_through(capsys, tmp_path):
    glass = picture(tmp_path / "in" / "glass.png", mode="RGBA")
    run(capsys, glass, "--samples=2", "--save_every=2", f"--output_dir={tmp_path / 'out'}")
    for name in ("glass.png", "glass_sample1.png", "glass_sample1_k00002.png"):
        written = Image.open(tmp_path / "out" / name)
        assert written.mode == "RGBA"
        assert (np.asarray(written)[..., 3] == np.asarray(Image.open(glass))[..., 3]).all()


@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16", "RGB", "RGBA"])
def test_grey_comes_back_grey(capsys, tmp_path, mode):
    """One channel as one, three equal ones as three."""
    source = tmp_path / "in" / "a.png"
    source.parent.mkdir()
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 4), np.uint8)).resize((16, 16))
    (Image.fromarray(np.asarray(small, np.uint16) * 257) if mode == "I;16" else small.convert(mode)).save(source)
    clean = picture(tmp_path / "clean.png", 3, mode="L")
    out = tmp_path / "out"
    extra = ["--samples=2", "--save_every=2", f"--reference={clean}"]
    assert run(capsys, source, *extra, f"--output_dir={out}").code == 0
    for path in (out / "a.png", out / "a_sample0.png", out / "a_sample1_k00002.png"):
        written = Image.open(path)
        assert written.mode == {"1": "L"}.get(mode, mode)
        colours = np.asarray(written).reshape(16, 16, -1).astype(int)[..., : len(mode.rstrip("A;16")) or 1]
        assert np.ptp(colours, -1).max() == 0
    told = record(out / "a.json")
    assert told["traces"]["psnr"][0][-1] == pytest.approx(
        metrics.psnr(*_as_floats(out / "a_sample0.png", clean)), abs=0.05
    )


def _as_floats(*paths):
    return [read_image(path).rgb for path in paths]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_alpha_and_all_come_back(capsys, tmp_path, channels):
    """With no weight of its own, the output is the input, value for value."""
    values = np.random.default_rng(0).integers(0, 65536, (16, 16, channels), np.uint16)
    (tmp_path / "a.png").write_bytes(png_16(values))
    assert run(capsys, tmp_path / "a.png", "--blend=0", f"--output_dir={tmp_path / 'out'}").code == 0
    given, written = read_image(tmp_path / "a.png"), read_image(tmp_path / "out" / "a.png")
    assert written.bits == 16 and written.grey == given.grey
    np.testing.assert_allclose(written.rgb, given.rgb, atol=1e-7)
    if channels in (2, 4):
        np.testing.assert_allclose(written.alpha, given.alpha, atol=1e-7)


XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4" xmp:ModifyDate="2020"/>
</rdf:RDF></x:xmpmeta>"""


def photo_with_facts(path):
    exif = Image.Exif()
    exif[0x0110], exif[0x0112] = "Camera", 6
    exif[0x8769] = {0x9003: "2020:01:02 03:04:05"}
    rng = np.random.default_rng(0)
    pixels = (rng.integers(60, 190, (16, 16, 1)) + rng.integers(0, 20, (16, 16, 3))).astype(np.uint8)  # within sRGB
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", XMP)
    Image.fromarray(pixels).save(path, exif=exif, icc_profile=p3_profile(), pnginfo=chunks)
    return path


def test_facts_and_profile_go_with_the_picture_and_can_be_stripped(capsys, tmp_path):
    one = photo_with_facts(tmp_path / "a.png")
    usual = [one, "--blend=0", "--skip_existing"]
    assert run(capsys, *usual, f"--output_dir={tmp_path / 'with'}").code == 0
    written = Image.open(tmp_path / "with" / "a.png")
    assert written.info["icc_profile"] == p3_profile()
    exif = written.getexif()
    assert exif[0x0110] == "Camera" and exif.get_ifd(0x8769) == {0x9003: "2020:01:02 03:04:05"} and 0x0112 not in exif
    assert b'xmp:Rating="4"' in written.info["xmp"] and b"ModifyDate" not in written.info["xmp"]
    upright = np.rot90(np.asarray(Image.open(one), int), -1)
    assert np.abs(np.asarray(written, int) - upright).max() <= 2  # to sRGB and back
    assert (
        run(capsys, *usual, "--strip_metadata", f"--output_dir={tmp_path / 'with'}").out[0].count("strip_metadata") == 1
    )
    stripped = Image.open(tmp_path / "with" / "a.png")
    assert "icc_profile" not in stripped.info and "srgb" in stripped.info and not stripped.getexif()
    assert "xmp" not in stripped.info
    assert np.abs(np.asarray(stripped, int) - upright).max() > 3


def test_an_estimated_kernel_is_an_output(capsys, tmp_path, one, monkeypatch):
    drawn = []
    usual = report.comparison
    monkeypatch.setattr(
        report,
        "comparison",
        lambda columns, traces, **rest: drawn.append((columns, traces)) or usual(columns, traces, **rest),
    )
    out = tmp_path / "out"
    arguments = ["--method=bird", "--degradation=blur", "--kernel_size=5", "--compare"]
    assert run(capsys, one, *arguments, f"--output_dir={out}").code == 0
    assert names(out) == {"one.png", "one.json", "one_kernel.png", "one_compare.png"}
    told = record(out / "one.json")
    kernel = np.array(told["operator"]["kernel"])
    assert kernel.shape == (5, 5) and kernel.sum() == pytest.approx(1, abs=1e-5)
    shown = pixels(out / "one_kernel.png")
    assert shown.shape == (260, 260) and shown.max() == 255
    np.testing.assert_allclose(shown[26::52, 26::52], kernel / kernel.max() * 255, atol=0.51)
    change = told["traces"]["kernel_change"]
    assert change[0] is None and len(change) == 4 and all(0 < value < 2 for value in change[1:])
    [(columns, traces)] = drawn
    assert [name for name, _ in columns] == ["input", "restored", "kernel"] and "kernel_change" in traces
    run(capsys, one, *arguments, "--samples=2", f"--output_dir={tmp_path / 'two'}")
    assert {"one_sample0_kernel.png", "one_sample1_kernel.png"} <= names(tmp_path / "two")
    assert np.shape(record(tmp_path / "two" / "one.json")["operator"]["kernel"]) == (2, 5, 5)


def test_gain_and_offset_are_in_the_record(capsys, tmp_path, one):
    run(
        capsys, one, "--method=bird", "--degradation=gain_offset", "--kernel_size=1", f"--output_dir={tmp_path / 'out'}"
    )
    told = record(tmp_path / "out" / "one.json")["operator"]
    assert 0.5 < told["gain"] < 2 and np.shape(told["offset"]) == (4, 4, 3) and told["kernel"] == [[1.0]]


def test_a_smaller_observation_is_restored_to_the_priors_size(capsys, tmp_path):
    small, clean = picture(tmp_path / "in" / "a.png", 1, (4, 4)), picture(tmp_path / "clean" / "a.png", 2)
    arguments = ["--method=bird", "--degradation=downsample", "--scale=4", "--kernel_size=3", f"--reference={clean}"]
    outcome = run(capsys, small, *arguments, "--blend=0", "--compare", f"--output_dir={tmp_path / 'out'}")
    assert outcome.code == 0
    # Without a weight of its own the output is the input, enlarged; that is what is measured as the input, too.
    # In float, because Pillow rounds 8-bit channels between its two passes.
    channels = [
        channel.convert("F").resize((16, 16), Image.Resampling.BICUBIC) for channel in Image.open(small).split()
    ]
    enlarged = np.stack(channels, axis=-1).clip(0, 255)
    assert np.abs(pixels(tmp_path / "out" / "a.png") - enlarged).max() <= 1
    told = record(tmp_path / "out" / "a.json")
    assert told["metrics"]["psnr_input"] == pytest.approx(told["metrics"]["psnr_output"], abs=0.1)
    assert told["settings"]["scale"] == 4 and "psnr" in told["traces"]


def test_a_margin_that_the_input_does_not_show_is_cut_off(capsys, tmp_path):
    inner, clean = picture(tmp_path / "in" / "a.png", 1, (12, 12)), picture(tmp_path / "clean" / "a.png", 1, (12, 12))
    arguments = ["--method=bird", "--boundary=valid", "--kernel_size=5", f"--reference={clean}"]
    outcome = run(capsys, inner, *arguments, "--resize=error", f"--output_dir={tmp_path / 'out'}")
    assert outcome.code == 0
    assert pixels(tmp_path / "out" / "a.png").shape == (12, 12, 3)
    told = record(tmp_path / "out" / "a.json")
    assert told["metrics"]["psnr_input"] is None and "psnr_with_margin" in told["traces"]  # infinite: JSON has none


def test_a_mask_and_a_kernel_of_files_are_recorded(capsys, tmp_path, one):
    shown = np.full((16, 16), 255, np.uint8)
    shown[4:9, 4:9] = 0
    Image.fromarray(shown).save(tmp_path / "mask.png")
    np.save(tmp_path / "kernel.npy", np.ones((3, 3)))
    for given in ("mask", "kernel"):
        path = tmp_path / ("mask.png" if given == "mask" else "kernel.npy")
        degradation = "mask" if given == "mask" else "blur"
        out = tmp_path / given
        outcome = run(
            capsys, one, "--method=bird", f"--degradation={degradation}", f"--{given}={path}", f"--output_dir={out}"
        )
        assert outcome.code == 0 and names(out) == {"one.png", "one.json"}
        told = record(out / "one.json")
        assert told[given]["file"] == path.name and len(told[given]["sha256"]) == 64
        assert {"mask": "kernel", "kernel": "mask"}[given] in told and told["reference"] is None
    assert (pixels(tmp_path / "mask" / "one.png") != pixels(tmp_path / "kernel" / "one.png")).any()


def test_a_mask_of_another_size_costs_its_own_image(capsys, tmp_path, one):
    two = picture(tmp_path / "in" / "two.png", 2)
    for name, side in (("one", 16), ("two", 15)):
        (tmp_path / "masks").mkdir(exist_ok=True)
        shown = np.full((side, side), 255, np.uint8)
        shown[3:5] = 0
        Image.fromarray(shown).save(tmp_path / "masks" / f"{name}.png")
    arguments = [
        "--method=bird",
        "--degradation=mask",
        f"--mask={tmp_path / 'masks'}",
        f"--output_dir={tmp_path / 'out'}",
    ]
    outcome = run(capsys, one, two, *arguments)
    assert outcome.code == 1 and names(tmp_path / "out") == {"one.png", "one.json"}
    says = f"{tmp_path / 'masks' / 'two.png'}: is 15x15 (height x width), expected 16x16, the size of {two}"
    assert outcome.err == [f"diip_jax.launch: error: {says}"]
