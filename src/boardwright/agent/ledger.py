"""What the agent knows across restarts: ``STATE_DIR/ledger.json``.

Rules:

* The file is replaced as a whole, durably, before the actions of a step are carried out.
* It carries a schema version. Fields of a newer release are ignored and kept, so that the release before can read the
  file, and the newer one finds its fields again.
* A group whose record cannot be read is left out: what is in place on the disk is adopted. A file that cannot be read
  at all is set aside as ``ledger.json.unreadable``. Neither stops the agent: a board must come up.
* Losing the file loses the memory of bad versions, of the generation and of the rollback target, nothing else.
"""

import contextlib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from boardwright.agent.deployment import Deployment, Failed
from boardwright.agent.downloads import Account
from boardwright.transfer.durable import write_durably

SCHEMA = 1
NAME = "ledger.json"
Kind = TypeVar("Kind")
MAX_SERVERS = 64  # twice the control boards of a large cluster; anybody can send an offer


class KnownServer(msgspec.Struct, frozen=True):
    """A server that has answered, and where its API is."""

    api: str


class Record(msgspec.Struct, frozen=True):
    """The ledger's content. `generation` is the highest plan taken, `sequence` that of the last report.

    `era` is the one in which that plan was signed: in another one generation and retries begin anew.
    `retry` is the highest count of retries that the board has heard of: what was bad before it is forgotten.
    `accounts` are those of downloads that are over, so that a board that restarts still says where it got what it runs.
    """

    schema: int = SCHEMA
    generation: int = 0
    era: int = 0
    sequence: int = 0
    retry: int = 0
    servers: dict[str, KnownServer] = {}
    groups: dict[str, Deployment] = {}
    accounts: dict[str, Account] = {}


class Ledger:
    """The ledger of one board in `state_dir`, which must exist."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / NAME
        self._read: dict[str, Any] = {}
        self._written = b""

    def load(self) -> Record:
        """The record on disk, or an empty one. Raises OSError only if the disk fails."""
        data = self._from_disk()
        if data is None:
            return Record()
        try:
            raw = msgspec.json.decode(data)
            if not isinstance(raw, dict):
                raise msgspec.ValidationError("the ledger is not an object")
            groups, accounts = raw.pop("groups", {}), raw.pop("accounts", {})
            record = msgspec.convert(raw, Record, strict=False)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
            self.path.replace(self.path.with_name(NAME + ".unreadable"))
            return Record()
        raw["groups"] = groups if isinstance(groups, dict) else {}
        self._read = raw
        return msgspec.structs.replace(
            record, groups=_readable(groups, Deployment), accounts=_readable(accounts, Account)
        )

    def save(self, record: Record) -> None:
        """Replace the file durably; does nothing if nothing changed. Raises OSError."""
        groups = {group: _lasting(deployment) for group, deployment in record.groups.items()}
        document = _over(self._read, msgspec.to_builtins(msgspec.structs.replace(record, groups=groups)))
        document["schema"] = SCHEMA
        read_groups = self._read.get("groups", {})
        document["groups"] = {
            group: _over(read_groups.get(group), entry) for group, entry in document["groups"].items()
        }
        data = msgspec.json.encode(document, order="deterministic")
        if data != self._written:
            self._to_disk(data)
            self._written = data

    def _from_disk(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def _to_disk(self, data: bytes) -> None:
        write_durably(self.path, data)


def _readable(entries: object, kind: type[Kind]) -> dict[str, Kind]:
    """The entries by group that this release can read."""
    found: dict[str, Kind] = {}
    for group, entry in entries.items() if isinstance(entries, dict) else ():
        with contextlib.suppress(msgspec.ValidationError):
            found[group] = msgspec.convert(entry, kind, strict=False)
    return found


def _lasting(deployment: Deployment) -> Deployment:
    """Without deadlines, which mean nothing after a restart, but for failed: there it says that a retry will come."""
    if isinstance(deployment.phase, Failed) or deployment.phase.deadline is None:
        return deployment
    phase = msgspec.structs.replace(deployment.phase, deadline=None)
    return msgspec.structs.replace(deployment, phase=phase)


def _over(old: object, new: dict[str, Any]) -> dict[str, Any]:
    """`new` with those keys of `old` that it does not have: fields of a newer release."""
    return {**old, **new} if isinstance(old, dict) else dict(new)
