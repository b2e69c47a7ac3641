"""A board's disk that is full, or fails, at any step of a deployment: what runs goes on, and the next try succeeds."""

import errno
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.board import Life, use_small_pieces
from tests.faults.checks import check_clean, check_record, check_state
from tests.faults.deployments import BOOT, SCENARIOS, SICKNESS, Scenario, prepare, server_of
from tests.faults.disk import GROWS, Disk
from tests.faults.versions import GROUP

FULL_FOR = 60.0  # virtual seconds until there is space again
UPDATE, ROLLBACK = (next(one for one in SCENARIOS if one.name == name) for name in ("update", "rollback"))


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_pieces(monkeypatch)


class Trouble:
    """A disk that gives `number` from its `at`-th call on: for every call that needs space, or `once` for any."""

    def __init__(self, number: int, at: int, *, once: bool) -> None:
        self.number, self.at, self.once = number, at, once
        self.calls, self.over = 0, False
        self.met = ""

    def __call__(self, call: str, path: str) -> OSError | None:
        if not self.once and call not in GROWS:
            return None
        self.calls += 1
        if self.over or self.calls <= self.at or (self.once and self.calls > self.at + 1):
            return None
        self.met = self.met or f"{call} {path}"
        return OSError(self.number, os.strerror(self.number), path)


@pytest.mark.parametrize("scenario", [UPDATE, ROLLBACK], ids=lambda scenario: scenario.name)
def test_a_board_whose_disk_is_full_at_any_write_goes_on_and_says_so(
    scenario: Scenario, fast_disk: Path, points: Counter[str]
) -> None:
    for trouble in every_call(scenario, fast_disk, errno.ENOSPC, once=False):
        points["writes onto a full disk"] += bool(trouble.met)


@pytest.mark.parametrize("scenario", [UPDATE, ROLLBACK], ids=lambda scenario: scenario.name)
def test_a_board_whose_disk_fails_once_at_any_call_gets_there(
    scenario: Scenario, fast_disk: Path, points: Counter[str]
) -> None:
    for trouble in every_call(scenario, fast_disk, errno.EIO, once=True):
        points["calls that failed with an I/O error"] += bool(trouble.met)


def every_call(scenario: Scenario, directory: Path, number: int, *, once: bool) -> Iterator[Trouble]:
    """Carry the scenario out again and again, with the trouble one call later each time, until it meets nobody."""
    prepare(scenario, directory / "settled")
    at = 0
    while True:
        trouble = Trouble(number, at, once=once)
        board = directory / "board"
        shutil.copytree(directory / "settled", board, symlinks=True)
        try:
            suffer(scenario, board, trouble)
        except AssertionError as error:
            raise AssertionError(f"{errno.errorcode[number]} from call {at} on, {trouble.met}: {error}") from error
        shutil.rmtree(board)
        yield trouble
        if not trouble.met:
            return
        at += 1


def suffer(scenario: Scenario, board: Path, trouble: Trouble) -> None:
    server, disk = server_of(scenario), Disk(board)
    with disk.installed():
        life = Life(board, server, BOOT, sick=SICKNESS)
        disk.fault = trouble
        life.run(FULL_FOR)
        check_state(board, scenario.allowed)
        if trouble.met and not trouble.once:
            said = [life.driver.trouble, *(getattr(one.phase, "reason", "") for one in life.driver.groups.values())]
            done = life.driver.groups[GROUP].running == scenario.deployed.target
            assert done or any(os.strerror(trouble.number) in one for one in said), f"it says only {said}"
        trouble.over = True
        state = life.follow()
        life.run(1.0)
    # What could not be removed meanwhile is removed by the next confirm, or the next start.
    Life(board, server, BOOT, sick=SICKNESS).run(1.0)
    assert state is scenario.ends, f"it ends {state}: {life.driver.groups}"
    check_state(board, (scenario.wanted,))
    check_record(board, server.plan.generation)
    check_clean(board, scenario.kept)
