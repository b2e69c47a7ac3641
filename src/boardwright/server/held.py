"""Versions that boards rolled back from: recorded, not offered again, let go by `boardwright retry`.

Rules:

* A board that says it will not try the wanted version again (``GroupReport.held``) is believed if it knows the current
  plan, that plan names this very manifest for it, and it has heard of every retry: a late report cannot hold anew
  what the operator has let go. While two computers speak as the board, neither is believed.
* A record whose manifest the plan no longer names for the board, or that the board runs all the same, is removed.
* `PER_ROUND` records a round, so that a version that is bad on ten thousand boards does not keep the engine and the
  local copies from anything else; only the first `LOGS_KEPT` records keep the output, for they all say the same.
* A retry removes the records and raises the board's count in one transaction. Boards hear of it in the answer to their
  next report, within a heartbeat, and a count that only grows makes up for answers that come late.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

import msgspec

from boardwright import log
from boardwright.errors import ConflictError, FailedError
from boardwright.model.api import Retry
from boardwright.model.audit import Act
from boardwright.model.report import DeploymentState
from boardwright.server.audit_log import AuditedCommit
from boardwright.server.board_reports import BoardReports, BoardView
from boardwright.server.facts import Facts, encoded, read_facts
from boardwright.server.mirror import Mirror, MirrorState
from boardwright.server.publishing import SEEN_WITHIN
from boardwright.state.kv import KV, Entry, Transaction
from boardwright.state.lease import DeposedError
from boardwright.state.records import HELD, MAX_HELD_LOG, MAX_REASON, RETRIES, HeldRecord, RetryRecord

PER_COMMIT = 40  # etcd takes 128 operations in a transaction by default; a record is two compares and a put
PER_ROUND = 400  # twice a second: ten thousand boards in a quarter of a minute
LOGS_KEPT = 200  # 400 KiB of output; in a copy that is written as a whole at every change
ATTEMPTS = 5  # commits of a retry that may lose in a row, as for `deploy`
NAMED = 10  # known boards that an error lists
_log = log.get("server.held")

Commit = Callable[[Transaction], int]


class HeldVersions:
    """Records what boards hold, and lets it go; `commit` is fenced by the lease, `audited` records who let it go."""

    def __init__(
        self,
        kv: KV,
        commit: Commit,
        audited: AuditedCommit,
        mirror: Mirror,
        board_reports: BoardReports,
        contested: Callable[[str], bool] = lambda board: False,
    ) -> None:
        self._kv = kv
        self._commit = commit
        self._audited = audited
        self._mirror = mirror
        self._board_reports = board_reports
        self._contested = contested

    def write(self) -> None:
        """Record what boards say that they hold and remove what is over, `PER_ROUND` changes at most."""
        state, views = self._mirror.state, self._board_reports.views()
        changes = list(islice((*_over(state, views), *_news(state, views, self._contested)), PER_ROUND))
        for start in range(0, len(changes), PER_COMMIT):
            self._write(dict(changes[start : start + PER_COMMIT]), state)

    def _write(self, changes: dict[str, HeldRecord | None], state: MirrorState) -> None:
        """The local copy may lag: what the engine has already is not written again, nor what a retry has overtaken."""
        compares: dict[str, int] = {}
        puts: dict[str, bytes | None] = {}
        for key, record in changes.items():
            board, value = _board_of(key), None if record is None else encoded(record)
            known, retries = self._kv.get(key), self._kv.get(f"{RETRIES}{board}")
            if value == (known and known.value) or _count(retries) != state.retry_of(board):
                continue
            puts[key] = value
            compares[key] = known.revision if known else 0
            compares[f"{RETRIES}{board}"] = retries.revision if retries else 0
        if puts:
            self._commit(Transaction(compares, puts))
            _log.info("held versions", changed=len(puts), first=min(puts))

    def retry(self, board: str, act: Act, group: str | None = None) -> Retry:
        """Let the board try again what it holds or failed at, of every group or one; FailedError, ConflictError."""
        for _ in range(ATTEMPTS - 1):
            try:
                return self._retry(board, group, act)
            except DeposedError:
                raise
            except ConflictError:
                continue
        return self._retry(board, group, act)

    def _retry(self, board: str, group: str | None, act: Act) -> Retry:
        facts, view = read_facts(self._kv), self._board_reports.view(board)
        _check_known(facts, board, group)
        held = {key: record for key, record in facts.held.items() if key.rpartition("/")[0] == board}
        versions = {key.rpartition("/")[2]: record.version for key, record in held.items()}
        for name, report in (view.groups if view else {}).items():
            if report.state is DeploymentState.FAILED and report.wanted is not None:
                versions.setdefault(name, report.wanted)
        if group is not None:
            versions = {name: version for name, version in versions.items() if name == group}
        if not versions:
            what = f"{group} on {board}" if group else board
            raise FailedError(
                f"there is nothing to try again on {what}: no version is held and no deployment failed",
                hint="`boardwright boards` shows what boards run and what they failed at",
            )
        keys = [f"{HELD}{key}" for key in held if key.rpartition("/")[2] in versions]
        known = facts.retries.get(board, RetryRecord(0)).count
        count = max(known, view.retry if view else 0) + 1  # more than the board has heard, whatever was restored
        puts: dict[str, bytes | None] = {f"{RETRIES}{board}": encoded(RetryRecord(count)), **dict.fromkeys(keys)}
        what = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        done = act.on(board, versions=what, count=count)
        self._mirror.wait_for(self._audited(Transaction(facts.compare(*puts), puts), done), SEEN_WITHIN)
        _log.info("retry", board=board, groups=sorted(versions), count=count)
        return Retry(board, versions, count)


def held_reason(board: str) -> str:
    """What a dry run says of a board that would not change because it holds the version."""
    return f"held: it rolled back from this version; `boardwright retry {board}` lets it try again"


def _over(state: MirrorState, views: Mapping[str, BoardView]) -> Iterator[tuple[str, None]]:
    """Records that hold nothing any more."""
    for key, record in state.held.items():
        board, _, group = key.rpartition("/")
        target, view = state.plan.for_board(board).groups.get(group), views.get(board)
        report = view.groups.get(group) if view and view.generation == state.plan.generation else None
        runs = report is not None and report.state is DeploymentState.CONFIRMED and report.version == record.version
        if target is None or target.manifest != record.manifest or runs:
            yield f"{HELD}{key}", None


def _news(
    state: MirrorState, views: Mapping[str, BoardView], contested: Callable[[str], bool]
) -> Iterator[tuple[str, HeldRecord]]:
    """What boards hold that is not recorded."""
    logs = sum(1 for record in state.held.values() if record.log)
    for board, view in views.items():
        if view.generation != state.plan.generation or view.retry < state.retry_of(board):
            continue
        for group, report in view.groups.items():
            if not report.held or report.state is not DeploymentState.FAILED:
                continue
            target = state.plan.for_board(board).groups.get(group)
            if target is None or target.manifest != report.held or contested(board):
                continue
            if state.held_of(board, group, target) is None:
                log = report.log[-MAX_HELD_LOG:] if logs < LOGS_KEPT else ""
                logs += bool(log)
                yield (
                    f"{HELD}{board}/{group}",
                    HeldRecord(target.manifest, target.version, report.reason[:MAX_REASON], log),
                )


def _board_of(key: str) -> str:
    return key.removeprefix(HELD).rpartition("/")[0]


def _count(entry: Entry | None) -> int:
    """-1 for a record that cannot be read: it equals no count, so nothing is written beside it."""
    try:
        return 0 if entry is None else msgspec.json.decode(entry.value, type=RetryRecord).count
    except msgspec.MsgspecError:
        return -1


def _check_known(facts: Facts, board: str, group: str | None) -> None:
    known = facts.inventory.boards.get(board)
    if known is None:
        close = difflib.get_close_matches(board, facts.inventory.boards, n=NAMED)
        names = ", ".join(close or sorted(facts.inventory.boards)[:NAMED]) or "none yet"
        raise FailedError(
            f"no board {board!r} is known", hint=f"boards{' with names like that' if close else ''}: {names}"
        )
    if group is not None and group not in known.groups:
        raise FailedError(
            f"{board} does not run the group {group!r}", hint=f"its groups: {', '.join(sorted(known.groups)) or 'none'}"
        )
