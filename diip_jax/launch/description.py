"""What a run would do: `--dry_run`."""

from collections.abc import Sequence

from diip_jax.launch.console import Console
from diip_jax.launch.failures import explain
from diip_jax.launch.files import Files
from diip_jax.launch.loading import load
from diip_jax.launch.plan import Job, Run, asked_of, finished
from diip_jax.prior import Prior
from diip_jax.run.summary import Summary


def describe(jobs: Sequence[Job], run: Run, prior: Prior, files: Files, console: Console, summary: Summary) -> None:
    """Says of every image what would be done with it, having read it."""
    height, width, channels = prior.image_shape
    source, sha256 = prior.provenance.source or "of unknown source", prior.provenance.params_sha256
    console.line(f"prior: {source}, {height}x{width}x{channels}, sha256 {sha256}")
    console.line(
        "settings: "
        + ", ".join(f"{name}={value}" for name, value in run.settings(prior).items())
        + f", seed={run.seed}, batch_size={run.batch_size or 'auto'}"
    )
    asked = asked_of(run, prior)
    for job in jobs:
        try:
            files.bring(job, run)
            skip, why = finished(job, run, asked, files.whole) if run.skip_existing else (False, None)
            item = load(job, run, prior, files)
        except Exception as error:  # as in a run: the other images are looked at all the same
            summary.failures["input"] += 1
            console.error(files.shown(explain(job, error, run)))
            continue
        finally:
            files.loaded(job, run)
        facts = [f"{item.image.size[0]}x{item.image.size[1]} {item.image.mode}", *item.image.notes]
        if item.image.size != item.y.shape[:2]:
            content = "x".join(str(side // run.operator.scale) for side in item.fitted.content[2:])
            facts.append(f"{run.resize} to {content} of {item.y.shape[0]}x{item.y.shape[1]}")
        if item.y.shape != item.input.shape:
            restored = item.fitted.content[2:] if run.resize == "keep" else item.input.shape[:2]
            facts.append(f"restored to {restored[0]}x{restored[1]}")
        facts += [f"{name} {path}" for name, path in (("reference", job.reference), ("mask", job.mask)) if path]
        if why:
            facts.append(f"was {why}")
        endings = ",".join(output.name.removeprefix(job.stem) for output in job.outputs(run))
        todo = "skip, finished" if skip else f"restore to {job.output(f'{{{endings}}}')}"
        if run.save_every and not skip:
            most = len(job.snapshots(run))
            todo += f" and up to {most} snapshot{'' if most == 1 else 's'}"
        console.line(files.shown(f"{job.path}: {'; '.join(facts)}: {todo}"))
