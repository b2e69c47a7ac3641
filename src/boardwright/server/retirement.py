"""Retiring versions: the active's part of making room (which versions may go: ``planner/retention.py``).

Rules:

* Decided on the state itself, never on the local copy, and committed against the very plan, policy and records that it
  was decided on: a deploy at the same moment wins or is refused, never gets a version without files.
* A version that was retired keeps its name and its manifest. Every server's collector drops its files.
"""

import threading
import time
from collections.abc import Callable

import msgspec

from boardwright import log
from boardwright.boot.names import SERVER_GROUP
from boardwright.errors import ConflictError
from boardwright.model.audit import Act
from boardwright.model.policy import Assignment
from boardwright.planner.retention import Past, Situation, Version, disposable, to_retire
from boardwright.server.audit_log import AuditedCommit
from boardwright.server.board_reports import BoardReports
from boardwright.server.collector import Collector
from boardwright.server.facts import Facts, encoded, read_facts
from boardwright.server.mirror import Mirror
from boardwright.server.planning import target_of
from boardwright.server.rollouts import DONE, ordered
from boardwright.server.version_blobs import VersionBlobs
from boardwright.state.kv import KV, Transaction
from boardwright.state.lease import DeposedError
from boardwright.state.records import CATALOG, PLAN, POLICY
from boardwright.transfer.space import amount

ATTEMPTS = 3
SEEN_WITHIN = 3.0  # seconds in which the own copy shows what was just committed
MOST = 50  # versions in one transaction; each is a compare and a put, etcd takes 128
_log = log.get("server.retirement")


class Retirement:
    """`commit` records it as the `act` of this server (see ``audit_log``).

    `listening_since`: monotonic time since which boards' words are heard here.
    """

    def __init__(  # noqa: PLR0913 - what decides and what is changed, each part handed in
        self,
        kv: KV,
        commit: AuditedCommit,
        act: Act,
        mirror: Mirror,
        board_reports: BoardReports,
        collector: Collector,
        versions: VersionBlobs,
        listening_since: Callable[[], float],
    ) -> None:
        self._kv = kv
        self._commit = commit
        self._act = act
        self._mirror = mirror
        self._board_reports = board_reports
        self._collector = collector
        self._versions = versions
        self._listening_since = listening_since
        self._lock = threading.Lock()

    def retire(self, lacking: int) -> tuple[str, ...]:
        """Retire what makes `lacking` bytes free, if that can be; the versions' names. EngineError, DeposedError."""
        with self._lock:
            for _ in range(ATTEMPTS):
                try:
                    return self._attempt(lacking)
                except DeposedError:
                    raise
                except ConflictError:
                    continue
        return ()

    def _attempt(self, lacking: int) -> tuple[str, ...]:
        facts = read_facts(self._kv)
        records = {target_of(record): key for key, record in facts.catalog.items() if not record.retired}
        known = {target: self._versions.of(target.manifest) for target in records}
        blobs = {target: names for target, names in known.items() if names is not None}
        chosen = to_retire(disposable(self._situation(facts)), blobs, self._collector.droppable(), lacking)[:MOST]
        if not chosen:
            return ()
        keys = [f"{CATALOG}{records[target]}" for target in chosen]
        puts: dict[str, bytes | None] = {
            key: encoded(msgspec.structs.replace(facts.catalog[records[target]], retired=True))
            for key, target in zip(keys, chosen, strict=True)
        }
        names = tuple(f"{target.group} {target.version} {target.variant}" for target in chosen)
        done = self._act.on(", ".join(names), versions=len(names), lacking=amount(lacking))
        revision = self._commit(Transaction(facts.compare(PLAN, POLICY, *keys), puts), done)
        self._mirror.wait_for(revision, SEEN_WITHIN)
        _log.warning("versions retired to make room", versions=", ".join(names), wanted=lacking)
        return names

    def _situation(self, facts: Facts) -> Situation:
        listening = time.monotonic() - self._listening_since()
        runs = {
            board: {
                group: {version for version in (report.version, report.wanted) if version}
                for group, report in view.groups.items()
            }
            for board, view in self._board_reports.views().items()
            if view.age <= listening
        }
        past = tuple(Past(one.assignment, one.outcome == DONE) for one in ordered(facts.rollouts.values()))
        before = () if facts.upgrade is None else sorted(set(facts.upgrade.before.values()))
        past += tuple(Past(Assignment(SERVER_GROUP, release), done=True) for release in before if release)
        versions = tuple(
            Version(target_of(record), record.published, record.requires)
            for record in facts.catalog.values()
            if not record.retired
        )
        return Situation(versions, facts.plan, facts.policy, facts.inventory, past, runs)
