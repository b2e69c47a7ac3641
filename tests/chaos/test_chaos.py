"""Kills, halts, cuts, full disks, clocks that jump, over real servers, etcd members and boards, with changes going on.

Who is not root runs each test once more, as root of namespaces of its own.

CHAOS_SEED repeats faults and changes of a run, CHAOS_FAULTS says how many. A history that failed is kept and named.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.checker import check
from tests.chaos.cluster import FULL, SMALL, missing
from tests.chaos.faults import LASTS, schedule
from tests.chaos.history import Answered, Happening
from tests.chaos.run import Run
from tests.namespaces import OWN_ROOT

SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
FAULTS = int(os.environ.get("CHAOS_FAULTS") or 20)
SOAK = int(os.environ.get("CHAOS_FAULTS") or 200)


@pytest.fixture
def done_elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> bool:
    """False where all of it can be done; True if the test was run where it can be; else that is said."""
    if reason := missing():
        pytest.skip(reason)
    if os.geteuid() == 0:
        return False
    words = [*OWN_ROOT, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", ""]
    words += [f"--basetemp={tmp_path / 'root'}", request.node.nodeid]
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=request.config.rootpath)
    assert done.returncode == 0, done.stdout
    return True


def judged(directory: Path, seed: int, faults: int) -> list[Happening]:
    history = Run(directory, seed, faults).run()
    findings = "\n".join(map(str, check(history)))
    if findings:
        kept = Path(tempfile.mkdtemp(prefix=f"boardwright-chaos-{seed}-"))
        for file in (*directory.glob("*.jsonl"), *directory.glob("*.log")):
            shutil.copy(file, kept)
        pytest.fail(f"CHAOS_SEED={seed} CHAOS_FAULTS={faults}, history and logs are in {kept}:\n{findings}")
    return history


def outcomes(history: list[Happening]) -> Counter[str]:
    return Counter(event.outcome for event in history if isinstance(event, Answered))


@pytest.mark.timeout(300)  # a busy machine; it takes about a minute
def test_a_cluster_that_is_disturbed_keeps_its_word(done_elsewhere: bool, tmp_path: Path) -> None:
    assert done_elsewhere or outcomes(judged(tmp_path, SEED, FAULTS))["ok"] > 2, "changes went on"


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_cluster_that_is_disturbed_for_long_keeps_its_word(done_elsewhere: bool, tmp_path: Path) -> None:
    if done_elsewhere:
        return
    history = judged(tmp_path, SEED, SOAK)
    print(f"chaos: CHAOS_SEED={SEED}, {SOAK} faults, changes {dict(outcomes(history))}, nothing was found")  # noqa: T201


@pytest.mark.timeout(200)
def test_planted_bugs_are_found_in_real_programs(done_elsewhere: bool, tmp_path: Path) -> None:
    if done_elsewhere:
        return
    history = Run(tmp_path, 5, 0, SMALL).run({"server": "lost-write", "agent": "stale-plan"})
    found = [str(finding) for finding in check(history)]
    assert any("is lost: no rollout was committed" in sentence for sentence in found), found
    assert any(sentence.startswith("never_back: c") for sentence in found), found


class TestTheSchedule:
    def test_one_seed_gives_one_schedule(self) -> None:
        assert schedule(3, FULL, 50) == schedule(3, FULL, 50) != schedule(4, FULL, 50)

    def test_every_kind_and_every_kind_of_target_is_hit(self) -> None:
        faults = schedule(3, FULL, 200)
        assert {fault.kind for fault in faults} == {"kill", "halt", "cut", "deaf", "mute", "split", "full", "clock"}
        programs = {one for fault in faults if fault.kind == "kill" for one in fault.whom}
        assert {program.partition("-")[0] for program in programs} == {"server", "agent", "etcd"}

    def test_every_fault_is_bounded_and_undone_before_the_same_comes_again(self) -> None:
        faults = schedule(3, FULL, 200)
        assert all(fault.until - fault.at <= LASTS[1] for fault in faults)
        for index, one in enumerate(faults):
            for other in faults[index + 1 :]:
                if one.kind == other.kind and set(one.whom) & set(other.whom):
                    assert one.until < other.at
