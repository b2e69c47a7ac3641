"""Backup and restore of the replicated state (design section 8; docs/operate/backup.md).

Rules:

* A backup is everything that the engine has at one revision, but for what ``model/backup.py`` leaves out.
* A restore is never seen half done. First the record ``RESTORING`` is written: while it is there no server believes the
  state (each serves its own copy) and no active changes it. Then everything else is made what the backup says; the last
  transaction brings the plan, its signatures and the end of ``RESTORING`` together. Who is cut off anywhere between
  leaves the record, and the next restore, of this backup or another, begins anew.
* The plan's generation is above every one that any server or board may have seen: above what all of them say, and not
  below the seconds since the epoch, because no cluster makes a plan a second for long. So boards that are off now, and
  were never heard, follow as well.
* What the operator has signed never goes back: of roots and roles the newest that the backup, the state and this
  server's own copy have is kept. Version numbers of what is signed here jump like the generation.
* The audit log goes on where it stands; into an empty one comes the backup's.
"""

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from boardwright import __version__, log
from boardwright.errors import ConflictError, RefusedError, UsageError
from boardwright.model.api import Restoration, Restored
from boardwright.model.audit import Act
from boardwright.model.backup import Backup, belongs, read_backup, write_backup
from boardwright.model.plan import Plan
from boardwright.server.audit_log import AuditedCommit
from boardwright.server.board_reports import BoardReports
from boardwright.server.facts import encoded
from boardwright.server.holdings import Holdings
from boardwright.server.mirror import Mirror
from boardwright.server.peers import Peers
from boardwright.server.publishing import SEEN_WITHIN
from boardwright.server.signing import Signing, signed_of
from boardwright.state.active import RESTORE_HINT, RestoringError
from boardwright.state.kv import KV, Entry, Transaction
from boardwright.state.records import (
    AUDIT,
    BOARDS,
    CATALOG,
    PLAN,
    POLICY,
    RESTORED,
    RESTORING,
    TRUST,
    TRUST_ROLES,
    RestoredRecord,
    RestoringRecord,
    root_key,
)
from boardwright.trust.names import PLANS, SNAPSHOT, TIMESTAMP
from boardwright.trust.online import SignedRoles

PUTS = 100  # of a transaction: etcd takes 128 operations, the fence and RESTORING among them
PUT_BYTES = 512 * 1024  # of a transaction, beside one large value: etcd takes requests of 1.5 MiB
MOST = 2**52  # generations that boards say are believed up to here: one that lies leaves as many again
_LAST = frozenset(f"{TRUST_ROLES}{name}" for name in (PLANS, SNAPSHOT, TIMESTAMP)) | {PLAN}
_log = log.get("server.restoring")


class Restoring:
    """`commit` is fenced by the lease, `audited` records who did it; `heard` answers generations that others say."""

    def __init__(  # noqa: PLR0913 - what a restore touches, each part handed in
        self,
        cluster: str,
        kv: KV,
        commit: Callable[[Transaction], int],
        audited: AuditedCommit,
        mirror: Mirror,
        holdings: Holdings,
        signing: Signing,
        heard: Callable[[], Iterable[int]],
    ) -> None:
        self._cluster = cluster
        self._kv = kv
        self._commit = commit
        self._audited = audited
        self._mirror = mirror
        self._holdings = holdings
        self._signing = signing
        self._heard = heard
        self._lock = threading.Lock()

    def backup(self) -> bytes:
        """The file; RestoringError if the state is not whole, or older than this server has seen it; EngineError."""
        snapshot = self._kv.range("")
        if self._mirror.doubt or any(entry.key == RESTORING for entry in snapshot.entries):
            raise RestoringError(f"there is nothing to back up: {self._mirror.doubt}", hint=RESTORE_HINT)
        entries = [(entry.key, entry.value) for entry in snapshot.entries]
        return write_backup(
            entries,
            cluster=self._cluster,
            generation=_plan(dict(entries)).generation,
            revision=snapshot.revision,
            at=self._signing.now,
            release=__version__,
        )

    def restore(self, wish: Restoration, act: Act) -> Restored:
        """Make the state what the backup says.

        UsageError (no backup), RefusedError (another cluster's, a state that is not empty, a key that may not sign),
        UntrustedError, ConflictError (somebody else restores, or this server is deposed), EngineError.
        """
        if not self._lock.acquire(blocking=False):
            raise ConflictError("a restore is under way at this server", hint="wait until it has ended")
        try:
            return self._restore(wish, act)
        finally:
            self._lock.release()

    def _restore(self, wish: Restoration, act: Act) -> Restored:
        backup = read_backup(wish.backup)
        if backup.head.cluster != self._cluster:
            raise RefusedError(
                f"this is a backup of the cluster {backup.head.cluster!r}, not of {self._cluster!r}",
                hint="name the folder of that cluster by --operator",
            )
        there = self._there()
        if RESTORING not in there and not wish.replace:
            _refuse_full(there)
        self._made(backup, wish, there)  # what cannot be signed is said before anything is touched
        marker = self._mark(there.get(RESTORING))
        there = self._there()
        made = self._made(backup, wish, there)
        for puts in _portions(_differences(there, made)):
            self._commit(Transaction({RESTORING: marker}, puts))
        plan = _plan(made)
        last: dict[str, bytes | None] = {key: made[key] for key in _LAST if key in made}
        last[RESTORED] = encoded(RestoredRecord(secrets.token_hex(8), plan.generation, backup.head.generation))
        last[RESTORING] = None
        done = act.on(f"plan {backup.head.generation}", generation=plan.generation, revision=backup.head.revision)
        revision = self._audited(Transaction({RESTORING: marker}, last), done)
        self._mirror.wait_for(revision, SEEN_WITHIN)
        _log.warning("state restored", source=backup.head.generation, generation=plan.generation)
        versions = [key for key in made if key.startswith(CATALOG)]
        return Restored(
            plan.generation,
            sum(key.startswith(BOARDS) for key in made),
            len(versions),
            tuple(sorted(f"{one.group} {one.version} {one.variant}" for one in self._holdings.incomplete())),
        )

    def _there(self) -> dict[str, Entry]:
        return {entry.key: entry for entry in self._kv.range("").entries}

    def _mark(self, before: Entry | None) -> int:
        record = encoded(RestoringRecord(secrets.token_hex(8)))
        return self._commit(Transaction({RESTORING: before.revision if before else 0}, {RESTORING: record}))

    def _made(self, backup: Backup, wish: Restoration, there: Mapping[str, Entry]) -> dict[str, bytes]:
        """Every entry as it shall be, but for what does not belong into a backup."""
        values = {key: entry.value for key, entry in there.items()}
        source = _plan(backup.entries)
        generation = self._generation(source, _plan(values))
        plan = Plan(generation, generation - 1, source.targets, source.boards)
        known = [signed_of(_below(TRUST, one)) for one in (backup.entries, values, self._mirror.state.signed)]
        signed = self._signing.restored([one for one in known if one.roots], wish, plan)
        audit = _below(AUDIT, values) or _below(AUDIT, backup.entries)
        rest = {key: value for key, value in backup.entries.items() if not key.startswith((TRUST, AUDIT))}
        return {**rest, **audit, **_records(signed), PLAN: encoded(plan)}

    def _generation(self, *plans: Plan) -> int:
        seen = [plan.generation for plan in plans] + [self._mirror.state.plan.generation]
        said = [generation for generation in self._heard() if generation <= MOST]
        return max([*seen, *said, int(self._signing.now) - 1]) + 1


def heard_from(peers: Peers, board_reports: BoardReports) -> Callable[[], Iterable[int]]:
    """The generations that servers and boards say they have."""

    def heard() -> Iterable[int]:
        yield from (server.generation for server in peers.listing().servers)
        yield from (view.generation for view in board_reports.views().values())

    return heard


def _refuse_full(there: Mapping[str, Entry]) -> None:
    versions = sum(key.startswith(CATALOG) for key in there)
    generation = _plan({key: entry.value for key, entry in there.items()}).generation
    if versions or generation or POLICY in there:
        raise RefusedError(
            f"the state is not empty: it has plan {generation} and {versions} versions",
            hint="with --replace it is replaced by the backup; make a backup of it first",
        )


def _plan(values: Mapping[str, bytes]) -> Plan:
    value = values.get(PLAN)
    if value is None:
        return Plan()
    try:
        return msgspec.json.decode(value, type=Plan)
    except msgspec.DecodeError as error:
        raise UsageError(
            "the plan cannot be read by this release", hint="restore with the release that wrote it"
        ) from error


def _below(prefix: str, values: Mapping[str, bytes]) -> dict[str, bytes]:
    return {key: value for key, value in values.items() if key.startswith(prefix)}


def _records(signed: SignedRoles) -> dict[str, bytes]:
    roots = {root_key(version): data for version, data in enumerate(signed.roots, start=1)}
    return {**roots, **{f"{TRUST_ROLES}{name}": data for name, data in signed.roles.items()}}


def _differences(there: Mapping[str, Entry], made: Mapping[str, bytes]) -> Iterator[tuple[str, bytes | None]]:
    """What makes `made` out of `there`, but for what the last transaction brings."""
    for key in there:
        if belongs(key) and key not in made and key not in _LAST:
            yield key, None
    for key, value in made.items():
        if key not in _LAST and (key not in there or there[key].value != value):
            yield key, value


def _portions(changes: Iterable[tuple[str, bytes | None]]) -> Iterator[dict[str, bytes | None]]:
    puts: dict[str, bytes | None] = {}
    size = 0
    for key, value in changes:
        length = len(key) + len(value or b"")
        if puts and (len(puts) >= PUTS or size + length > PUT_BYTES):
            yield puts
            puts, size = {}, 0
        puts[key] = value
        size += length
    if puts:
        yield puts
