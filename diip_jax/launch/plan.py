"""What a run of the command line will do: its settings, the names of its outputs, what is already finished."""

import dataclasses
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diip_jax import models
from diip_jax.commands.settings import Settings
from diip_jax.images import EXTENSIONS, ImageError, file_sha256, is_whole
from diip_jax.launch.naming import check_place, output_stems, usual_stems
from diip_jax.launch.outputs import Outputs, read_record
from diip_jax.plugs.operators import Identity, PictureOperator
from diip_jax.prior import Prior, identity_of


@dataclass(frozen=True)
class KernelFile:
    """A blur kernel `[K, K]`, K odd, float32 of sum 1, and the file it was read from."""

    path: Path
    values: NDArray[np.float32]
    sha256: str


@dataclass(frozen=True)
class Run:
    """What is asked for, beside the images; the fields are the flags of `diip_jax.launch`.

    Attributes:
        method_name, method: the restoration method and its settings.
        max_iterations: the method's budget.
        operator: what the method takes for what happened to an image: where an observation lies on the restored one.
        estimates: names of what the method learns of the degradation.
        kernel: the blur kernel that is known.
        batch_size: (image, sample) pairs restored at once; None: as many as `diip_jax.solve.size` finds best.
        blend: weight of the restored image against the input in what is written.
        save_every: iterations between two snapshots, 0 for none.
        strip_metadata: whether EXIF, XMP and the colour profile of the input are left out of the outputs.
        animate: whether the snapshots become an animation, too.
        faces: of a photograph, which are restored with the prior of faces, too: "find", or places of eyes.
    """

    method_name: str
    method: Settings
    max_iterations: int
    output_dir: Path
    operator: PictureOperator = Identity()
    estimates: tuple[str, ...] = ()
    kernel: KernelFile | None = None
    seed: int = 0
    samples: int = 1
    batch_size: int | None = None
    resize: str = "fit"
    blend: float = 1.0
    compare: bool = False
    save_every: int = 0
    animate: bool = False
    skip_existing: bool = False
    strip_metadata: bool = False
    faces: tuple[str, ...] = ()

    def settings(self, prior: Prior) -> dict[str, Any]:
        """What the outputs depend on, except what a record names elsewhere: seed, resize policy, prior and input."""
        return {
            "method": self.method_name,
            **{name: value for name, value in dataclasses.asdict(self.method).items() if value is not None},
            "samples": self.samples,
            "blend": self.blend,
            "dtype": prior.dtype,
            "class_label": prior.class_label,
            "save_every": self.save_every,
            # Said only where it is asked for: records from before there was the choice are of this run, too.
            **({"strip_metadata": True} if self.strip_metadata else {}),
            **({"faces": list(self.faces)} if self.faces else {}),
        }


@dataclass(frozen=True, slots=True)  # there may be very many
class Job:
    """One image to restore.

    Attributes:
        path: the input.
        folder, stem: outputs are `folder/stem.png`, `folder/stem.json`, ...
        reference: its clean image, None without.
        mask: what shows which of its pixels are known, None without.
    """

    path: Path
    folder: Path
    stem: str
    reference: Path | None = None
    mask: Path | None = None

    def output(self, ending: str) -> Path:
        """The output whose name is the stem and this ending, such as ".png" or "_compare.png"."""
        return self.folder / f"{self.stem}{ending}"

    def outputs(self, run: Run) -> list[Path]:
        """What is there once the image is finished; the record, which is written last, is the last one."""
        endings = [".png"]
        if run.samples > 1:
            endings += [*(f"_sample{i}.png" for i in range(run.samples)), "_spread.png"]
        if "kernel" in run.estimates:
            endings += [of_sample(run, i, "_kernel.png") for i in range(run.samples)]
        if run.compare:
            endings.append("_compare.png")
        if run.animate:
            endings += [of_sample(run, i, "_animation.webp") for i in range(run.samples)]
        return [self.output(ending) for ending in [*endings, ".json"]]

    def snapshots(self, run: Run) -> list[Path]:
        """Every snapshot that may be written; an image that has stopped leaves none, so the last iteration none."""
        if not run.save_every:
            return []
        counts = range(run.save_every, run.max_iterations, run.save_every)
        return [self.output(snapshot_ending(run, i, count)) for count in counts for i in range(run.samples)]


def snapshot_ending(run: Run, sample: int, iterations: int) -> str:
    """The ending of the name of the image after so many iterations."""
    return of_sample(run, sample, f"_k{iterations:05d}.png")


def of_sample(run: Run, sample: int, ending: str) -> str:
    """The ending of the name of what each sample has of its own."""
    return f"_sample{sample}{ending}" if run.samples > 1 else ending


def plan_jobs(
    paths: Sequence[Path], run: Run, outputs: Outputs, reference: Path | None = None, mask: Path | None = None
) -> tuple[list[Job], list[ImageError]]:
    """One job per input, in their order, such that every output can be written and overwrites nothing but earlier ones.

    What outputs are called is said at `output_stems`.

    Args:
        outputs: what is in the folder already.
        reference: the clean image, or a folder in which each image has one of the same stem.
        mask: likewise; one file may serve for all images.

    Returns:
        (jobs, errors): an input that cannot be given its names, reference or mask is in `errors` and not in `jobs`.
    """
    jobs: list[Job] = []
    errors: list[ImageError] = []
    sources = {outputs.identity(path): path for path in paths}
    claimed: dict[Path, Path] = {}
    listings: dict[Path, dict[str, list[Path]]] = {}
    stems = output_stems(paths, outputs)
    folders: dict[Path, Path] = {}
    for path, stem, usual in zip(paths, stems, usual_stems([outputs.place(path) for path in paths]), strict=True):
        try:
            clean, shown = (
                None if given is None else _counterpart(name, given, usual.parent, path, listings)
                for name, given in (("reference", reference), ("mask", mask))
            )
            folder = folders.setdefault(stem.parent, run.output_dir / stem.parent)
            job = Job(path, folder, stem.name, clean, shown)
            places = [*job.outputs(run), *job.snapshots(run)]
            beside = {outputs.identity(file): file for file in (clean, shown) if file}
            recorded = outputs.known(os.fspath(stem)) is not None
            for output in places:
                if output in claimed:
                    raise ImageError(path, f"would write {output}, as {claimed[output]} does; rename one of the two")
                if outputs.holds(output):
                    identity = outputs.identity(output)
                    if source := beside.get(identity) or sources.get(identity):
                        raise ImageError(path, f"would overwrite the input {source}; choose another --output_dir")
            for output in places:
                check_place(output, recorded, outputs)
        except ImageError as error:
            errors.append(error)
        except OSError as error:
            errors.append(
                ImageError(path, f"cannot be given names, reference or mask ({error}); check paths and rights")
            )
        else:
            claimed.update(dict.fromkeys(places, path))
            jobs.append(job)
    return jobs, errors


def _counterpart(name: str, given: Path, inside: Path, path: Path, listings: dict[Path, dict[str, list[Path]]]) -> Path:
    """The file of this image in a folder that was given, or the file that was given for all."""
    if not given.is_dir():
        return given
    # Inputs that keep their folders may have references in folders of the same names.
    mirrored = given / inside
    folder = mirrored if mirrored.is_dir() else given
    if folder not in listings:
        listings[folder] = _images_by_stem(folder)
    found = listings[folder].get(path.stem, [])
    same_name = [candidate for candidate in found if candidate.name == path.name]
    if not found:
        raise ImageError(path, f"has no {name} {path.stem}.* in {folder}; add it, or leave this image out")
    if len(found) > 1 and not same_name:
        raise ImageError(path, f"has several {name}s in {folder} ({', '.join(p.name for p in found)}); keep one")
    return same_name[0] if same_name else found[0]


def _images_by_stem(folder: Path) -> dict[str, list[Path]]:
    found = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in EXTENSIONS and path.is_file():
            found[path.stem].append(path)
    return dict(found)


def prior_facts(prior: Prior) -> dict[str, Any]:
    """What a record says of the prior."""
    return {
        "sha256": prior.provenance.params_sha256,
        "identity": identity_of(prior),
        "source": prior.provenance.source,
        "source_sha256": prior.provenance.source_sha256,
        "prediction": prior.prediction,
        "architecture": models.architecture(prior.model),
        "image_shape": list(prior.image_shape),
    }


def asked_of(run: Run, prior: Prior) -> dict[str, Any]:
    """What the outputs of all images of a run depend on."""
    kernel = run.kernel and run.kernel.sha256
    return {**run.settings(prior), "resize": run.resize, "prior": identity_of(prior), "kernel": kernel}


def finished(
    job: Job,
    run: Run,
    asked: dict[str, Any],
    whole: Callable[[Path], bool] = is_whole,
    input_sha256: str | None = None,
) -> tuple[bool, str | None]:
    """Whether all outputs of this very run are there already; and if another run's are, in what it differed.

    The record is removed before the first output or snapshot is written and comes back last, so its presence means that
    the outputs belong to it; that they can still be read is seen by reading them.

    Args:
        asked: `asked_of` the run.
        whole: whether a picture that is there can be read.
        input_sha256: None: the input is read.
    """
    record = read_record(job.output(".json"))
    if record is None:
        return False, None
    try:
        was = _identifying(record)
        listed = record["snapshots"] if run.save_every and was["save_every"] else []
        snapshots = [job.folder / snapshot["file"] for snapshot in listed]
    except (KeyError, TypeError, AttributeError):
        return False, None  # written by hand, or by a version that is not known
    pictures = [*job.outputs(run)[:-1], *snapshots]
    if not all(picture.is_file() for picture in pictures):
        return False, "incomplete"
    wanted = {
        **asked,
        "seed": run.seed,
        "input": input_sha256 or file_sha256(job.path),
        "reference": job.reference and file_sha256(job.reference),
        "mask": job.mask and file_sha256(job.mask),
    }
    # What an earlier run made in addition, and this one does not ask for, does no harm.
    ignored = {name for name in ("reference", "save_every") if not wanted[name]}
    differing = [name for name in wanted | was if name not in ignored and was.get(name) != wanted.get(name)]
    if not differing:
        damaged = [picture.name for picture in pictures if not whole(picture)]
        return not damaged, f"damaged ({damaged[0]} cannot be read)" if damaged else None
    name = differing[0]
    if name in ("prior", "input", "reference", "mask", "kernel"):
        return False, f"made with another {name}" if was[name] else f"made without a {name}"
    before = f"with {name}={was[name]}" if was.get(name) is not None else f"without {name}"
    now = wanted[name] if wanted.get(name) is not None else "without"
    return False, f"made {before}, now {now}"


def _identifying(record: dict[str, Any]) -> dict[str, Any]:
    return {
        **record["settings"],
        "seed": record["seed"],
        "resize": record["input"]["resize_policy"],
        "prior": record["prior"].get("identity", record["prior"]["sha256"]),  # earlier records have only the latter
        "input": record["input"]["sha256"],
        **{name: record[name] and record[name]["sha256"] for name in ("reference", "mask", "kernel")},
    }
