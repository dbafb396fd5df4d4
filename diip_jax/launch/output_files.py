"""The files that a restored image leaves.

In the output folder, for an image `STEM`:

- `STEM.png`: the restored image (with several samples their mean), at the prior's scale. Alpha, 16 bits a channel and a
  single channel are carried through, EXIF and XMP (without orientation, size and thumbnail) and the ICC profile, unless
  `--strip_metadata` is given: the colours are then sRGB.
- `STEM.json`: `diip_jax.report.image_record`, plus `method` and the run's settings under `settings`, `input.sha256`,
  `input.path` (relative to the record's folder, or the address in a store), `reference` (file, sha256) and, with
  several samples, `spread`. `iterations`, `stop_reason`, `selected_k` and the traces are then lists with one entry per
  sample. `seconds` is the time that the image's batch took, divided by the number of its images; tracing and
  compilation, as JAX reports them, are taken off and stand under `compile_seconds`.
  With `--save_every`, `snapshots` lists the snapshots: file, sample, iterations done, and k = iterations - 1, the index
  of the iterate that it shows (iterates count from 0, as in `selected_k`). The trace `psnr` is called
  `psnr_with_margin` where the picture was padded to the prior's size: it covers the margin, which `metrics` leaves out.
  With `--faces`, `faces` has the eyes of each face that was restored by itself, left and right as seen, (x, y) in
  pixels of the input, and the sha256 of that prior.
  With the method `blind`, `found` says in words what damage was found; the values stand under `operator`.
- `STEM_kernel.png`: the blur kernel where one was estimated, stretched from black (0) to white (its largest value); its
  values stand in the record under `operator`, with whatever else was learned of the degradation, and the trace
  `kernel_change` tells by how much it changed since the iterate before (sum of absolute differences, 0 to 2).
- `STEM_compare.png`, `STEM_sample{i}.png`, `STEM_spread.png`, `STEM_k{iterations}.png`, `STEM_animation.webp`: where
  asked for.

The restored image has the prior's size. Where an observation is smaller (down-sampling), "the input" of blending,
metrics and comparison is it enlarged bicubically; where the image reaches beyond it, that margin is cut off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diip_jax import heatmaps, metrics, report
from diip_jax.images import Fitted, ImageError, LoadedImage, unfit, write_image, write_json
from diip_jax.launch.animation import write_animation
from diip_jax.launch.plan import Job, Run, of_sample, prior_facts
from diip_jax.prior import Prior
from diip_jax.solution import Solution
from diip_jax.terminal import printable

Pixels = NDArray[np.float32]

_KERNEL_SIDE = 256  # pixels that the picture of a kernel has at least


@dataclass(frozen=True)
class Loaded:
    """A job whose files are read. Pixels are float32 in [-1, 1] with the prior's channels.

    Attributes:
        name: what the record calls the input.
        fitted: the input on the grid of the restored image.
        input: its pixels, `[H, W, C]`.
        y: the observation as the method takes it, `[h, w, C]`.
        clean: the reference, `[H, W, C]`.
        mask: `[h, w]`, true where y is known.
    """

    job: Job
    name: str
    image: LoadedImage
    fitted: Fitted
    input: Pixels
    y: Pixels
    clean: Pixels | None
    mask: NDArray[np.bool_] | None
    sha256: str
    reference_sha256: str | None
    mask_sha256: str | None


class Diverged(ImageError):
    """The loss of an image was no longer finite."""


class Snapshot(NamedTuple):
    """The written picture of a sample after so many iterations."""

    file: str
    sample: int
    iterations: int


def write_outputs(
    item: Loaded,
    n: int,
    result: Solution,
    run: Run,
    prior: Prior,
    seconds: dict[str, float],
    snapshots: Sequence[Snapshot] = (),
    faces: dict[str, Any] | None = None,
) -> str:
    """Writes the files of image n of a result, the record last; returns the line that says so.

    Raises ImageError if the restoration diverged (nothing is written then) or a file cannot be written.
    """
    job, reasons = item.job, result.reasons[n]
    if "diverged" in reasons:
        k = int(result.stats["iterations"][n, reasons.index("diverged")])
        raise Diverged(job.path, f"diverged after {k} iterations, no result is written; lower --learning_rate")
    given = result.samples[n] if result.samples is not None else result.images[n : n + 1]
    samples = [blended(sample, item, run) for sample in given]
    output = np.mean(samples, axis=0) if run.samples > 1 else samples[0]
    quality = _quality(item, output)
    # From here to the new record, the old one would speak of files that are no longer its own.
    record_path = job.output(".json")
    record_path.unlink(missing_ok=True)
    extra: dict[str, Any] = {}
    if run.samples > 1:
        for i, sample in enumerate(samples):
            write_pixels(item, f"_sample{i}.png", sample)
        extra["spread"] = _write_spread(item, np.stack(samples))
    if faces is not None:
        extra["faces"] = faces
    if run.save_every:
        extra["snapshots"] = [{**shot._asdict(), "k": shot.iterations - 1} for shot in snapshots]
    write_pixels(item, ".png", output)
    estimates = {name: values[n] for name, values in result.operator.items()}
    for i, kernel in enumerate(estimates.get("kernel", ())):
        picture = heatmaps.kernel_picture(kernel, least_side=_KERNEL_SIDE)
        write_image(job.output(of_sample(run, i, "_kernel.png")), picture)
    if found := _found(result, n):
        extra["found"] = found
    if estimates:
        extra["operator"] = {name: values if run.samples > 1 else values[0] for name, values in estimates.items()}
    if run.compare:
        write_image(job.output("_compare.png"), _comparison(item, n, result, run, output, quality))
    if run.animate:
        for i in range(run.samples):
            of_this = [job.folder / shot.file for shot in snapshots if shot.sample == i]
            last = job.output(f"_sample{i}.png" if run.samples > 1 else ".png")
            write_animation(job.output(of_sample(run, i, "_animation.webp")), [*of_this, last])
    record = _record(item, n, result, run, prior, quality)
    traces = record.pop("traces")  # the long lines last
    write_json(record_path, {**record, **seconds, **extra, "traces": traces})
    return _summary(item, n, result, quality, seconds["seconds"])


def blended(restored: Pixels, item: Loaded, run: Run) -> Pixels:
    """What is written of a restored `[H, W, C]`: mixed with the input by `blend`, without the margin of fitting."""
    weight = np.float32(run.blend)
    return unfit(weight * np.clip(restored, -1, 1) + (1 - weight) * np.clip(item.input, -1, 1), item.fitted)


def write_pixels(item: Loaded, ending: str, pixels: Pixels) -> None:
    """Writes a picture under the stem and this ending, with the input's alpha, depth, colours, EXIF, XMP and profile.

    Raises:
        ImageError: it cannot be written.
    """
    alpha, image = item.fitted.alpha, item.image
    path = item.job.output(ending)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(path.parent, f"cannot be made ({error.strerror}); choose another --output_dir") from error
    write_image(
        path,
        _shown(pixels, image.grey),
        None if alpha is None else unfit(alpha, item.fitted),
        bits=image.bits,
        icc=image.icc,
        exif=image.exif,
        xmp=image.xmp,
    )


def _shown(pixels: Pixels, grey: bool = False) -> Pixels:
    """`[H, W, 3]` as it is, `[H, W, 1]` as `[H, W]`; likewise where the file had one channel."""
    return pixels[..., 0] if grey or pixels.shape[-1] == 1 else pixels


def _write_spread(item: Loaded, samples: Pixels) -> dict[str, Any]:
    """Writes the standard deviation over samples at every pixel (root mean square over channels); its scale."""
    spread = metrics.spread(samples)
    brightest = max(float(spread.max()), 1e-6)  # identical samples: a black map
    path = item.job.output("_spread.png")
    write_image(path, heatmaps.spread_map(spread, brightest))
    return {
        "file": path.name,
        "unit": "standard deviation, of the range [-1, 1]",
        "black": 0.0,
        "brightest": brightest,
        "mean": float(spread.mean()),
    }


def _quality(item: Loaded, output: Pixels) -> dict[str, float] | None:
    """PSNR and SSIM of input and output over the picture without its margin; no SSIM below its 11x11 window."""
    if item.clean is None:
        return None
    given, clean = unfit(item.input, item.fitted), unfit(item.clean, item.fitted)
    quality = {"psnr_input": metrics.psnr(given, clean), "psnr_output": metrics.psnr(output, clean)}
    if min(clean.shape[:2]) >= 11:
        quality |= {"ssim_input": metrics.ssim(given, clean), "ssim_output": metrics.ssim(output, clean)}
    return quality


def _record(
    item: Loaded, n: int, result: Solution, run: Run, prior: Prior, quality: dict[str, float] | None
) -> dict[str, Any]:
    traces = _named(item, result)
    per_sample = [
        report.image_record(
            image=item.image,
            resize_policy=run.resize,
            settings=run.settings(prior),
            seed=run.seed,
            prior=prior_facts(prior),
            iterations=int(result.stats["iterations"][n, i]),
            stop_reason=result.reasons[n][i],
            selected_k=int(result.selected[n, i]),
            traces={name: trace[n, i] for name, trace in traces.items()},
            seconds=0.0,
            metrics=quality,
        )
        for i in range(run.samples)
    ]
    record = per_sample[0]
    if run.samples > 1:
        record |= {key: [one[key] for one in per_sample] for key in ("iterations", "stop_reason", "selected_k")}
        record["traces"] = {name: [one["traces"][name] for one in per_sample] for name in record["traces"]}
    record["input"] |= {"sha256": item.sha256, "path": item.name}
    beside: dict[str, tuple[Path | None, str | None]] = {
        "reference": (item.job.reference, item.reference_sha256),
        "mask": (item.job.mask, item.mask_sha256),
        "kernel": (run.kernel.path, run.kernel.sha256) if run.kernel else (None, None),
    }
    files = {name: file and {"file": file.name, "sha256": sha256} for name, (file, sha256) in beside.items()}
    return {**record, **files}


def _named(item: Loaded, result: Solution, with_margin: str = "psnr_with_margin") -> dict[str, Any]:
    """What is minimised first; the PSNR under another name where it covers a margin that the outputs do not have."""
    curves = {name: trace for name, trace in result.traces.items() if name not in result.operator}
    traces: dict[str, Any] = {**curves, **_kernel_change(result)}
    padded = item.fitted.content[2:] != item.fitted.rgb.shape[:2]
    names = {"psnr": with_margin} if padded else {}
    ordered = sorted(traces.items(), key=lambda named: named[0] != "loss")
    return {names.get(name, name): trace for name, trace in ordered}


def _kernel_change(result: Solution) -> dict[str, Any]:
    """`[N, S, K]`: sum of the absolute changes of a kernel since the iterate before; of several kernels the mean."""
    if "kernel" not in result.traces:
        return {}
    kernels = result.traces["kernel"]
    change = np.abs(np.diff(kernels, axis=2, prepend=np.nan)).sum(axis=(-2, -1))
    return {"kernel_change": change.reshape(*kernels.shape[:3], -1).mean(axis=-1)}


def _comparison(
    item: Loaded, n: int, result: Solution, run: Run, output: Pixels, quality: dict[str, float] | None
) -> report.Picture:
    pictures = [("input", unfit(item.input, item.fitted)), ("restored", output)]
    if quality is not None and item.clean is not None:
        pictures = [
            (f"{name}\n{_decibels(quality, which)}", pixels)
            for (name, pixels), which in zip(pictures, ("input", "output"), strict=True)
        ]
        pictures.append(("reference", unfit(item.clean, item.fitted)))
    columns: list[tuple[str, np.ndarray]] = [(name, _shown(pixels)) for name, pixels in pictures]
    if "kernel" in result.operator:
        columns.append(("kernel", heatmaps.kernel_picture(result.operator["kernel"][n, 0])))
    several = f" (mean of {run.samples} samples, curves of sample 0)" if run.samples > 1 else ""
    iterations = int(result.stats["iterations"][n, 0])
    traces = _named(item, result, "PSNR with margin (dB)")  # titles of panels
    return report.comparison(
        columns,
        {name: trace[n, 0, :iterations] for name, trace in traces.items()},
        stop_k=iterations - 1,
        selected_k=int(result.selected[n, 0]),
        title=f"{printable(item.job.path.name)}{several}",
    )


def _decibels(quality: dict[str, float], which: str) -> str:
    text = f"PSNR {quality[f'psnr_{which}']:.2f} dB"
    return f"{text}, SSIM {quality[f'ssim_{which}']:.3f}" if f"ssim_{which}" in quality else text


def _found(result: Solution, n: int) -> str:
    """What `Blind` found in image n, in each of its samples the same; of another method nothing."""
    if "jpeg_quality" not in result.operator:
        return ""
    return report.damage_in_words({name: values[n, 0] for name, values in result.operator.items()})


def _summary(item: Loaded, n: int, result: Solution, quality: dict[str, float] | None, seconds: float) -> str:
    reasons = "/".join(dict.fromkeys(result.reasons[n]))
    found = _found(result, n)
    parts = [f"found {found}"] if found else []
    # Of what was found, the budget is how the method ends, and says nothing.
    if not parts or reasons not in ("settled", "budget", "enlarged"):
        counts, chosen = ("/".join(map(str, values[n])) for values in (result.stats["iterations"], result.selected))
        parts.append(f"{counts} iterations, stopped by {reasons}, returned k={chosen}")
    line = f"{item.job.path} -> {item.job.output('.png')}: {'; '.join(parts)}, {seconds:.1f} s"
    if quality is not None:
        line += f"; input {_decibels(quality, 'input')}; output {_decibels(quality, 'output')}"
    return line
