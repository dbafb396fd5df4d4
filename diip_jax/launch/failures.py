"""What went wrong with an image: in words, and what it is counted under."""

import errno

from diip_jax.images import ImageError
from diip_jax.launch.output_files import Diverged
from diip_jax.launch.plan import Job, Run
from diip_jax.run.store import StoreError


class DiskFull(Exception):
    """No room is left for outputs: the images to come would be restored for nothing."""


def explain(job: Job, error: Exception, run: Run, at_once: int = 1) -> str:
    """One line on why a job failed.

    Args:
        at_once: how many images were restored together.
    """
    if isinstance(error, ImageError | StoreError):
        return str(error)
    text = (str(error).strip().splitlines() or [""])[0][:300]
    if _out_of_memory(error):
        smaller = "use --dtype=bfloat16 or a smaller prior"
        given = f"lower --batch_size={run.batch_size}" if run.batch_size else f"use --batch_size={at_once // 2}"
        remedy = given if at_once > 1 else smaller
        return f"{job.path}: out of memory; {remedy}"
    return f"{job.path}: {type(error).__name__}: {text}"


def cause_of(error: Exception, stage: str) -> str:
    """What a failure is counted under: its stage, or what is more telling."""
    if isinstance(error, Diverged):
        return "diverged"
    return "out_of_memory" if _out_of_memory(error) else stage


def no_room(error: BaseException | None) -> bool:
    """Whether it came from a full disk, or a quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()
