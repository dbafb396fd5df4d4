"""One run at a time in an output folder, or several that do the same: pictures and records of two are never mixed."""

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

NAME = ".diip_jax.lock"
_LEFTOVER = re.compile(r"\.[0-9a-f]{16}\.tmp")
# How long another run may take from having the folder alone to sharing it.
_PATIENCE = 2.0


class FolderTaken(Exception):
    """Another run writes into the folder; one line."""


@contextlib.contextmanager
def held(folder: Path, run: str, shared: bool) -> Iterator[bool]:
    """The folder is this run's inside. Yields whether the file system has locks: without them nobody is kept out.

    The lock is the kernel's, on a file in the folder: it ends with the process, however that ends.

    Args:
        folder: exists.
        run: what all runs that share the folder have in common: their settings.
        shared: other runs that share it are let in, too.

    Raises:
        FolderTaken: another run has it that does not share it, or does something else.
    """
    try:
        file = _locked(folder / NAME, run, shared)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            raise
        yield False
        return
    try:
        yield True
    finally:
        # The last one takes it away; no one who has opened it meanwhile takes it for the folder's, see `_locked`.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (folder / NAME).unlink(missing_ok=True)
        os.close(file)


def without_leftovers(folder: Path) -> None:
    """Takes away what writers left that were killed (`diip_jax.images.write_bytes`); nobody may be writing there."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _LEFTOVER.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    os.unlink(entry)


def _locked(path: Path, run: str, shared: bool) -> int:
    began = time.monotonic()
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if _alone(file):
                if _is(file, path):
                    os.truncate(file, 0)
                    os.pwrite(file, run.encode(), 0)
                    if shared:
                        fcntl.flock(file, fcntl.LOCK_SH)
                    return file
            elif shared and _beside(file):
                if _is(file, path):
                    if (theirs := os.pread(file, 1 << 16, 0).decode()) != run:
                        raise FolderTaken(f"{path.parent}: another run writes here with other settings ({theirs})")
                    return file
            elif not shared or time.monotonic() - began > _PATIENCE:
                raise FolderTaken(f"{path.parent}: another run writes here; wait for it, or choose another folder")
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        time.sleep(0.02)


def _alone(file: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _beside(file: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True
    return False


def _is(file: int, path: Path) -> bool:
    """Whether the open file is still the one of that name: its last user may have taken it away."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(file)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
