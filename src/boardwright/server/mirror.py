"""The server's own copy of the replicated state: what it needs to answer and to serve (design section 8).

Rules:

* Serving never depends on the engine: plan, boards, catalog and servers lie in ``data_dir/mirror.json`` and in
  memory. The server starts from the file and goes on from it while the engine is down.
* The file is replaced atomically and is on disk before anybody is told of a new plan, so that no restart falls
  back behind a generation that boards have heard of. What is not copied (the lease beats twice a second) costs
  nothing.
* ``state`` is one immutable value that is swapped as a whole; any thread may read it without a lock. Only the
  follower's thread writes.
* A record that this release cannot read is left as it was and logged: a newer release may have written it.
* A file that cannot be written (full disk) is written as soon as it can: the lease's beats are occasion enough.
* A broken file counts as no file: the engine has it all.
* A state that is being restored, or older than this copy, is not believed (``why_not``): the copy stays as it is, so an
  engine that was emptied or set back takes no software away from anybody.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from boardwright import log
from boardwright.errors import BoardwrightError
from boardwright.model.inventory import Board, Inventory
from boardwright.model.plan import BoardPlan, Plan, Withheld
from boardwright.model.software import Target
from boardwright.model.upgrade import UpgradeRecord
from boardwright.state.kv import Change, Snapshot
from boardwright.state.records import (
    BOARDS,
    CATALOG,
    HELD,
    PLAN,
    RESTORED,
    RESTORING,
    RETRIES,
    ROLLOUTS,
    SERVERS,
    TRUST,
    UPGRADE,
    CatalogRecord,
    HeldRecord,
    RestoredRecord,
    RetryRecord,
    RolloutRecord,
    ServerRecord,
)
from boardwright.transfer.durable import write_durably

SCHEMA = 1
_T = TypeVar("_T")
_log = log.get("server.mirror")


class MirrorState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One consistent view; `catalog` is by ``group/version/variant``, `held` by ``board/group``, the rest by id.

    `signed` is signed metadata, byte for byte, by its key of the state; `restored` the generation that
    the last restore began with.
    """

    schema: int = SCHEMA
    plan: Plan = Plan()
    boards: dict[str, Board] = {}
    catalog: dict[str, CatalogRecord] = {}
    servers: dict[str, ServerRecord] = {}
    rollouts: dict[str, RolloutRecord] = {}
    held: dict[str, HeldRecord] = {}
    retries: dict[str, RetryRecord] = {}
    signed: dict[str, bytes] = {}
    restored: int = 0
    upgrade: UpgradeRecord | None = None

    @property
    def inventory(self) -> Inventory:
        return Inventory(self.boards)

    def held_of(self, board: str, group: str, target: Target) -> HeldRecord | None:
        """The record of `target` if that very manifest is held on the board."""
        record = self.held.get(f"{board}/{group}")
        return record if record is not None and record.manifest == target.manifest else None

    def retry_of(self, board: str) -> int:
        """How often the board was let try again."""
        record = self.retries.get(board)
        return 0 if record is None else record.count

    def board_plan(self, board: str) -> BoardPlan:
        """What the board is told: its part of the plan without what it rolled back from."""
        planned = self.plan.for_board(board)
        withheld = {
            group: Withheld(target, record.reason)
            for group, target in planned.groups.items()
            if (record := self.held_of(board, group, target)) is not None
        }
        groups = {group: target for group, target in planned.groups.items() if group not in withheld}
        return BoardPlan(planned.generation, groups, withheld, self.retry_of(board))

    def planned_manifests(self) -> frozenset[str]:
        """Digests that the plan names for any board."""
        return frozenset(target.manifest for target in self.plan.targets)


Listener = Callable[[MirrorState, MirrorState], None]
UNFINISHED = "the state is being restored, or a restore was cut off"


class ReadAgainError(BoardwrightError):
    """Changes are not enough: the follower reads everything."""

    retry = True


_TABLES: tuple[tuple[str, str, type[Any]], ...] = (
    (BOARDS, "boards", Board),
    (CATALOG, "catalog", CatalogRecord),
    (SERVERS, "servers", ServerRecord),
    (ROLLOUTS, "rollouts", RolloutRecord),
    (HELD, "held", HeldRecord),
    (RETRIES, "retries", RetryRecord),
)


class Mirror:
    """Keeps the copy; ``reset`` and ``apply`` are called by one follower, everything else by anybody."""

    def __init__(
        self,
        path: Path,
        trouble: Callable[[str], None] = lambda sentence: None,
        doubted: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """`trouble(sentence)` is told when the file cannot be written, and '' when it is written again.

        `doubted(sentence)` is told why the engine's state is not believed, and '' when it is again.
        """
        self._path = path
        self._doubted = doubted
        self._trouble = trouble
        self._unsaved = False
        self._listeners: list[Listener] = []
        self.state = _load(path)
        self._doubt = ""
        self._revision = 0
        self._moved = threading.Condition()

    def subscribe(self, listener: Listener) -> None:
        """Call `listener(before, after)` on the follower's thread after every change of the state."""
        self._listeners.append(listener)

    def reset(self, snapshot: Snapshot) -> None:
        """Take over everything that the engine has, if it is to be believed; what it lacks is gone."""
        values = {entry.key: entry.value for entry in snapshot.entries}
        self._believe(why_not(values, self.state))
        if self._doubt:
            self._reached(snapshot.revision)
            return
        known = {f"{prefix}{name}" for prefix, table, _ in _TABLES for name in getattr(self.state, table)}
        gone: dict[str, bytes | None] = dict.fromkeys((*known, *self.state.signed, PLAN, UPGRADE))
        self._take(gone | values)
        self._reached(snapshot.revision)

    def apply(self, changes: Sequence[Change]) -> None:
        """Take changes over, in order; ReadAgainError if a whole reading is needed."""
        touched = {change.key: change.value for change in changes}
        if self._doubt and touched.keys() & {PLAN, RESTORING, RESTORED}:
            raise ReadAgainError("the state is read anew, to see whether it is to be believed now")
        if touched.get(RESTORING) is not None:
            self._believe(UNFINISHED)
        if changes and self._doubt:
            self._reached(changes[-1].revision)
        elif changes:
            self._take({change.key: change.value for change in changes})
            self._reached(changes[-1].revision)

    @property
    def doubt(self) -> str:
        """'' or why the engine's state is not believed, and this copy stays as it is."""
        return self._doubt

    def _believe(self, why_not: str) -> None:
        if why_not != self._doubt:
            self._doubt = why_not
            if why_not:
                _log.error("the state is not believed", why=why_not)
            self._doubted(why_not)

    @property
    def revision(self) -> int:
        """How far the copy is in the store's revisions; 0: nothing was read since the start."""
        return self._revision

    def wait_for(self, revision: int, timeout: float) -> bool:
        """Whether the copy has reached `revision` of the store within `timeout` seconds."""
        with self._moved:
            return self._moved.wait_for(lambda: self._revision >= revision, timeout)

    def _reached(self, revision: int) -> None:
        with self._moved:
            self._revision = revision
            self._moved.notify_all()

    def _take(self, values: Mapping[str, bytes | None]) -> None:
        before = self.state
        after = self._merged(before, values)
        if after != before or self._unsaved:
            self._save(after)
        if after == before:
            return
        self.state = after
        for listener in self._listeners:
            listener(before, after)

    def _save(self, state: MirrorState) -> None:
        """Replace the file durably; a full disk costs the copy, not the service, and the next change tries again."""
        try:
            write_durably(self._path, msgspec.json.encode(state))
        except OSError as error:
            sentence = f"the copy of the state {self._path} cannot be written: {error.strerror or error}"
            if not self._unsaved:
                _log.error("local copy not written", path=str(self._path), error=str(error))
            self._unsaved = True
            self._trouble(sentence)
        else:
            if self._unsaved:
                self._unsaved = False
                self._trouble("")

    def _merged(self, base: MirrorState, values: Mapping[str, bytes | None]) -> MirrorState:
        fields: dict[str, Any] = {}
        for key, value in values.items():
            if key == RESTORED:
                record = _decode(key, value, RestoredRecord, None)
                fields["restored"] = record.generation if record is not None else 0
            elif key == UPGRADE:
                fields["upgrade"] = _decode(key, value, UpgradeRecord, base.upgrade)
            elif key == PLAN:
                fields["plan"] = _decode(key, value, Plan, base.plan) or Plan()
            elif key.startswith(TRUST):
                signed = fields.setdefault("signed", dict(base.signed))
                if value is None:
                    signed.pop(key, None)
                else:
                    signed[key] = value
            else:
                for prefix, name, record_type in _TABLES:
                    if key.startswith(prefix):
                        table = fields.setdefault(name, dict(getattr(base, name)))
                        _put(table, key, key.removeprefix(prefix), value, record_type)
        return msgspec.structs.replace(base, **fields) if fields else base


def why_not(values: Mapping[str, bytes], copy: MirrorState) -> str:
    """Why a state with these `values` is not believed by who has `copy` of it; '' if it is.

    A plan never goes back: a state whose plan is older than the copy's is another engine's, or was set back, and what
    it lacks is not gone. Only a later restore may say otherwise.
    """
    if RESTORING in values:
        return UNFINISHED
    restored = _decode(RESTORED, values.get(RESTORED), RestoredRecord, None)
    if restored is not None and restored.generation > copy.restored:
        return ""
    plan = _decode(PLAN, values.get(PLAN), Plan, copy.plan) or Plan()
    if plan.generation < copy.plan.generation:
        return f"the state has plan {plan.generation}, and this server has seen plan {copy.plan.generation}"
    if copy.signed and not any(key.startswith(TRUST) for key in values):
        return "the state is empty, and this server has seen another"
    return ""


def _put(table: dict[str, Any], key: str, name: str, value: bytes | None, record_type: type[Any]) -> None:
    record = _decode(key, value, record_type, table.get(name))
    if record is None:
        table.pop(name, None)
    else:
        table[name] = record


def _decode(key: str, value: bytes | None, record_type: type[_T], known: _T | None) -> _T | None:
    if value is None:
        return None
    try:
        return msgspec.json.decode(value, type=record_type)
    except msgspec.MsgspecError as error:
        _log.warning("record not understood, left as it was", key=key, error=str(error))
        return known


def _load(path: Path) -> MirrorState:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return MirrorState()
    try:
        return msgspec.json.decode(data, type=MirrorState)
    except msgspec.MsgspecError as error:
        _log.warning("local copy is broken, starting without it", path=str(path), error=str(error))
        return MirrorState()
