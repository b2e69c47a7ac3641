"""`boardwright upgrade`: what is asked for, told and judged."""

import msgspec
import pytest

from boardwright.model.upgrade import ServerProgress, ServerStep, UpgradeRequest, UpgradeStatus
from tests.unit.cli.conftest import Command, FakeCluster

FIRST = ServerProgress("c1s1", "1.0", "1.0", ServerStep.CHANGES, "changes to 2.0: downloading")
BEGUN = UpgradeStatus("u1", "2.0", "running", servers=(FIRST, ServerProgress("c1s2", "1.0", "1.0", ServerStep.WAITS)))
PROVEN = tuple(ServerProgress(name, "1.0", "2.0", ServerStep.PROVEN) for name in ("c1s1", "c1s2"))
DONE = UpgradeStatus("u1", "2.0", "done", servers=PROVEN)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boardwright.cli.upgrading.PERIOD", 0.0)


def test_names_the_upgrade_on_stdout_and_asks_for_what_was_said(command: Command, cluster: FakeCluster) -> None:
    cluster.upgrade_answers = [BEGUN]
    ended = command("upgrade", "2.0", "--no-agents", "--soak", "30")
    assert (ended.code, ended.out) == (0, "u1\n")
    assert cluster.upgraded == [UpgradeRequest("2.0", agents=False, soak=30.0)]


def test_watching_tells_every_step_once(command: Command, cluster: FakeCluster) -> None:
    cluster.upgrade_answers = [BEGUN, BEGUN, DONE]
    ended = command("upgrade", "2.0", "--watch")
    assert ended.code == 0
    assert ended.err.splitlines()[1:] == ["c1s1 changes to 2.0: downloading", "c1s1 runs 2.0", "c1s2 runs 2.0"]


def test_one_that_stopped_ends_with_1_its_reason_and_what_can_be_done(command: Command, cluster: FakeCluster) -> None:
    stopped = msgspec.structs.replace(BEGUN, state="stopped", reason="c1s1: it was sick")
    cluster.upgrade_answers = [BEGUN, stopped]
    ended = command("upgrade", "2.0", "--watch")
    assert ended.code == 1
    assert "upgrade u1 to 2.0 ended stopped: c1s1: it was sick" in ended.err
    assert "--abort" in ended.err


def test_going_back_is_watched_until_it_has_gone_back(command: Command, cluster: FakeCluster) -> None:
    back = UpgradeStatus("u1", "2.0", "gone back", servers=(ServerProgress("c1s1", "", "", ServerStep.PROVEN),))
    cluster.upgrade_answers = [msgspec.structs.replace(back, state="going back"), back]
    ended = command("upgrade", "--abort", "--watch")
    assert ended.code == 0
    assert "c1s1 runs the installed program again" in ended.err


def test_without_a_version_shows_how_far_the_newest_is(command: Command, cluster: FakeCluster) -> None:
    assert command("upgrade").out == "there was no upgrade yet\n"
    cluster.upgrade_answers = [msgspec.structs.replace(BEGUN, waits="c1s1 changes to 2.0: downloading")]
    shown = command("upgrade").out
    assert shown.startswith("upgrade u1 to 2.0: running; c1s1 changes to 2.0: downloading\n")
    assert "c1s2" in shown


def test_a_version_to_go_back_to_is_wrong_usage(command: Command) -> None:
    ended = command("upgrade", "2.0", "--abort")
    assert ended.code == 2
    assert "--abort goes with no VERSION" in ended.err
