"""What is in the folder that outputs go to, before anything is written: of this machine, or of an object store.

Names are given by one rule for both, see `diip_jax.launch.naming`. A folder is listed once and a record read once,
however many images there are.
"""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from diip_jax.run.store import Mirror, is_url

# Bytes of a path that no file system refuses for its length.
_SHORT = 250


def read_record(path: Path) -> dict[str, Any] | None:
    """A record that this program wrote, or None where there is none: nothing of that name, or something else."""
    try:
        return _record_in(path.read_bytes())
    except OSError:
        return None


def _record_in(data: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(data)
        parts = (record["input"], record["settings"], record["versions"])
    except (ValueError, KeyError, TypeError):
        return None
    ours = all(isinstance(part, dict) for part in parts)
    return record if ours and isinstance(parts[0].get("sha256"), str) and "diip_jax" in parts[2] else None


def _as_path(address: str) -> Path:
    return Path(f"/{address.replace('://', '/')}" if is_url(address) else address)


class Known(NamedTuple):
    """What a record says of its input.

    Attributes:
        source: its place, see `Outputs.place`; None where the record does not say, or nothing is there any more.
    """

    source: Path | None
    sha256: str


class Outputs:
    """The output folder of a run, on this machine.

    Args:
        folder: it need not exist.
        address: what names an input for good: its absolute path, or its address in a store.
        there: whether an input of such a name is still there.
    """

    def __init__(
        self,
        folder: Path,
        address: Callable[[Path], str] = os.path.abspath,
        there: Callable[[str], bool] = os.path.exists,
    ) -> None:
        self.folder = folder
        self.address = address
        self._there = there
        self._folders: dict[str, dict[str, bool] | None] = {}
        self._folded: dict[str, set[str]] = {}
        self._checked: set[str] = set()
        self._above = "" if folder == Path() else f"{folder}{os.sep}"
        # The same place is asked for several things in a row.
        self._last, self._last_split = Path(), ("", "")
        self._known: dict[str, Known | None] = {}

    def place(self, path: Path) -> Path:
        """An absolute path that stands for an input when it is named; of an object one made of its address."""
        return _as_path(self.address(path))

    def listed(self, folder: str) -> dict[str, bool] | None:
        """Names in a folder, relative to this one, and whether they are folders; None where there is no such folder.

        Raises OSError where there can be no output folder of this name, or it may not be read.
        """
        if folder not in self._folders:
            self._folders[folder] = self._list(folder)
        return self._folders[folder]

    def _list(self, folder: str) -> dict[str, bool] | None:
        try:
            with os.scandir(os.path.join(self.folder, folder)) as entries:
                return {entry.name: entry.is_dir() for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            if not folder:
                raise  # nothing can be written at all
            return {}  # said where it is to be written

    def holds(self, path: Path) -> bool:
        """Whether something is at the place of an output."""
        folder, name = self._split(path)
        there = self.listed(folder)
        if not there or name in there:
            return bool(there)
        if folder not in self._folded:
            self._folded[folder] = {name.casefold() for name in there}
        return name.casefold() in self._folded[folder] and self._ignores_case(path)

    def _ignores_case(self, path: Path) -> bool:
        return os.path.lexists(path)

    def is_folder(self, path: Path) -> bool:
        """Whether that is a folder."""
        folder, name = self._split(path)
        return (self.listed(folder) or {}).get(name, False)

    def _split(self, path: Path) -> tuple[str, str]:
        if path is not self._last:
            self._last, self._last_split = path, os.path.split(os.fspath(path).removeprefix(self._above))
        return self._last_split

    def known(self, stem: str) -> Known | None:
        """What the record of this name says, relative to the folder and without its ending; None where none is ours."""
        if stem not in self._known:
            folder, name = os.path.split(stem)
            there = f"{name}.json" in (self.listed(folder) or ())
            record = self._record(f"{stem}.json") if there else None
            facts = None if record is None else Known(self._source(record, folder), record["input"]["sha256"])
            self._known[stem] = facts
        return self._known[stem]

    def _record(self, name: str) -> dict[str, Any] | None:
        return read_record(self.folder / name)

    def _source(self, record: dict[str, Any], folder: str) -> Path | None:
        given = record["input"].get("path")
        if not isinstance(given, str):
            return None
        address = given if is_url(given) else self._absolute(given, folder)
        return _as_path(address) if address is not None and self._there(address) else None

    def _absolute(self, given: str, folder: str) -> str | None:
        return os.path.abspath(os.path.join(os.path.abspath(self.folder), folder, given))

    def read(self, path: Path) -> bytes:
        """What is at the place of an output. Raises OSError or StoreError."""
        return path.read_bytes()

    def identity(self, path: Path) -> Any:
        """Equal for two names of one file: a link, or another case where the file system ignores case."""
        try:
            status = os.stat(path)
            return status.st_dev, status.st_ino
        except OSError:
            return self.address(path)

    def check_name(self, path: Path) -> None:
        """Raises OSError for a name that no file of the folder can have, NotADirectoryError below what is no folder."""
        folder, name = self._split(path)
        short = len(os.fsencode(path)) < _SHORT
        if short and (folder in self._checked or self.listed(folder) is not None):
            return
        there = next(parent for parent in (path.parent, *path.parent.absolute().parents) if parent.exists())
        if not there.is_dir():
            if there == self.folder or there in self.folder.absolute().parents:
                return  # no output can be written there, which is said once
            raise NotADirectoryError(0, f"{there} is no folder")
        for place in (path, there / name):  # the first alone does not show a long name in a missing folder
            with contextlib.suppress(FileNotFoundError):
                os.lstat(place)
        self._checked.add(folder)


class StoredOutputs(Outputs):
    """The output folder of a run in an object store, which has a name alone for what is a folder elsewhere.

    Args:
        mirror: whose names were looked up.
        address, there: as those of `Outputs`.
    """

    def __init__(self, mirror: Mirror, address: Callable[[Path], str], there: Callable[[str], bool]) -> None:
        super().__init__(mirror.folder, address, there)
        self._mirror = mirror
        folders: dict[str, dict[str, bool] | None] = {"": {}}
        for name in mirror.names:
            folder, base = os.path.split(name)
            folders.setdefault(folder, {})[base] = False  # type: ignore[index]
        self._folders = folders

    def _list(self, folder: str) -> dict[str, bool] | None:
        return None

    def _record(self, name: str) -> dict[str, Any] | None:
        return _record_in(self._mirror.store.get(name))

    def _absolute(self, given: str, folder: str) -> str | None:
        # No way leads from a store to a file that is named relative to something.
        return given if os.path.isabs(given) else None

    def _ignores_case(self, path: Path) -> bool:
        return False

    def read(self, path: Path) -> bytes:
        return self._mirror.store.get(self._mirror.name(path))

    def identity(self, path: Path) -> Any:
        inside = path.is_relative_to(self._mirror.folder)
        return f"{self._mirror.store.url}/{self._mirror.name(path)}" if inside else self.address(path)

    def check_name(self, path: Path) -> None:
        """Every name can be given."""
