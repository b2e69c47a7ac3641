"""One board in virtual time on real files: the real driver, ledger, deployer, store and installer.

The network is a call, downloads come from memory, hooks and health checks answer at once, jobs run in one thread, in
order: a run is the same every time, so that its n-th write is the n-th write.
"""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from boardwright.agent import deployer
from boardwright.agent.commands import CommandResult
from boardwright.agent.deployer import Deployer
from boardwright.agent.deployment import Event
from boardwright.agent.driver import BoardDriver
from boardwright.agent.health import Health
from boardwright.agent.installers import programs
from boardwright.agent.ledger import Ledger, Record
from boardwright.agent.plan_source import PlanFound
from boardwright.agent.ports import Hands
from boardwright.config.settings import AgentSettings, ClusterSettings
from boardwright.errors import UnreachableError
from boardwright.model import software
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.plan import BoardPlan
from boardwright.model.report import DeploymentState
from boardwright.model.software import Target
from boardwright.protocol.codec import Received, decode
from boardwright.protocol.messages import Holding, Offer, Request
from boardwright.protocol.offerer import Catalogued, ServerFacts, answer
from boardwright.transfer import partial, receiver, shelf, store, tree, work
from boardwright.transfer.fetch import FetchLimits
from boardwright.transfer.sharing import Sharing
from boardwright.transfer.sources import FetchSource, SourceError
from tests.faults import partition
from tests.faults.versions import GROUP, PIECE, Made

BOARD = Board("c1s3", Location("1", "3"), "lc", (GROUP,))
CLUSTER = "core1"


class Server:
    """What all servers of the test's cluster are: a plan, and blobs in memory."""

    def __init__(self, *versions: Made) -> None:
        self.plan = BoardPlan(0)
        self.up = True
        self.blobs: dict[str, bytes] = {}
        self.catalogue: dict[bytes, Catalogued] = {}
        self.dies_after = -1  # ranges; then nothing comes any more, -1: never
        for one in versions:
            self.blobs |= one.blobs
            self.catalogue[bytes.fromhex(one.target.manifest)] = Catalogued(one.version, Holding.ALL)

    def deploy(self, made: Made | None) -> None:
        """The plan names `made` and nothing else, or nothing at all."""
        self.plan = BoardPlan(self.plan.generation + 1, {made.target.group: made.target} if made else {})

    def blob(self, sha256: str) -> bytes:
        if not self.up:
            raise UnreachableError("the server is down")
        return self.blobs[sha256]


class _Range:
    def __init__(self, data: bytes) -> None:
        self._data, self.length = data, len(data)

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._data))
        buffer[:count], self._data = self._data[:count], self._data[count:]
        return count

    def abort(self) -> None: ...

    def close(self) -> None: ...


class _Source:
    """In the place of an HttpSource."""

    def __init__(self, server: Server) -> None:
        self.id, self._server = "s1", server

    def open_range(self, sha256: str, start: int, length: int, timeout: float) -> _Range:
        del timeout
        if self._server.dies_after == 0:
            raise SourceError("the server died")
        self._server.dies_after -= self._server.dies_after > 0
        return _Range(self._server.blob(sha256)[start : start + length])

    def close(self) -> None: ...


class Life:
    """The agent from its start to its end on the files below `directory`; `boot` names the machine's start."""

    board = BOARD

    def __init__(
        self, directory: Path, server: Server, boot: str, *, sick: frozenset[str] = frozenset(), now: float = 100.0
    ) -> None:
        self.root, self.state_dir = directory / "root", directory / "state"
        self.partition = directory / partition.PARTITION
        self.now = now
        self.hooks: list[str] = []  # step and version
        self.saved: list[bytes] = []
        self.on_saved: Callable[[], None] = lambda: None
        self._server, self._sick = server, sick
        self._queue: list[Callable[[], None]] = []
        with self._around(boot):
            self.state_dir.mkdir(exist_ok=True)
            self.deployer = Deployer(
                self.board,
                root=self.root,
                state_dir=self.state_dir,
                limits=FetchLimits(workers=1, give_up=0.0),
                client=self,  # type: ignore[arg-type]
                environ={},
            )
            self.deployer._downloads = self.deployer._take_overs = self  # type: ignore[assignment]
            self.deployer.start(self.post)
            self.ledger = _Ledger(self.state_dir, self)
            self.driver = BoardDriver(
                _settings(self.root, self.state_dir, self.board),
                hands=self.hands(),
                outside=self,
                ledger=self.ledger,
                rng=Random(1),
                now=self.now,
                fallen=self.fallen,
            )
        self._boot = boot

    def hands(self) -> Hands:
        """What the driver is given."""
        return self.deployer

    def fallen(self, target: Target) -> str:
        del target
        return ""

    def post(self, group: str, event: Event) -> None:
        self._later(lambda: self.driver.happened(group, event, self.now))

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let virtual time go on until `until`, at most `seconds`; whether it came true."""
        end, steps = self.now + seconds, 0
        with self._around(self._boot):
            while True:
                steps += 1
                assert steps < 5000, "the driver spins"
                while self._queue:
                    self._queue.pop(0)()
                self.driver.wake(self.now)
                if self._queue:
                    continue
                if until():
                    return True
                wakeup = self.driver.next_wakeup()
                if wakeup > end:
                    self.now = end
                    return until()
                self.now = max(self.now, wakeup)

    def follow(self, seconds: float = 4000.0) -> DeploymentState:
        """Until the server's plan is followed to its end, with nothing left to do."""

        def over() -> bool:
            group = self.driver.groups[GROUP]
            return (
                self.driver.generation == self._server.plan.generation
                and self.driver.settled
                and not self.driver._pending
                and group.state in (DeploymentState.CONFIRMED, DeploymentState.FAILED)
                and group.phase.deadline is None
            )

        self.run(seconds, over)
        return self.driver.groups[GROUP].state

    def _around(self, boot: str) -> "pytest.MonkeyPatch":
        return _Around(boot, self)  # type: ignore[return-value]

    def _later(self, call: Callable[[], None]) -> None:
        self._queue.append(call)

    # In the place of Worker, AgentClient and Outside.

    def submit(self, job: Callable[[], None]) -> None:
        self._later(job)

    def manifest(self, url: str, digest: str) -> bytes:
        del url
        return self._server.blob(digest)

    def send(self, datagrams: Sequence[bytes]) -> None:
        for datagram in datagrams:
            received = decode(datagram, CLUSTER)
            assert isinstance(received, Received)
            request = received.message
            assert isinstance(request, Request)
            if self._server.up:
                facts = ServerFacts(CLUSTER, "s1", Location("1", "1"), "https://s1", "https://s1:2")
                offer = answer(request, facts, self._server.plan, self._server.catalogue, 0)
                assert offer is not None
                self._later(lambda offer=offer: self.driver.hear(offer, self.now))  # type: ignore[misc]

    def source(self, source_id: str, url: str) -> _Source:
        del source_id, url
        return _Source(self._server)

    def neighbour(self, source_id: str, url: str, sharing: Sharing) -> _Source:
        raise AssertionError("nobody relays here")

    def refresh(self, offers: Sequence[Offer], generation: int) -> None:
        del offers, generation
        found = PlanFound(self._server.plan if self._server.up else None, ())
        self._later(lambda: self.driver.planned(found, self.now))

    # In the place of programs.

    def program(self, argv: list[str], *, env: dict[str, str], **_: object) -> CommandResult:
        del argv
        if env["BOARDWRIGHT_STEP"] != "running":  # asked at every start
            self.hooks.append(f"{env['BOARDWRIGHT_STEP']} {env['BOARDWRIGHT_VERSION']}")
        return CommandResult("", partition.run(self.partition, env))

    def probe(self, spec: object, path: Path, env: dict[str, str], stop: threading.Event) -> Health:
        del spec, stop
        version = env["BOARDWRIGHT_VERSION"]
        self.hooks.append(f"probe {version}")
        assert (path / "etc/name").read_text().startswith(version)
        return Health("is sick" if version in self._sick else "")


class _Around:
    """The world of one life while its code runs."""

    def __init__(self, boot: str, life: Life) -> None:
        self._boot, self._life = boot, life
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> None:
        life, patch = self._life, self._patch
        patch.setattr(store, "boot_id", lambda: self._boot)
        patch.setattr(programs, "run_command", life.program)
        patch.setattr(deployer, "check_health", life.probe)
        patch.setattr(deployer, "give_back", lambda: None)

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


class _Ledger(Ledger):
    """Notes what was promised: a record that was saved is there from then on."""

    def __init__(self, state_dir: Path, life: Life) -> None:
        super().__init__(state_dir)
        self._life = life

    def save(self, record: Record) -> None:
        super().save(record)
        if not self._life.saved or self._life.saved[-1] != self._written:
            self._life.saved.append(self._written)
            self._life.on_saved()


def _settings(root: Path, state_dir: Path, board: Board) -> AgentSettings:
    return AgentSettings(
        cluster=ClusterSettings(
            name=CLUSTER, interfaces=("lo",), multicast=None, trust=state_dir, certificate=state_dir, key=state_dir
        ),
        board=board,
        root=root,
        state_dir=state_dir,
        relay_enabled=False,
        relay_listen=None,
    )


def use_small_pieces(patch: pytest.MonkeyPatch) -> None:
    """Pieces of a few KiB everywhere, so that versions of several pieces stay small."""
    for module in (software, receiver, shelf, partial, store, tree, work):
        if hasattr(module, "PIECE_SIZE"):
            patch.setattr(module, "PIECE_SIZE", PIECE)
    patch.setattr(tree, "_WHOLE", 0)  # and packs are copied file by file
    patch.setattr(receiver, "RANGE_SIZE", 2 * PIECE)
    patch.setattr(work, "_RUN_PIECES", 2)


def in_place(directory: Path) -> str:
    """What `current` points to, "" for nothing."""
    try:
        return os.readlink(directory / "root" / GROUP / "current")
    except FileNotFoundError:
        return ""


def source_of(server: Server) -> FetchSource:
    """Where a fetch gets its bytes from."""
    return _Source(server)
