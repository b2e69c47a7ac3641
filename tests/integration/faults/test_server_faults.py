"""A server's disk: power cuts at every point of publishing and copying, and writes that it does not take."""

import errno
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from boardwright.errors import BoardwrightError
from boardwright.model.audit import Action
from boardwright.model.plan import Plan
from boardwright.model.software import digest_of
from boardwright.server.facts import encoded
from boardwright.server.mirror import Mirror
from boardwright.server.piece_digests import PieceDigests
from boardwright.server.publishing import PublishEvents, Publishing
from boardwright.state.kv import Change, Transaction
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.records import PLAN
from boardwright.transfer import store as store_module
from boardwright.transfer.fetch import FetchLimits, fetch
from boardwright.transfer.sources import SourceList
from boardwright.transfer.store import BlobStore
from tests.faults.board import Server as Source
from tests.faults.board import source_of, use_small_pieces
from tests.faults.crash import Crash, Crashes
from tests.faults.disk import GROWS, Disk
from tests.faults.versions import Made, version
from tests.identities import Identities
from tests.unit.server.builders import act, audited

ONE, TWO = version("1"), version("2")
IDENTITIES = Identities()


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_pieces(monkeypatch)


class Node:
    """The parts of a server that write, on the files below `directory`; what was promised is noted with its step."""

    def __init__(self, directory: Path, kv: MemoryKV, clock: Callable[[], int] = lambda: 0) -> None:
        self.directory, self.kv, self._clock = directory, kv, clock
        self.trouble: list[str] = []
        self.committed: list[tuple[int, Transaction]] = []
        self.catalogued: list[tuple[int, Made]] = []
        self.told: list[tuple[int, int]] = []  # step, generation that boards heard of
        self.stored: list[tuple[int, str]] = []
        self.store = BlobStore(directory / "store")
        self.mirror = Mirror(directory / "mirror.json", self.trouble.append)
        self.mirror.subscribe(lambda before, after: self.told.append((clock(), after.plan.generation)))
        self.mirror.reset(kv.range(""))
        events = PublishEvents(begun=lambda blobs: None, whole=lambda record: None)
        self.publishing = Publishing(
            kv,
            audited(kv, self._commit),
            self.mirror,
            self.store,
            PieceDigests(self.store),
            events,
            IDENTITIES.signing(),
            lambda: 1.0,
        )

    def publish(self, made: Made) -> None:
        for sha256, data in made.blobs.items():
            if not self.store.has(sha256):
                self.store.put(sha256, [data])
                self.stored.append((self._clock(), sha256))
        self.publishing.publish(IDENTITIES.over(self.kv, made.blobs[made.target.manifest]), act(Action.PUBLISH))
        self.catalogued.append((self._clock(), made))

    def plan(self, made: Made) -> None:
        before = self.mirror.state.plan
        plan = Plan(before.generation + 1, before.generation, (made.target,), {"c1s3": (0,)})
        entry = self.kv.get(PLAN)
        self._commit(Transaction({PLAN: entry.revision if entry else 0}, {PLAN: encoded(plan)}))

    def copy(self, made: Made) -> int:
        """As the replicator does; the number of bytes that came."""
        sources = SourceList([source_of(Source(made))])
        if not self.store.has(made.target.manifest):
            self.store.put(made.target.manifest, [made.blobs[made.target.manifest]])
        fetched = fetch(
            self.store.missing(made.manifest),
            sources,
            self.store,
            limits=FetchLimits(workers=1, give_up=0.0),
            stop=threading.Event(),
        )
        assert fetched.complete
        return sum(fetched.bytes.values())

    def check_held(self) -> None:
        """What this server would offer it has, every byte of it."""
        for made in (ONE, TWO):
            if self.store.has(made.target.manifest) and self.store.holds(made.manifest):
                for blob in made.manifest.blobs:
                    self.check_blob(blob.sha256)

    def check_blob(self, sha256: str) -> None:
        assert self.store.has(sha256), f"blob {sha256[:8]} is lost"
        assert digest_of(self.store.path(sha256).read_bytes()) == sha256, f"blob {sha256[:8]} is broken"

    def _commit(self, transaction: Transaction) -> int:
        revision = self.kv.commit(transaction)
        self.committed.append((self._clock(), transaction))
        self.mirror.apply([Change(key, value, revision) for key, value in transaction.puts.items()])
        return revision


def work(node: Node) -> None:
    """What is recorded: two versions come, one by publish, one by copy, with plans between them."""
    node.publish(ONE)
    node.plan(ONE)
    node.copy(TWO)
    node.publish(TWO)
    node.plan(TWO)


def test_after_a_cut_anywhere_a_server_holds_what_it_promised(
    fast_disk: Path, points: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "boot_id", lambda: "boot-1")
    (fast_disk / "server").mkdir()
    disk = Disk(fast_disk / "server")
    with disk.installed():
        node = Node(fast_disk / "server", MemoryKV(), lambda: len(disk.steps))
        work(node)
    disk.check()
    crashes = Crashes(disk.base, disk.steps)
    for crash in crashes:
        directory = fast_disk / "crashed"
        crash.image.write(directory)
        monkeypatch.setattr(store_module, "boot_id", lambda: "boot-2" if crash.power else "boot-1")  # noqa: B023
        try:
            survive(node, crash, directory)
        except (AssertionError, BoardwrightError) as error:
            last = [step.what for step in disk.steps[max(0, crash.point - 4) : crash.point]]
            raise AssertionError(f"{crash.kind} after step {crash.point} (last: {last}): {error}") from error
        shutil.rmtree(directory)
        points["states of a server"] += 1
    points["points of a server"] += crashes.points


def survive(before: Node, crash: Crash, directory: Path) -> None:
    state = Mirror(directory / "mirror.json").state
    told = [generation for at, generation in before.told if at <= crash.point]
    assert state.plan.generation >= max(told, default=0), "it fell back behind a plan that boards have heard of"
    lost = Mirror(directory / "mirror.json")
    lost.reset(MemoryKV().range(""))
    assert lost.state == state, "an engine that was lost as a whole emptied the copy"
    kv = MemoryKV()
    for at, transaction in before.committed:
        if at <= crash.point:
            found = {key: entry.revision if (entry := kv.get(key)) else 0 for key in transaction.puts}
            kv.commit(Transaction(found, transaction.puts))
    node = Node(directory, kv)
    generation = node.mirror.state.plan.generation
    for at, sha256 in before.stored:
        if at <= crash.point:
            node.check_blob(sha256)
    for at, made in before.catalogued:
        if at <= crash.point:
            assert node.store.holds(made.manifest)
            node.check_blob(made.target.manifest)
    node.check_held()
    work(node)
    for made in (ONE, TWO):
        for sha256 in made.blobs:
            node.check_blob(sha256)
    assert Mirror(directory / "mirror.json").state.plan.generation == generation + 2
    left = {path.name for path in directory.rglob(".*")}
    assert not left, f"left behind: {left}"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "failing"])
def test_a_server_whose_disk_does_not_take_a_write_says_so_and_goes_on(
    number: int, fast_disk: Path, points: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "boot_id", lambda: "boot-1")
    at = 0
    while True:
        directory = fast_disk / "server"
        directory.mkdir()
        kv = MemoryKV()
        node = Node(directory, kv)
        disk = Disk(directory)
        calls = Counter[str]()

        def fault(call: str, path: str) -> OSError | None:
            if number == errno.ENOSPC and call not in GROWS:
                return None
            calls["seen"] += 1  # noqa: B023
            hit = calls["seen"] > at if number == errno.ENOSPC else calls["seen"] == at + 1  # noqa: B023
            if not hit or calls["over"]:  # noqa: B023
                return None
            calls["hit"] += 1  # noqa: B023
            return OSError(number, os.strerror(number), path)

        disk.fault = fault
        with disk.installed():
            said = ""
            try:
                work(node)
            except (BoardwrightError, OSError) as error:
                said = f"{error} {error.__cause__ or ''}"
            node.check_held()
            if not calls["hit"]:
                assert not said
                return
            assert any(os.strerror(number) in sentence for sentence in (said, *node.trouble)), f"it says only {said!r}"
            calls["over"] = 1
            again = Node(directory, kv) if number == errno.EIO else node
            work(again)
            again.mirror.apply([Change("lease", b"", 99)])
        for made in (ONE, TWO):
            for sha256 in made.blobs:
                again.check_blob(sha256)
        assert Mirror(directory / "mirror.json").state == again.mirror.state
        assert node.trouble[-1:] in ([], [""]) or again is not node
        assert not [path for path in directory.rglob(".*") if path.name.startswith(".incoming")]
        shutil.rmtree(directory)
        points["failing calls of a server"] += 1
        at += 1
