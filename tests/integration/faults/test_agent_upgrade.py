"""The agent's own upgrade, cut off at every point: no board is left without an agent, whatever the release is like."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from boardwright.boot.trial import STARTS
from boardwright.model.report import DeploymentState
from tests.faults.board import Server, use_small_pieces
from tests.faults.crash import Crash, Crashes
from tests.faults.disk import Disk
from tests.faults.upgrade import BROKEN, DIES, GOOD, HANGS, MUTE, Chain, made, prepared
from tests.faults.versions import Made

ONE, TWO = made("1"), made("2")
BOOT = "boot-1"
PATIENT = 1000.0  # virtual seconds: longer than everything that may be waited for
DARK = 160.0  # virtual seconds without a server: longer than a trial


@dataclass(frozen=True)
class Upgrade:
    """`before` runs, confirmed (None: the installed program); then the plan names `wanted`, whose agent is `kind`."""

    name: str
    before: Made | None
    wanted: Made | None
    kind: str = GOOD

    @property
    def ends(self) -> str:
        """The release that runs in the end."""
        after = self.wanted if self.kind == GOOD else self.before
        return after.version if after is not None else ""

    @property
    def kinds(self) -> dict[str, str]:
        return {} if self.wanted is None or self.kind == GOOD else {self.wanted.version: self.kind}


UPGRADES = [
    Upgrade("the first release", None, ONE),
    Upgrade("the next release", ONE, TWO),
    Upgrade("back to the installed program", ONE, None),
    *(Upgrade(f"a first release that {kind}", None, ONE, kind) for kind in (DIES, HANGS, MUTE, BROKEN)),
    *(Upgrade(f"a release that {kind}", ONE, TWO, kind) for kind in (DIES, HANGS, MUTE, BROKEN)),
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_pieces(monkeypatch)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def server_of(upgrade: Upgrade) -> Server:
    server = Server(ONE, TWO)
    if upgrade.before is not None:
        server.deploy(upgrade.before)
    server.deploy(upgrade.wanted)
    return server


def settled(upgrade: Upgrade, directory: Path) -> None:
    """The board as it is before the upgrade."""
    prepared(directory)
    if upgrade.before is not None:
        server = Server(ONE, TWO)
        server.deploy(upgrade.before)
        assert Chain(directory, server, BOOT, {}).run(PATIENT) == upgrade.before.version


def recorded(upgrade: Upgrade, directory: Path) -> Disk:
    """The whole upgrade, every process of it, with every step on record."""
    settled(upgrade, directory)
    disk = Disk(directory)
    with disk.installed():
        chain = Chain(directory, server_of(upgrade), BOOT, upgrade.kinds)
        assert chain.run(PATIENT) == upgrade.ends, chain.said
    disk.check()
    check_end(upgrade, chain)
    return disk


def check_end(upgrade: Upgrade, chain: Chain) -> None:
    state, reason = chain.state()
    if upgrade.wanted is None:
        assert state is DeploymentState.IDLE
    elif upgrade.kind == GOOD:
        assert state is DeploymentState.CONFIRMED, reason
    else:
        assert state is DeploymentState.FAILED
        back = f"rolled back to {upgrade.ends}" if upgrade.ends else f"removed {upgrade.wanted.version}, the installed"
        assert reason.startswith(back), reason
    # A later start enters the same, and needs no trial for it.
    assert chain.run(PATIENT) == upgrade.ends
    broken = [one for one in chain.processes if upgrade.kinds.get(one)]
    assert len(broken) <= STARTS + 2, f"a bad release is started again and again: {chain.processes}"


@pytest.mark.parametrize("upgrade", UPGRADES, ids=lambda upgrade: upgrade.name)
def test_after_a_cut_anywhere_an_agent_runs_and_the_upgrade_ends_as_it_must(upgrade: Upgrade, fast_disk: Path) -> None:
    disk = recorded(upgrade, fast_disk / "board")
    crashes = Crashes(disk.base, disk.steps, subsets=1)
    # What comes before is a download like any other (test_power_cuts.py).
    first = next(at for at, step in enumerate(disk.steps) if "current" in step.what or "trial.json" in step.what)
    crashes.since = max(0, first - 6)
    for crash in crashes:
        directory = fast_disk / "crashed"
        crash.image.write(directory)
        try:
            survive(upgrade, crash, directory)
        except AssertionError as error:
            last = [step.what for step in disk.steps[max(0, crash.point - 4) : crash.point]]
            raise AssertionError(f"{crash.kind} after step {crash.point} (last: {last}): {error}") from error
        shutil.rmtree(directory)


def survive(upgrade: Upgrade, crash: Crash, directory: Path) -> None:
    """An agent runs in the dark, and when servers are back the upgrade ends."""
    server = server_of(upgrade)
    server.up = False
    alone = directory.with_name("alone")
    shutil.copytree(directory, alone, symlinks=True)
    start = "boot-2" if crash.power else BOOT
    chain = Chain(alone, server, start, upgrade.kinds)
    version = chain.run(DARK)
    assert upgrade.kinds.get(version, GOOD) == GOOD, f"{version} runs for good"
    server.up = True
    back = Chain(alone, server, start, upgrade.kinds)
    # In the dark a good release could not prove itself: then the one before runs, and says so.
    assert back.run(PATIENT) in {upgrade.ends, *([upgrade.before.version if upgrade.before else ""])}
    shutil.rmtree(alone)

    chain = Chain(directory, server_of(upgrade), start, upgrade.kinds)
    assert chain.run(PATIENT) == upgrade.ends, f"{chain.processes} {chain.said}"
    check_end(upgrade, chain)
