"""The rules of TUF for a board: which version it may believe (TUF specification section 5).

Rules:

* The root that the board was given at manufacture is where trust begins; it is never replaced, newer roots are walked
  to from it, one by one. Everything else is python-tuf's client workflow.
* Nothing is believed that an offline key has not signed, or delegated to whoever has.
* Metadata that is older than what this board has, or has expired, means "ask the next server" (``StaleError``), not
  "attack": a server that was away for a while has it. What does not verify is ``UntrustedError``.
* Time is judged as ``floor`` says, so no clock is needed.
* What was verified is on disk, durably, before it is used, so that no restart falls behind it. The files are plain
  TUF metadata: ``root.json``, ``timestamp.json``, ``snapshot.json``, ``targets.json`` and one for each delegated role.
* One refresh is one ``Trusted``, a consistent set; a later one is asked for anew. Not thread-safe, one process.
"""

import contextlib
import datetime as dt
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
from tuf.api import exceptions
from tuf.api.metadata import Root, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from boardwright.errors import BoardwrightError, UnreachableError
from boardwright.trust.errors import StaleError, UntrustedError
from boardwright.trust.floor import FIELD, Floor, now, signed_time
from boardwright.trust.names import ROOT

MAX_FLOOR_BYTES = 16 * 1024  # a hundred online keys
FLOOR = "floor"  # no .json: a delegated role of that name has its own file
Write = Callable[[Path, bytes], None]


class SignedTarget:
    """A file that a trusted role names: its path, length in bytes, SHA-256 (hex) and what its signer says of it."""

    def __init__(self, info: TargetFile) -> None:
        self._info = info
        self.path = info.path
        self.length = info.length
        self.hashes: dict[str, str] = dict(info.hashes)
        self.custom: dict[str, Any] = info.custom or {}

    def check_bytes(self, data: bytes) -> None:
        """Raise UntrustedError unless these bytes are what was signed."""
        self.check(io.BytesIO(data))

    def check(self, file: IO[bytes]) -> None:
        """Raise UntrustedError unless the file's bytes are what was signed."""
        try:
            self._info.verify_length_and_hashes(file)
        except exceptions.LengthOrHashMismatchError as error:
            raise UntrustedError(f"{self.path} is not what was signed") from error


class Trusted:
    """One consistent set of verified metadata; delegated roles are brought when they are needed."""

    def __init__(self, updater: "_Workflow") -> None:
        self._updater = updater
        self.hash_prefixed = bool(updater.root.consistent_snapshot)

    def find(self, path: str) -> SignedTarget | None:
        """The file at `path`, by the most trusted role that names it; raises as ``Verifier.refresh``."""
        with _our_errors(f"looking for {path}"):
            try:
                info = self._updater.get_targetinfo(path)
            except _NothingSignedError:
                return None
        return None if info is None else SignedTarget(info)


class Verifier:
    """Trusted metadata in `directory`, which must exist and hold ``root.json`` if no `root` is given.

    `write` replaces a file durably; `wall` is the system clock in seconds since the epoch, `monotonic` in seconds.
    """

    def __init__(
        self,
        directory: Path,
        *,
        write: Write,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        root: bytes | None = None,
    ) -> None:
        self._directory = directory
        self._write = write
        self._wall = wall
        self._monotonic = monotonic
        self._root = root
        self._floor = _read_floor(directory / FLOOR)
        self._learnt = monotonic()

    @property
    def now(self) -> float:
        """Seconds since the epoch as this board judges them."""
        return now(self._wall(), self._floor, self._monotonic() - self._learnt)

    @property
    def era(self) -> int:
        """How often an online key was dropped: what such a key may have said before counts no more."""
        return self._floor.era

    def refresh(self, fetcher: FetcherInterface, url: str) -> Trusted:
        """Bring the newest metadata from below `url`.

        Raises StaleError, UntrustedError (the next server may do better), UnreachableError, OSError (this disk).
        """
        with _our_errors(f"refreshing signed metadata from {url}"):
            workflow = _Workflow(self, fetcher, url, self._root)
            workflow.refresh()
        time = signed_time(workflow.timestamp.unrecognized_fields.get(FIELD))
        if time is not None and time > self._floor.time:
            self._keep(self._floor.seen(time))
            self._learnt = self._monotonic()
        return Trusted(workflow)

    def under(self, keys: frozenset[str]) -> dt.datetime:
        """The time under these online keys; a floor that one of them gave who is not among them any more is gone."""
        floor = self._floor.under(keys)
        if floor != self._floor:
            self._keep(floor)
        return dt.datetime.fromtimestamp(self.now, dt.UTC)

    def replace(self, path: Path, data: bytes) -> None:
        """Write a metadata file durably."""
        self._write(path, data)

    @property
    def directory(self) -> Path:
        return self._directory

    def _keep(self, floor: Floor) -> None:
        self._write(self._directory / FLOOR, msgspec.json.encode(floor))
        self._floor = floor


class _NothingSignedError(exceptions.RepositoryError):
    """A role that is delegated, and not in the snapshot."""


class _Workflow(Updater):
    """python-tuf's client workflow with durable files and this board's idea of time.

    It reaches into four private places of python-tuf (files, the link to root, the reference time, delegated roles),
    which therefore is pinned to one minor release.
    """

    def __init__(self, verifier: Verifier, fetcher: FetcherInterface, url: str, root: bytes | None) -> None:
        self._verifier = verifier
        super().__init__(str(verifier.directory), url, fetcher=fetcher, config=UpdaterConfig(), bootstrap=root)

    @property
    def root(self) -> Root:
        return self._trusted_set.root

    @property
    def timestamp(self) -> Timestamp:
        return self._trusted_set.timestamp

    def _load_root(self) -> None:
        super()._load_root()
        online = frozenset(self.root.roles["timestamp"].keyids) | frozenset(self.root.roles["snapshot"].keyids)
        self._trusted_set.reference_time = self._verifier.under(online)

    def _load_targets(self, role: str, parent_role: str) -> Targets:
        """A role that was delegated and has signed nothing yet names nothing; to python-tuf it would be an error."""
        if parent_role != ROOT and f"{role}.json" not in self._trusted_set.snapshot.meta:
            raise _NothingSignedError(f"role {role} has signed nothing")
        return super()._load_targets(role, parent_role)

    def _persist_file(self, filename: str, data: bytes) -> None:
        path = Path(filename)
        with contextlib.suppress(OSError):
            if not path.is_symlink() and path.read_bytes() == data:
                return
        self._verifier.replace(path, data)

    def _update_root_symlink(self) -> None:
        """A copy instead of a link: replacing a file is one step, removing and linking are two."""
        current = self._verifier.directory / "root_history" / f"{self.root.version}.root.json"
        self._persist_file(str(self._verifier.directory / "root.json"), current.read_bytes())


@contextlib.contextmanager
def _our_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except (exceptions.ExpiredMetadataError, exceptions.BadVersionNumberError) as error:
        raise StaleError(f"{doing}: it is older than what this board has, or has expired") from error
    except exceptions.RepositoryError as error:
        raise UntrustedError(f"{doing}: it is not signed by whom this board trusts") from error
    except exceptions.DownloadLengthMismatchError as error:
        raise UntrustedError(f"{doing}: more bytes come than were signed") from error
    except exceptions.DownloadError as error:
        raise UnreachableError(f"{doing}: it cannot be brought") from error
    except BoardwrightError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UntrustedError(f"{doing}: it is not of the form of signed metadata") from error


def _read_floor(path: Path) -> Floor:
    """The floor on disk, or none: losing it loses the protection against a clock in the past until the next refresh."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_FLOOR_BYTES), type=Floor)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return Floor()
