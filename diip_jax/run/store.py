"""Folders of object stores (s3://, gs://, memory://), by fsspec: whole objects in, whole objects out.

Nothing is opened for writing: an exception between opening and closing would publish half an object. Nothing is
renamed: a store copies instead.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LEASES = ".diip_jax_leases"
# A run that is killed leaves its lease: others wait that long. It is renewed well before.
_LEASE_SECONDS, _RENEWAL_SECONDS = 600.0, 120.0


class StoreError(ValueError):
    """A store cannot be reached, or refuses; one line."""


class FolderLeased(StoreError):
    """Another run writes into the folder."""


def is_url(text: str) -> bool:
    """Whether it names something in a store, not a file."""
    return "://" in text


class Store:
    """A folder of a store. Objects are named relative to it.

    Args:
        url: such as "s3://bucket/photos".

    Raises:
        StoreError: no such kind of store, or the package that knows it is missing.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        try:
            import fsspec
        except ImportError as error:
            raise StoreError(f'{url}: object stores need fsspec; run: pip install "diip_jax[stores]"') from error
        try:
            self._files, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise StoreError(f"{url}: {error}") from error
        self._root = root.rstrip("/")

    def names(self, below: str = "") -> list[str]:
        """Of all objects in the folder and those below it, sorted; "" where the folder is an object itself."""

        def look() -> list[str]:
            self._files.invalidate_cache()
            found = self._files.find(f"{self._root}/{below}".rstrip("/"))
            return sorted(name.removeprefix(self._root).lstrip("/") for name in found)

        return self._do("", look)

    def holds(self, name: str) -> bool:
        """Whether there is such an object now."""

        def look() -> bool:
            self._files.invalidate_cache()
            return bool(self._files.exists(self._at(name)))

        return self._do(name, look)

    def get(self, name: str) -> bytes:
        """An object."""
        return self._do(name, lambda: self._files.cat_file(self._at(name)))

    def put(self, name: str, data: bytes) -> None:
        """The whole object by one request: others see all of it or what was there before."""
        self._do(name, lambda: self._files.pipe_file(self._at(name), data))

    def remove(self, name: str) -> None:
        """Takes an object away; it may be gone already."""

        def rm() -> None:
            try:
                self._files.rm_file(self._at(name))
            except FileNotFoundError:
                pass

        self._do(name, rm)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _do(self, name: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:  # each kind of store has its own
            what = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise StoreError(f"{self.url}/{name}: {what}; check the address and its rights") from error


@contextmanager
def leased(store: Store, run: str, shared: bool, clock: Callable[[], float] = time.time) -> Iterator[None]:
    """The folder is this run's inside, as by `diip_jax.run.folder.held`, among all that ask for it by this.

    A store has no locks. Each run writes a lease of its own and then looks for those of others: of two that come at the
    same moment none gets the folder, or one. A lease ends 10 minutes after its process was last heard of.

    Raises:
        FolderLeased: another run has the folder that does not share it, or does something else.
    """
    name = f"{_LEASES}/{secrets.token_hex(8)}.json"

    def write() -> None:
        lease = {"run": run, "shared": shared, "until": clock() + _LEASE_SECONDS}
        store.put(name, json.dumps(lease).encode())

    def renew() -> None:
        while not over.wait(_RENEWAL_SECONDS):
            try:
                write()
            except StoreError:
                continue  # the next time may do: the lease lasts for several of them

    write()
    over = threading.Event()
    renewing = threading.Thread(target=renew, name="lease", daemon=True)
    try:
        for other in store.names(_LEASES):
            if other == name or not (lease := _lease(store, other)) or lease["until"] < clock():
                continue
            if not (shared and lease["shared"]):
                raise FolderLeased(f"{store.url}: another run writes here; wait for it, or choose another folder")
            if lease["run"] != run:
                raise FolderLeased(f"{store.url}: another run writes here with other settings ({lease['run']})")
        renewing.start()
        yield
    finally:
        over.set()
        if renewing.is_alive():
            renewing.join()
        store.remove(name)


def _lease(store: Store, name: str) -> dict[str, Any] | None:
    """What another run has written; None where it has taken that away meanwhile."""
    try:
        return json.loads(store.get(name))
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


class Mirror:
    """A folder of a store, object by object in a folder of this machine, as far as it is needed there.

    Args:
        folder: whose files are this object's alone.
        names: of the objects that are there; None: they are looked up.
    """

    def __init__(self, store: Store, folder: Path, names: Iterable[str] | None = None) -> None:
        self.store, self.folder = store, folder
        self.names = frozenset(store.names() if names is None else names)

    def path(self, name: str) -> Path:
        """Where an object is, or would be."""
        return self.folder / name if name else self.folder

    def name(self, path: Path) -> str:
        """The object that such a file is, or would be."""
        return "" if path == self.folder else path.relative_to(self.folder).as_posix()

    def fetch(self, path: Path) -> None:
        """Brings an object."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.store.get(self.name(path)))

    def publish(self, path: Path) -> None:
        """Writes a file's object."""
        self.store.put(self.name(path), path.read_bytes())
