"""What is seen of a cluster from outside: boards' disks, servers' words, agents' logs, what the engine committed."""

import hashlib
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from boardwright.agent.ledger import NAME, Record
from boardwright.errors import BoardwrightError
from boardwright.model.plan import Plan as PlanRecord
from boardwright.model.software import Target
from boardwright.state.kv import KV, Change
from boardwright.state.records import CATALOG, LEASE, PLAN, ROLLOUTS, CatalogRecord, LeaseRecord, RolloutRecord
from tests.chaos.cluster import ChaosCluster
from tests.chaos.history import (
    GROUP,
    Catalog,
    Happening,
    Lease,
    Plan,
    Refetched,
    Rollout,
    Runs,
    Said,
    Seen,
)

LOOK = 0.05  # seconds between looks at a disk: a rename is seen, whatever came before and after it
ASK = 0.5  # seconds between questions to a server
READ = 10.0  # seconds for a part of the engine's history

Note = Callable[[Happening], None]


class Notebook:
    """Takes down what happens, in the order in which it is told; `now` is the run's clock."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self.history: list[Happening] = []

    def now(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def __call__(self, event: Happening) -> None:
        with self._lock:
            self.history.append(event)


class Boards:
    """Looks at the boards' disks; a thread of its own."""

    def __init__(self, cluster: ChaosCluster, note: Notebook) -> None:
        self._cluster, self._note = cluster, note
        self._ledgers: dict[str, tuple[int, int]] = {}
        self._last: dict[str, Seen] = {}
        self._links: dict[str, str] = {}

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK):
            self.look()

    def look(self) -> None:
        for board in self._cluster.boards:
            folder = self._cluster.board_folder(board.board)
            self._ledger(board.board, folder / "state_dir" / NAME)
            self._link(board.board, folder / "root" / GROUP / "current")

    def _ledger(self, board: str, path: Path) -> None:
        try:
            figures = path.stat()
            mark = figures.st_ino, figures.st_mtime_ns
            if self._ledgers.get(board) == mark:
                return
            record = msgspec.json.decode(path.read_bytes(), type=Record)
        except OSError:
            return
        self._ledgers[board] = mark
        seen = _seen(self._note.now(), board, record)
        if msgspec.structs.replace(seen, at=0.0) != self._last.get(board):
            self._last[board] = msgspec.structs.replace(seen, at=0.0)
            self._note(seen)

    def _link(self, board: str, current: Path) -> None:
        try:
            tree = current.readlink()
            if self._links.get(board) == str(tree):
                return
            version = (current / "version").read_text()
            content = hashlib.sha256((current / "data").read_bytes()).hexdigest()
            if current.readlink() != tree:
                return  # it changed meanwhile: the next look tells
        except OSError:
            return
        self._links[board] = str(tree)
        self._note(Runs(self._note.now(), board, version, content))


def _seen(now: float, board: str, record: Record) -> Seen:
    one = record.groups.get(GROUP)
    if one is None:
        return Seen(now, board, record.generation, "", "", "idle")
    return Seen(now, board, record.generation, _digest(one.wanted), _digest(one.running), one.state.value)


def _digest(target: Target | None) -> str:
    return "" if target is None else target.manifest


def ask(cluster: ChaosCluster, server: str, note: Notebook, stop: threading.Event) -> None:
    """Take down a server's word about itself, twice a second; a thread of its own."""
    client, last = cluster.client(), ("", -1)
    base = cluster.bases[cluster.shape.servers.index(server)]
    with client:
        while not stop.wait(ASK):
            try:
                health = client.health(base)
            except BoardwrightError:
                continue
            if (health.role, health.generation) != last:
                last = health.role, health.generation
                note(Said(note.now(), server, *last))


def refetched(cluster: ChaosCluster) -> list[Refetched]:
    """What the agents' logs say of their downloads."""
    found = []
    for host in cluster.shape.boards:
        for line in cluster.log(f"agent-{host}").read_text(errors="replace").splitlines():
            said = re.search(r" fetched .*board=(\S+) .*version=(\S+) .*refetched=(\d+)", line)
            if said is not None:
                found.append(Refetched(said[1], said[2], int(said[3])))
    return found


def committed(kv: KV) -> list[Happening]:
    """Everything that the engine ever committed, oldest first; it must not have been compacted."""
    told: list[Happening | None] = []
    after, end = 0, kv.range("").revision  # the lease goes on being renewed
    while after < end:
        changes = kv.watch("", after, READ)
        assert changes, "the engine does not tell its history"
        told += map(_event, changes)
        after = changes[-1].revision
    return [event for event in told if event is not None]


def _event(change: Change) -> Happening | None:
    key, value, revision = change.key, change.value, change.revision
    if key.startswith(CATALOG):
        _, version, _ = key.removeprefix(CATALOG).split("/")
        manifest = msgspec.json.decode(value, type=CatalogRecord).manifest if value else ""
        return Catalog(revision, version, manifest)
    if value is None:
        return None
    if key == LEASE:
        lease = msgspec.json.decode(value, type=LeaseRecord)
        return Lease(revision, lease.holder, lease.epoch)
    if key == PLAN:
        plan = msgspec.json.decode(value, type=PlanRecord)
        boards = {board: plan.for_board(board).groups[GROUP].manifest for board in plan.boards}
        return Plan(revision, plan.generation, plan.parent, boards)
    if key.startswith(ROLLOUTS):
        one = msgspec.json.decode(value, type=RolloutRecord)
        selectors = tuple(str(selector) for selector in one.selectors)
        return Rollout(revision, one.id, one.version, selectors, one.generation)
    return None
