"""Power cuts at every point of a deployment, in every state that they can leave a disk in (docs/power-cuts.md)."""

import logging
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from boardwright.agent.installers.command import UNSETTLED
from tests.faults.board import Life, use_small_pieces
from tests.faults.checks import check_clean, check_ledger, check_record, check_state
from tests.faults.crash import Crash, Crashes
from tests.faults.deployments import (
    BOOT,
    PARTITIONS,
    SCENARIOS,
    SICKNESS,
    Recorded,
    Scenario,
    carry_out,
    record,
    server_of,
)
from tests.faults.partition import check_partition
from tests.faults.versions import GROUP

SOAK_SUBSETS = int(os.environ.get("BOARDWRIGHT_SOAK_SUBSETS", "20"))
TWICE = [one for one in (*SCENARIOS, *PARTITIONS) if one.name in ("update", "rollback", "partition, rollback")]
DARK = 3.0  # virtual seconds that a board is left alone, with no server in sight


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_pieces(monkeypatch)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # thousands of lives


@pytest.mark.parametrize("scenario", [*SCENARIOS, *PARTITIONS], ids=lambda scenario: scenario.name)
def test_after_a_cut_anywhere_the_old_or_the_new_version_runs(
    scenario: Scenario, fast_disk: Path, points: Counter[str]
) -> None:
    cut_everywhere(scenario, fast_disk, points, subsets=int(scenario in SCENARIOS))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", [*SCENARIOS, *PARTITIONS], ids=lambda scenario: scenario.name)
def test_after_a_cut_anywhere_with_many_random_losses(
    scenario: Scenario, fast_disk: Path, points: Counter[str]
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"soak: seed {seed}")  # noqa: T201
    cut_everywhere(scenario, fast_disk, points, subsets=SOAK_SUBSETS, seed=seed)


def test_a_partition_whose_ledger_was_lost_with_the_power_is_never_taken_for_what_it_is_not(
    fast_disk: Path, points: Counter[str]
) -> None:
    update = next(one for one in PARTITIONS if one.name == "partition, update")
    cut_everywhere(update, fast_disk, points, subsets=0, check=survive_without_ledger)


@pytest.mark.parametrize("scenario", TWICE, ids=lambda scenario: scenario.name)
def test_after_a_second_cut_while_the_board_recovers_from_the_first(
    scenario: Scenario, fast_disk: Path, points: Counter[str]
) -> None:
    cut_twice(scenario, fast_disk, points, random.Random(5), first=8, second=40)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", [*SCENARIOS, *PARTITIONS], ids=lambda scenario: scenario.name)
def test_after_a_second_cut_anywhere_while_the_board_recovers_from_many_first_ones(
    scenario: Scenario, fast_disk: Path, points: Counter[str]
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"soak: seed {seed}")  # noqa: T201
    cut_twice(scenario, fast_disk, points, random.Random(seed), first=SOAK_SUBSETS, second=0)


def cut_twice(
    scenario: Scenario, fast_disk: Path, points: Counter[str], chance: random.Random, *, first: int, second: int
) -> None:
    """From `first` states of power cuts on, cut the recovery in `second` states (0: in all)."""
    recorded = record(scenario, fast_disk / "board")
    cuts = [crash for crash in Crashes(recorded.disk.base, recorded.disk.steps, subsets=1) if crash.power]
    for crash in chance.sample(cuts, first):
        board = fast_disk / "recovering"
        crash.image.write(board)
        recovery = carry_out(scenario, board, "boot-2")
        again = list(Crashes(recovery.disk.base, recovery.disk.steps, subsets=int(not second)))
        for cut in chance.sample(again, min(second or len(again), len(again))):
            directory = fast_disk / "crashed"
            cut.image.write(directory)
            try:
                survive(recovery, cut, directory)
            except AssertionError as error:
                where = f"{crash.kind} after step {crash.point}, then {cut.kind} after step {cut.point} of the recovery"
                raise AssertionError(f"{where}: {error}") from error
            shutil.rmtree(directory)
            points["states after a second cut"] += 1
        shutil.rmtree(board)


def cut_everywhere(
    scenario: Scenario,
    fast_disk: Path,
    points: Counter[str],
    *,
    subsets: int,
    seed: int = 1,
    check: Callable[[Recorded, Crash, Path], None] | None = None,
) -> None:
    recorded = record(scenario, fast_disk / "board")
    steps = recorded.disk.steps
    crashes = Crashes(recorded.disk.base, steps, subsets=subsets, seed=seed)
    if not subsets:  # what comes before the programs is the same as in other scenarios
        crashes.since = max(0, next(at for at, step in enumerate(steps) if UNSETTLED in step.what) - 10)
    for crash in crashes:
        directory = fast_disk / "crashed"
        crash.image.write(directory)
        try:
            (check or survive)(recorded, crash, directory)
        except AssertionError as error:
            last = [step.what for step in recorded.disk.steps[max(0, crash.point - 4) : crash.point]]
            raise AssertionError(f"{crash.kind} after step {crash.point} (last: {last}): {error}") from error
        shutil.rmtree(directory)
        points["states"] += 1
    points["points"] += crashes.points


def survive(recorded: Recorded, crash: Crash, directory: Path) -> None:
    """Everything that must be true after `crash`, which left the files in `directory`."""
    scenario = recorded.scenario
    check_state(directory, scenario.allowed, scenario.before)
    promised = [data for at, data in recorded.saved if at <= crash.point]
    coming = [data for at, data in recorded.saved if at > crash.point]
    check_ledger(directory, promised[-1] if promised else None, coming[0] if coming else None)

    server = server_of(scenario)
    server.up = False
    life = Life(directory, server, f"{recorded.boot}-next" if crash.power else recorded.boot, sick=SICKNESS)
    life.run(DARK)
    alone = check_state(directory, scenario.allowed, scenario.before)
    if scenario in PARTITIONS:
        check_partition(directory, (alone,))

    server.up = True
    state = life.follow()
    life.run(1.0)
    assert state is scenario.ends, f"it ends {state}: {life.driver.groups}"
    assert check_state(directory, (scenario.wanted,)) is scenario.wanted
    if scenario in PARTITIONS:
        check_partition(directory, (scenario.wanted,))
    check_record(directory, server.plan.generation)
    check_clean(directory, scenario.kept)
    probes = Counter(life.hooks)
    assert max(probes.values(), default=0) <= 2, f"it loops: {probes}"


def survive_without_ledger(recorded: Recorded, crash: Crash, directory: Path) -> None:
    """What counts as in place is really there, or nothing counts; a server makes it whole."""
    scenario = recorded.scenario
    (directory / "state" / "ledger.json").unlink()
    server = server_of(scenario)
    server.up = False
    life = Life(directory, server, "boot-2" if crash.power else BOOT)
    life.run(DARK)
    running = life.driver.groups[GROUP].running
    if running is not None:
        there = tuple(one for one in scenario.allowed if one is not None and one.target == running)
        check_partition(directory, there, settled=False)
    server.up = True
    assert life.follow() is scenario.ends
    life.run(1.0)
    check_state(directory, (scenario.wanted,))
    check_partition(directory, (scenario.wanted,), settled=False)  # what is found there is not confirmed again
