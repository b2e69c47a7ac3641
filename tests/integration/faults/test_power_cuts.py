"""Power cuts at every point of a deployment, in every state that they can leave a disk in (docs/power-cuts.md)."""

import logging
import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
import structlog

from boardwright.model.report import DeploymentState
from tests.faults.board import Life, use_small_pieces
from tests.faults.checks import check_clean, check_ledger, check_record, check_state
from tests.faults.crash import Crash, Crashes
from tests.faults.deployments import BOOT, SCENARIOS, SICK, SICKNESS, Recorded, Scenario, record, server_of

SOAK_SUBSETS = int(os.environ.get("BOARDWRIGHT_SOAK_SUBSETS", "20"))
DARK = 3.0  # virtual seconds that a board is left alone, with no server in sight


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_pieces(monkeypatch)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # thousands of lives


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_after_a_cut_anywhere_the_old_or_the_new_version_runs(
    scenario: Scenario, fast_disk: Path, points: Counter[str]
) -> None:
    cut_everywhere(scenario, fast_disk, points, subsets=1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_after_a_cut_anywhere_with_many_random_losses(
    scenario: Scenario, fast_disk: Path, points: Counter[str]
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"soak: seed {seed}")  # noqa: T201
    cut_everywhere(scenario, fast_disk, points, subsets=SOAK_SUBSETS, seed=seed)


def cut_everywhere(scenario: Scenario, fast_disk: Path, points: Counter[str], *, subsets: int, seed: int = 1) -> None:
    recorded = record(scenario, fast_disk / "board")
    crashes = Crashes(recorded.disk.base, recorded.disk.steps, subsets=subsets, seed=seed)
    for crash in crashes:
        directory = fast_disk / "crashed"
        crash.image.write(directory)
        try:
            survive(recorded, crash, directory)
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
    life = Life(directory, server, "boot-2" if crash.power else BOOT, sick=SICKNESS)
    life.run(DARK)
    check_state(directory, scenario.allowed, scenario.before)

    server.up = True
    state = life.follow()
    life.run(1.0)
    expected = DeploymentState.FAILED if scenario.deployed is SICK else DeploymentState.CONFIRMED
    assert state is expected, f"it ends {state}: {life.driver.groups}"
    assert check_state(directory, (scenario.wanted,)) is scenario.wanted
    check_record(directory, server.plan.generation)
    check_clean(directory, scenario.kept)
    probes = Counter(life.hooks)
    assert max(probes.values(), default=0) <= 2, f"it loops: {probes}"
