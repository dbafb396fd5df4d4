"""The files of a job as the arrays that are restored."""

import dataclasses
import math
from typing import Any

import numpy as np

from diip_jax.images import ImageError, file_sha256, fit_to_size, placed, read_image
from diip_jax.launch.files import Files
from diip_jax.launch.known_data import read_mask
from diip_jax.launch.output_files import Loaded, Pixels
from diip_jax.launch.photographed_faces import check_within
from diip_jax.launch.plan import Job, Run
from diip_jax.prior import Prior

# Pictures that keep their size are filled up to multiples of this.
_STEP = 64


def load(job: Job, run: Run, prior: Prior, files: Files) -> Loaded:
    """Reads a job's input, mask and reference at the sizes that the prior and the operator want. Raises ImageError."""
    scale, margin = run.operator.scale, run.operator.margin
    if run.resize == "keep":
        image = read_image(job.path)
        for text in run.faces:
            check_within(text, image)
        height, width = (bucket(side, scale, margin, prior) for side in image.size)
    else:
        height, width, _ = run.operator.y_shape(prior.image_shape)
        image = read_image(job.path, (height, width))
    if run.strip_metadata:
        image = dataclasses.replace(image, icc=None, exif=None, xmp=None)
    observed = fit_to_size(image, height, width, run.resize)
    fitted = placed(observed, scale, margin)
    clean = None
    if job.reference is not None:
        clean_size = (scale * height, scale * width)
        reduced_to = None if run.resize == "keep" else clean_size
        reference = fit_to_size(read_image(job.reference, reduced_to), *clean_size, run.resize)
        reference = placed(reference, 1, margin)
        if reference.content != fitted.content:
            raise ImageError(job.reference, f"has another aspect than {job.path}; give the clean picture of that image")
        clean = in_channels_of(prior, reference.rgb)
    mask = None if job.mask is None else read_mask(job.mask, image, height, width, run.resize)
    # Of the picture at its own size only the facts are needed from here on: a view of one number stands in for it, or a
    # batch of large photographs would fill the memory.
    facts = dataclasses.replace(image, rgb=np.broadcast_to(np.float32(0), image.rgb.shape), alpha=None)
    return Loaded(
        job,
        files.named(job),
        facts,
        fitted,
        in_channels_of(prior, fitted.rgb),
        in_channels_of(prior, observed.rgb),
        clean,
        mask,
        file_sha256(job.path),
        file_sha256(job.reference) if job.reference else None,
        file_sha256(job.mask) if job.mask else None,
    )


def bucket(side: int, scale: int, margin: int, prior: Prior) -> int:
    """The side of the observation that a picture is filled up to: few sizes, so that a folder compiles few programs."""
    # A prior that is shown the observation, too, takes it.
    step = math.lcm(_STEP, scale * prior.size_multiple)
    return (math.ceil((scale * side + 2 * margin) / step) * step - 2 * margin) // scale


def in_channels_of(prior: Prior, rgb: Pixels) -> Pixels:
    """rgb as it is, or its Rec. 601 grey where the prior has one channel."""
    if prior.model.in_channels == 3:
        return rgb
    return (rgb @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]


def known(item: Loaded, run: Run) -> dict[str, np.ndarray] | None:
    """What is known of an image beside itself: "clean", "mask", "kernel"."""
    given: dict[str, Any] = {"clean": item.clean, "mask": item.mask, "kernel": run.kernel and run.kernel.values}
    return {name: value for name, value in given.items() if value is not None} or None
