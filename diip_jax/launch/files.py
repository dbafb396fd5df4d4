"""Where the files of a run are: here, or in object stores, from which they are brought and to which they are taken."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diip_jax.command import expanded
from diip_jax.images import EXTENSIONS, ImageError, find_images, is_whole, left_out
from diip_jax.launch.outputs import Outputs, StoredOutputs
from diip_jax.launch.plan import Job, Run
from diip_jax.run.store import Mirror, Store, StoreError, is_url


class Files:
    """Inputs and outputs of a run, each a file or an object of a store.

    An object has a place in a scratch folder, where the rest of the program finds and leaves it; it is there only while
    its image is on the way.

    Args:
        scratch: an empty folder; unused without stores.
        shared: others may write outputs meanwhile.
    """

    def __init__(self, scratch: Path, shared: bool = False) -> None:
        self._scratch, self.shared = scratch, shared
        self._inputs: list[Mirror] = []
        self._output: Mirror | None = None

    @property
    def output(self) -> Mirror | None:
        """The store that outputs go to, if they do."""
        return self._output

    def find(self, given: Sequence[str]) -> tuple[list[Path], list[ImageError]]:
        """`find_images`, also of addresses: an object, or all pictures below one."""
        paths, errors = [], []
        for one in given:
            found, failed = self._of_store(one) if is_url(one) else find_images([one])
            paths += found
            errors += failed
        each: dict[str, Path] = {}
        for path in paths:
            each.setdefault(os.path.abspath(path), path)
        return list(each.values()), errors

    def left_out(self, given: Sequence[str]) -> str | None:
        """`left_out` of the files among them."""
        return left_out([one for one in given if not is_url(one)])

    def _of_store(self, url: str) -> tuple[list[Path], list[ImageError]]:
        mirror = Mirror(Store(url), self._scratch / f"in{len(self._inputs)}")
        single = mirror.names == {""}
        if single:
            # An object by itself has the name that it has in its folder.
            folder, _, name = url.rstrip("/").rpartition("/")
            mirror = Mirror(Store(folder), mirror.folder, [name])
            found = [name]
        else:
            found = sorted(name for name in mirror.names if Path(name).suffix.lower() in EXTENSIONS)
        if not found:
            return [], [ImageError(url, f"holds no image; expected names ending in {', '.join(sorted(EXTENSIONS))}")]
        self._inputs.append(mirror)
        return [mirror.path(name) for name in found], []

    def output_dir(self, given: str) -> Path:
        """The folder that outputs are written to on this machine."""
        if not is_url(given):
            return expanded("output_dir", given)
        self._output = Mirror(Store(given), self._scratch / "out")
        return self._output.folder

    def outputs(self, folder: Path) -> Outputs:
        """What is in the folder of the outputs, as it is now."""
        if self._output is None:
            return Outputs(folder, self.address, self._there)
        return StoredOutputs(self._output, self.address, self._there)

    def address(self, path: Path) -> str:
        """What names an input for good: its address in a store, or its absolute path."""
        for mirror in self._inputs:
            if path.is_relative_to(mirror.folder):
                return f"{mirror.store.url}/{mirror.name(path)}"
        return os.path.abspath(path)

    def _there(self, address: str) -> bool:
        """Whether an input is still there."""
        if not is_url(address):
            return os.path.exists(address)
        folder, _, name = address.rpartition("/")
        for mirror in self._inputs:
            if address.startswith(f"{mirror.store.url}/") and address[len(mirror.store.url) + 1 :] in mirror.names:
                return True
        try:
            return Store(folder).holds(name)
        except StoreError:
            return True  # one that cannot be asked may have it

    def places(self) -> list[str]:
        """The addresses of the stores that inputs come from, for `at`."""
        return [mirror.store.url for mirror in self._inputs]

    @classmethod
    def at(cls, places: Sequence[str], scratch: Path) -> "Files":
        """The same places in another process, for jobs that come by `portable` and `arrived`."""
        files = cls(scratch)
        files._inputs = [Mirror(Store(url), scratch / f"in{n}", ()) for n, url in enumerate(places)]
        return files

    def portable(self, job: Job) -> dict[str, str | None]:
        """A job for another process."""
        paths = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
        return {name: self._portable(path) if isinstance(path, Path) else path for name, path in paths.items()}

    def _portable(self, path: Path) -> str:
        inside = path.is_relative_to(self._scratch)
        return f"scratch:{path.relative_to(self._scratch)}" if inside else os.path.abspath(path)

    def arrived(self, job: dict[str, str | None]) -> Job:
        """A job that another process has made portable."""

        def path(text: str | None) -> Path | None:
            if text is None:
                return None
            inside = text.startswith("scratch:")
            return self._scratch / text.removeprefix("scratch:") if inside else Path(text)

        given: dict[str, Any] = {name: text if name == "stem" else path(text) for name, text in job.items()}
        return Job(**given)

    def shown(self, text: str) -> str:
        """A line for the user, with addresses for places in the scratch folder."""
        for mirror in [*self._inputs, *([self._output] if self._output else [])]:
            text = text.replace(f"{mirror.folder}{os.sep}", f"{mirror.store.url}/").replace(
                str(mirror.folder), mirror.store.url
            )
        return text

    def whole(self, path: Path) -> bool:
        """Whether an output is, where there is one; a store has whole objects, and what `bring` makes is no picture."""
        return self._output is not None or is_whole(path)

    def named(self, job: Job) -> str:
        """What its record calls the input of a job: its address, or its place relative to the record's folder.

        The two may then be moved together. From a record in a store no way leads to a file: that has its whole path.
        """
        address = self.address(job.path)
        if is_url(address) or self._output is not None:
            return address
        return os.path.relpath(address, os.path.abspath(job.folder))

    def bring(self, job: Job, run: Run) -> None:
        """Brings the input, and what `finished` wants to see of the outputs. In a thread. Raises StoreError."""
        for mirror in self._inputs:
            if job.path.is_relative_to(mirror.folder):
                mirror.fetch(job.path)
        self.bring_outputs(job, run)

    def bring_outputs(self, job: Job, run: Run) -> None:
        """The latter alone. Raises StoreError."""
        record = job.output(".json")
        if self._output is not None and run.skip_existing and self._is_stored(record):
            self._output.fetch(record)
            for path in [*job.snapshots(run), *job.outputs(run)]:
                if self._is_stored(path):
                    path.touch()

    def _is_stored(self, path: Path) -> bool:
        assert self._output is not None
        name = self._output.name(path)
        return name in self._output.names or (self.shared and self._output.store.holds(name))

    def loaded(self, job: Job, run: Run) -> None:
        """Nothing that was brought of a job is needed any more. In a thread."""
        for mirror in self._inputs:
            if job.path.is_relative_to(mirror.folder):
                job.path.unlink(missing_ok=True)
        self.clear(job, run)

    def publish(self, job: Job, run: Run) -> None:
        """Takes the outputs of a job to their store, the record last. In a thread. Raises StoreError."""
        if self._output is None:
            return
        outputs = [*job.snapshots(run), *job.outputs(run)]
        record = outputs[-1]
        if (name := self._output.name(record)) in self._output.names:
            # It would speak of files that are no longer its own.
            self._output.store.remove(name)
        for output in outputs:
            if output.is_file():
                self._output.publish(output)
        self.clear(job, run)

    def clear(self, job: Job, run: Run) -> None:
        """Nothing that was brought of the outputs is needed any more."""
        if self._output is not None:
            for path in [*job.snapshots(run), *job.outputs(run)]:
                path.unlink(missing_ok=True)
