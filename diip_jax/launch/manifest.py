"""Lists of images from a file: a row for each, with its seed and its method's settings.

CSV with a header, JSON lines, or Parquet (needs pyarrow). The columns are `path`, relative to the folder of the file,
`seed`, and flags of the method, such as `method`, `degradation` or `max_iterations`. What a row leaves out, or empty,
is that of the command line.
"""

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diip_jax.command import UsageError
from diip_jax.launch.flag_table import METHOD_HELP

_SETTINGS = {"method", "preset", *METHOD_HELP}


@dataclass(frozen=True)
class Row:
    """An image of a list.

    Attributes:
        where: the file and the number of the row, from 1, for messages.
        seed: None: the command line's.
        settings: flags of the method, as the command line has them.
    """

    where: str
    path: Path
    seed: int | None
    settings: tuple[str, ...]


def read_manifest(path: Path) -> list[Row]:
    """The rows of a list.

    Raises:
        UsageError: it cannot be read, has no rows, names an image twice, or a row has no path, a seed that is none or
            an unknown column.
    """
    try:
        rows = list(_row(f"{path}, row {n}", path.parent, facts) for n, facts in enumerate(_facts(path), 1))
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise UsageError(f"--manifest={path}: cannot be read ({error}); give CSV, JSON lines or Parquet") from error
    if not rows:
        raise UsageError(f"--manifest={path}: has no rows; give a header and a row for each image")
    first: dict[str, Row] = {}
    for row in rows:
        if (other := first.setdefault(os.path.normpath(row.path), row)) is not row:
            raise UsageError(
                f"--manifest: {row.where} has {row.path}, as has {other.where}; give each image one row, "
                "and other settings for it another list and --output_dir"
            )
    return rows


def _facts(path: Path) -> Iterator[dict[str, Any]]:
    kind = path.suffix.lower()
    if kind == ".parquet":
        yield from _parquet(path)
    elif kind in (".jsonl", ".ndjson", ".json"):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.strip():
                    yield json.loads(line)
    elif kind == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.DictReader(file, restkey="more cells than the header", strict=True)
    else:
        raise UsageError(f"--manifest={path}: expected a name that ends in .csv, .jsonl or .parquet")


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UsageError('--manifest of Parquet needs pyarrow; run: pip install "diip_jax[parquet]"') from error
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except ArrowException as error:
        raise UsageError(f"--manifest={path}: is not Parquet that can be read ({error})") from error


def _row(where: str, folder: Path, facts: Any) -> Row:
    if not isinstance(facts, dict):
        raise UsageError(f"--manifest: {where} is {facts!r}: expected an object with path, seed and settings")
    given = {name: value for name, value in facts.items() if value is not None and value != ""}
    path, seed = given.pop("path", None), given.pop("seed", None)
    if not isinstance(path, str):
        raise UsageError(f"--manifest: {where} has no path; give the column path")
    if unknown := [name for name in given if name not in _SETTINGS]:
        raise UsageError(f"--manifest: {where} has {unknown[0]!r}: expected path, seed or a flag of the method")
    if seed is not None and not (isinstance(seed, int | str) and str(seed).isdecimal() and int(seed) < 2**32):
        raise UsageError(f"--manifest: {where} has seed={seed}: expected a whole number from 0 to 2^32 - 1")
    settings = tuple(f"--{name}={_text(value)}" for name, value in sorted(given.items()))
    return Row(where, folder / path, None if seed is None else int(seed), settings)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
