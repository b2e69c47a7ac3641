"""Deployments of one board, each recorded once; what a disk holds before and after each of them.

A scenario begins on a settled board and ends on one. `allowed` are the versions that may run at any moment of it,
`wanted` is what must run in the end, whatever happened on the way.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from boardwright.model.report import DeploymentState
from tests.faults.board import Life, Server
from tests.faults.disk import Disk
from tests.faults.partition import flashed
from tests.faults.versions import Made, version

V1, V2, SICK, V4 = version("1"), version("2"), version("3"), version("4")
F1, F2, FLASH_SICK = flashed("11"), flashed("12"), flashed("13")
A1, A2 = flashed("21", asked=True), flashed("22", asked=True)
ALL_VERSIONS = (V1, V2, SICK, V4, F1, F2, FLASH_SICK, A1, A2)
SICKNESS = frozenset({SICK.version, FLASH_SICK.version})
BOOT = "boot-1"


@dataclass(frozen=True)
class Scenario:
    """`before` leads from an empty disk to the start; `deployed` is what the operator deploys then."""

    name: str
    before: tuple[Made, ...]
    deployed: Made
    dies_after: int = -1  # ranges until the server dies in the recorded life
    kept: tuple[Made, ...] = field(default=())  # versions on the disk in the end

    @property
    def old(self) -> Made | None:
        healthy = [made for made in self.before if made.version not in SICKNESS]
        return healthy[-1] if healthy else None

    @property
    def wanted(self) -> Made | None:
        return self.old if self.deployed.version in SICKNESS else self.deployed

    @property
    def ends(self) -> DeploymentState:
        """What is reported in the end."""
        return DeploymentState.FAILED if self.deployed.version in SICKNESS else DeploymentState.CONFIRMED

    @property
    def allowed(self) -> tuple[Made | None, ...]:
        """What `current` may lead to at any moment."""
        return (self.old, self.deployed)


SCENARIOS = (
    Scenario("first install", (), V1, kept=(V1,)),
    Scenario("first install of a sick version", (), SICK),
    Scenario("update", (V1,), V2, kept=(V1, V2)),
    Scenario("rollback", (V1,), SICK, kept=(V1,)),
    Scenario("update after a rollback", (V1, SICK), V2, kept=(V1, V2)),
    Scenario("update that drops an old version", (V1, V2), V4, kept=(V2, V4)),
    Scenario("back to the version before", (V1, V2), V1, kept=(V1, V2)),
    Scenario("interrupted download", (V1,), V2, dies_after=2, kept=(V1, V2)),
)

# With the installer `command`: what they write lies outside, where no rename makes it whole.
PARTITIONS = (
    Scenario("partition, first install", (), F1, kept=(F1,)),
    Scenario("partition, first install of a sick version", (), FLASH_SICK),
    Scenario("partition, update", (F1,), F2, kept=(F1, F2)),
    Scenario("partition, rollback", (F1,), FLASH_SICK, kept=(F1,)),
    Scenario("partition that is asked, update", (A1,), A2, kept=(A1, A2)),
)


def server_of(scenario: Scenario) -> Server:
    """Servers after the operator deployed: the generation counts what was deployed before."""
    server = Server(*ALL_VERSIONS)
    for made in (*scenario.before, scenario.deployed):
        server.deploy(made)
    return server


def prepare(scenario: Scenario, directory: Path) -> None:
    """A settled board on which everything of `before` was deployed, one after the other."""
    directory.mkdir()
    server = Server(*ALL_VERSIONS)
    for made in scenario.before:
        server.deploy(made)
        life = Life(directory, server, BOOT, sick=SICKNESS)
        life.follow()
        life.run(1.0)


@dataclass
class Recorded:
    """`saved` are the ledgers that were written, with the number of steps after which each was promised.

    `boot` names the start of the machine that was recorded.
    """

    scenario: Scenario
    disk: Disk
    saved: list[tuple[int, bytes]]
    boot: str = BOOT


def record(scenario: Scenario, directory: Path) -> Recorded:
    """Carry `scenario` out with every step on record."""
    prepare(scenario, directory)
    return carry_out(scenario, directory, BOOT)


def carry_out(scenario: Scenario, directory: Path, boot: str) -> Recorded:
    """What an agent does, started at `boot` on the disk at `directory`, until the deployment is over."""
    disk = Disk(directory)
    saved: list[tuple[int, bytes]] = []
    ledger = directory / "state" / "ledger.json"
    if ledger.exists():
        saved.append((0, ledger.read_bytes()))
    server = server_of(scenario)
    server.dies_after = scenario.dies_after
    with disk.installed():
        life = Life(directory, server, boot, sick=SICKNESS)
        life.on_saved = lambda: saved.append((len(disk.steps), life.saved[-1]))
        if life.saved:
            saved.append((len(disk.steps), life.saved[-1]))
        if scenario.dies_after >= 0:
            life.run(20.0)
            server.dies_after = -1
        state = life.follow()
        life.run(1.0)
    disk.check()
    assert state is scenario.ends
    return Recorded(scenario, disk, saved, boot)


def emptied(directory: Path, make: Callable[[Path], None]) -> Path:
    """`directory` anew, as `make` makes it."""
    shutil.rmtree(directory, ignore_errors=True)
    make(directory)
    return directory
