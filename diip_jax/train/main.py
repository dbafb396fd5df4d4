"""Trains a prior on pictures of one's own: `python -m diip_jax.train --images=FOLDER --output_dir=myprior`.

    python -m diip_jax.train --images=pictures.zip --output_dir=myprior
    python -m diip_jax.sample --checkpoint=myprior --output=samples.png
    python -m diip_jax.launch --checkpoint=myprior --image=degraded.png

myprior is a checkpoint from the first save on, with its card. The state of the training lies beside it in
myprior.training, with progress.jsonl and pictures of samples; interrupted (Ctrl-C, SIGTERM, or ended in any other way),
the same command goes on from the last state, to the same weights.

Exit codes: 0 finished; 2 wrong usage, or it cannot go on; 130 and 143 interrupted by Ctrl-C and SIGTERM.
"""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from absl import flags
from PIL import Image

from diip_jax import command, models
from diip_jax.image_reading import ImageError
from diip_jax.launch.console import Console
from diip_jax.launch.processes import meeting
from diip_jax.launch.program_cache import keep_compiled_programs
from diip_jax.models import DDPMUNetConfig
from diip_jax.prior import Prior, load_prior
from diip_jax.schedule import Schedule
from diip_jax.train.batches import held_out_images
from diip_jax.train.cuts import Cut
from diip_jax.train.flag_table import define_flags, given_fields, made, refuse_network_flags
from diip_jax.train.network import network_of
from diip_jax.train.objective import Objective, check_prediction_is_trained
from diip_jax.train.pictures import Pictures, open_pictures
from diip_jax.train.plan import Plan
from diip_jax.train.run import train
from diip_jax.train.step import Optimisation

PROGRAM = "diip_jax.train"
_IMAGE_SIZE = 64


def plan_from(values: flags.FlagValues) -> Plan:
    """The training that parsed flags describe; reads the held-out pictures and the checkpoint to begin with.

    Raises:
        UsageError: a flag is missing or has a value that does not fit.
        ImageError: pictures are missing, too few, or cannot be read.
        CheckpointError: the checkpoint to begin with cannot be read.
    """
    for name in ("images", "output_dir"):
        if not values[name].value:
            raise command.UsageError(f"--{name} is missing; see --help")
    optimisation = made(Optimisation, given_fields(values, Optimisation))
    start = _start(values)
    side, _, channels = start.image_shape
    cut = made(Cut, {"size": side, "channels": channels, **given_fields(values, Cut)})
    images = command.expanded("images", values.images)
    pictures, heldout = _pictures(values, images, cut)
    return Plan(
        output=command.expanded("output_dir", values.output_dir).absolute(),
        start=start,
        began_from=_began_from(values, start),
        pictures=pictures,
        cut=cut,
        heldout=heldout,
        objective=made(Objective, given_fields(values, Objective)),
        optimisation=optimisation,
        seed=values.seed,
        remat_blocks=values.remat,
        stored_dtype=values.stored_dtype,
        data=values.data or f"{len(pictures.names):,} pictures of {images.name}",
        terms=values.terms,
        log_every=values.log_every,
        save_every=values.save_every,
        heldout_every=values.heldout_every,
        samples_every=values.samples_every,
    )


def _start(values: flags.FlagValues) -> Prior:
    """The prior that the training begins with."""
    command.check_devices()
    dtype = values.dtype
    if dtype == "auto":
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    schedule = given_fields(values, Schedule)
    if values.init_from is None:
        fields = {"image_size": values.image_size or _IMAGE_SIZE} | given_fields(values, DDPMUNetConfig)
        try:
            model = network_of(values.model, fields)
        except ValueError as error:
            raise command.UsageError(f"--{error}") from error
        params = jax.jit(models.initial_params, static_argnums=0)(model, jax.random.key(values.seed))
        prior = Prior(params, model)
    else:
        refuse_network_flags(values)
        prior = load_prior(command.expanded("init_from", values.init_from))
        if values.image_size is not None:
            prior = dataclasses.replace(prior, model=dataclasses.replace(prior.model, image_size=values.image_size))
    prior = dataclasses.replace(
        prior,
        schedule=made(Schedule, dataclasses.asdict(prior.schedule) | schedule),
        prediction=values.prediction,
        dtype=dtype,
    )
    if prior.model.in_channels not in (1, 3):
        raise command.UsageError(f"--in_channels={prior.model.in_channels}: expected 3, or 1 for grey pictures")
    height, width, _ = prior.image_shape
    if height != width:
        raise command.UsageError(f"--image_size is missing: the prior's images are {height}x{width}, not square")
    if height % prior.model.size_multiple:
        raise command.UsageError(f"--image_size={height}: expected a multiple of {prior.model.size_multiple}")
    try:
        check_prediction_is_trained(prior)
    except ValueError as error:
        raise command.UsageError(f"--{error}") from error
    return prior


def _began_from(values: flags.FlagValues, start: Prior) -> str:
    if values.init_from is None:
        return ""
    return f"{Path(values.init_from).name} ({start.provenance.params_sha256[:12]})"


def _pictures(values: flags.FlagValues, images: Path, cut: Cut) -> tuple[Pictures, np.ndarray]:
    """The pictures to train on, and the held-out images."""
    pictures = open_pictures(images)
    if values.heldout is not None:
        judged = open_pictures(command.expanded("heldout", values.heldout))
        judged = judged.of(range(len(judged.names))[: values.heldout_count])
    else:
        count = max(1, min(values.heldout_count, len(pictures.names) // 10))
        order = np.random.default_rng(values.seed).permutation(len(pictures.names))
        # In the order of their names, so that the same pictures are the same training.
        judged, pictures = (pictures.of(sorted(map(int, part))) for part in (order[:count], order[count:]))
        if not pictures.names:
            raise ImageError(images, "holds one picture; give more, to train on and to judge by")
    return pictures, held_out_images(judged, cut, command.report)


def _train(values: flags.FlagValues) -> int:
    # Pillow warns of odd files; in threads that is settled here, once.
    warnings.filterwarnings("ignore", module="PIL")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    keep_compiled_programs()
    with meeting(values, Console()):
        plan = plan_from(values)
        if plan.output.exists() and not (plan.training_folder / "state").exists():
            raise command.UsageError(
                f"--output_dir={plan.output}: exists already, and no training that could go on lies beside it; give "
                "another folder"
            )
        count = sum(leaf.size for leaf in jax.tree.leaves(plan.start.params))
        command.report(
            f"{count:,} parameters, {plan.start.prediction} in {plan.start.dtype}; {len(plan.pictures.names)} pictures "
            f"to train on, {len(plan.heldout)} to judge by"
        )
        signal = train(plan, command.report)
    return 0 if signal is None else 128 + signal


def main(arguments: Sequence[str]) -> int:
    """Runs the command with these arguments (`sys.argv[1:]`); returns the exit code."""
    codes: list[int] = []

    def run(values: flags.FlagValues) -> None:
        try:
            codes.append(_train(values))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            what = error.strerror or str(error)
            raise command.UsageError(f"{where}{what}; what was saved before is kept") from error

    try:
        code = command.run(PROGRAM, str(__doc__), define_flags(), run, arguments)
    except KeyboardInterrupt:
        command.report(f"{PROGRAM}: interrupted; the same command goes on from the last state")
        return 130
    return codes[0] if codes else code
