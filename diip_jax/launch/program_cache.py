"""Compiled programs on disk, for later runs of the same shapes and settings."""

import os
from pathlib import Path

import jax

from diip_jax.images import ImageError, check_writable
from diip_jax.machine import cpu_kind

MAX_BYTES = 10**9


def keep_compiled_programs() -> None:
    """Lets a later run fetch its programs instead of compiling them; without a writable home that is left out.

    The folder is kept below `MAX_BYTES`, for all kinds of CPU together, here and not by
    `jax_compilation_cache_max_size`: that option needs a package that JAX does not install (filelock), and fails on
    entries that were written without it.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        programs = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diip_jax" / "xla"
        # Machines of several kinds may have one home, and JAX does not tell programs of one CPU from another's.
        folder = programs / cpu_kind()
        check_writable(folder)
        remove_oldest(programs, MAX_BYTES)
    except (ImageError, OSError, RuntimeError):  # RuntimeError: neither HOME nor an entry for the user
        return  # it only costs the compilation
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def remove_oldest(folder: Path, limit: int) -> None:
    """Removes the files below a folder that were not used for longest, until the others have at most `limit` bytes."""
    files = []
    for path in folder.rglob("*"):
        try:
            status = path.stat()
        except FileNotFoundError:  # another run removes files, too
            continue
        if path.is_file():
            # The time of the last access stands still on some file systems; it is then never before that of writing.
            files.append((max(status.st_atime_ns, status.st_mtime_ns), status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size
