"""Hands that know that what they install is themselves."""

from pathlib import Path
from typing import cast

import pytest

from boardwright.agent import deployment as d
from boardwright.agent.deployment import Deployment, Event
from boardwright.agent.own_release import OwnRelease
from boardwright.agent.ports import Hands
from boardwright.agent.versions import directory_name
from boardwright.boot.names import AGENT_GROUP
from boardwright.boot.release import Boot
from boardwright.boot.trial import PROOF, Trial, read_trial, write_trial
from boardwright.model.software import Target

OLD = Target(AGENT_GROUP, "1", "*", "a" * 64)
NEW = Target(AGENT_GROUP, "2", "*", "b" * 64)
OTHER = Target("platform", "2", "*", "c" * 64)


class Recording:
    """Hands that only note what they were asked for."""

    def __init__(self) -> None:
        self.actions: list[object] = []

    def activate(self, action: object) -> None:
        self.actions.append(action)

    probe = roll_back = confirm = discard = activate


class Board:
    """`entered` is the release that runs; the link leads to `link`."""

    def __init__(self, root: Path, entered: Target | None, link: Target | None, *, followed: bool = True) -> None:
        self.directory = root / AGENT_GROUP
        self.directory.mkdir(exist_ok=True)
        self.hands, self.posted, self.disarmed = Recording(), list[Event](), 0
        name = directory_name(entered) if entered else ""
        self.point(entered)
        boot = Boot(1, ("loader",), str(self.directory), name, name) if followed else Boot(1, ("loader",))
        hands = cast(Hands, self.hands)
        self.own = OwnRelease(hands, root, boot, lambda group, event: self.posted.append(event), self._disarm)
        self.point(link)

    def point(self, target: Target | None) -> None:
        (self.directory / "current").unlink(missing_ok=True)
        if target is not None:
            (self.directory / "current").symlink_to(f"versions/{directory_name(target)}")

    def break_the_disk(self) -> None:
        (self.directory / ".trial.json.new").mkdir()

    def _disarm(self) -> None:
        self.disarmed += 1

    @property
    def trial(self) -> Trial:
        return read_trial(self.directory)


class TestTheOldAgent:
    def test_gives_the_new_one_a_clean_slate_before_it_is_in_place(self, tmp_path: Path) -> None:
        board = Board(tmp_path, OLD, OLD)
        write_trial(board.directory, Trial(directory_name(OLD), starts=3).fall(directory_name(NEW), "it hung"))
        assert board.own.fallen(NEW) == "it hung"
        board.own.activate(d.Activate(NEW, OLD))
        assert board.trial == Trial(directory_name(OLD))
        assert board.hands.actions == [d.Activate(NEW, OLD)]

    def test_begins_nothing_that_it_cannot_write_down(self, tmp_path: Path) -> None:
        board = Board(tmp_path, OLD, OLD)
        write_trial(board.directory, Trial().fall("x", "y"))
        board.break_the_disk()
        board.own.activate(d.Activate(NEW, OLD))
        board.own.roll_back(d.RollBack(NEW, OLD))
        failed, not_back = board.posted
        assert isinstance(failed, d.ActivationFailed)
        assert not failed.bad
        assert isinstance(not_back, d.RollBackFailed)
        assert not_back.disk
        assert board.hands.actions == []

    def test_leaves_as_soon_as_the_ledger_says_that_the_new_one_is_probed_and_not_before(self, tmp_path: Path) -> None:
        board = Board(tmp_path, OLD, NEW)
        for phase, due in (
            (d.Activating(target=NEW, since=0.0), False),
            (d.RollingBack(target=NEW, since=0.0), False),
            (d.Probing(target=NEW, since=0.0), True),
            (d.Probing(target=OLD, since=0.0), False),
            (d.Failed(target=NEW, reason="x"), True),
            (d.Idle(), True),
        ):
            assert board.own.due(Deployment(AGENT_GROUP, phase)) is due, phase
        board.own.probe(d.Probe(NEW))
        assert (board.hands.actions, board.posted) == ([], [])
        board.point(OLD)
        assert not board.own.due(Deployment(AGENT_GROUP, d.Probing(target=NEW, since=0.0)))

    def test_that_no_boot_stage_started_vetoes_its_own_upgrade_and_stays(self, tmp_path: Path) -> None:
        board = Board(tmp_path, OLD, NEW, followed=False)
        board.own.activate(d.Activate(NEW, None))
        assert isinstance(board.posted[0], d.Vetoed)
        assert not board.own.due(Deployment(AGENT_GROUP))


class TestTheNewAgent:
    def test_is_probed_when_it_has_proved_itself(self, tmp_path: Path) -> None:
        board = Board(tmp_path, NEW, NEW)
        board.own.probe(d.Probe(NEW))
        board.own.wake(5.0)
        assert board.own.next_wakeup() == 5.0 + PROOF
        assert board.hands.actions == []
        board.own.proved()
        assert board.hands.actions == [d.Probe(NEW)]
        board.own.wake(1000.0)
        assert board.posted == []

    def test_is_unhealthy_if_it_does_not_in_time(self, tmp_path: Path) -> None:
        board = Board(tmp_path, NEW, NEW)
        board.own.probe(d.Probe(NEW))
        for now in (5.0, 5.0 + PROOF - 0.1, 5.0 + PROOF, 500.0):
            board.own.wake(now)
        (event,) = board.posted
        assert isinstance(event, d.Unhealthy)
        assert "no report" in event.reason
        assert board.disarmed == 0

    def test_is_the_confirmed_one_when_it_is_healthy_and_its_alarm_is_off(self, tmp_path: Path) -> None:
        board = Board(tmp_path, NEW, NEW)
        healthy = d.Healthy(NEW.manifest)
        assert board.own.heard("platform", healthy) is healthy
        assert (board.trial.confirmed, board.disarmed) == ("", 0)
        assert board.own.heard(AGENT_GROUP, healthy) is healthy
        assert (board.trial.confirmed, board.disarmed) == (directory_name(NEW), 1)

    def test_is_unhealthy_if_that_cannot_be_written_down(self, tmp_path: Path) -> None:
        board = Board(tmp_path, NEW, NEW)
        board.break_the_disk()
        assert isinstance(board.own.heard(AGENT_GROUP, d.Healthy(NEW.manifest)), d.Unhealthy)
        assert board.disarmed == 0

    def test_makes_the_one_before_the_confirmed_one_before_it_goes_back(self, tmp_path: Path) -> None:
        board = Board(tmp_path, NEW, NEW)
        write_trial(board.directory, Trial(directory_name(NEW)))
        board.own.roll_back(d.RollBack(NEW, OLD))
        assert board.trial.confirmed == directory_name(OLD)
        board.own.roll_back(d.RollBack(NEW, None))
        assert board.trial.confirmed == ""
        assert board.hands.actions == [d.RollBack(NEW, OLD), d.RollBack(NEW, None)]

    def test_that_the_boot_stage_could_not_enter_is_unhealthy_at_once(self, tmp_path: Path) -> None:
        board = Board(tmp_path, OLD, NEW)
        boot = Boot(1, ("loader",), str(board.directory), directory_name(NEW), directory_name(OLD))
        own = OwnRelease(cast(Hands, board.hands), tmp_path, boot, lambda _, event: board.posted.append(event), int)
        own.probe(d.Probe(NEW))
        assert isinstance(board.posted[0], d.Unhealthy)


def test_what_the_ledger_calls_running_is_no_trial_even_if_the_trial_s_file_is_lost(tmp_path: Path) -> None:
    board = Board(tmp_path, OLD, OLD)
    board.own.resumed(Deployment(AGENT_GROUP, running=OLD))
    assert (board.trial.confirmed, board.disarmed) == (directory_name(OLD), 1)
    board = Board(tmp_path, NEW, NEW)
    board.own.resumed(Deployment(AGENT_GROUP, d.Probing(target=NEW, since=0.0), running=OLD))
    assert (board.trial.confirmed, board.disarmed) == (directory_name(OLD), 0)


@pytest.mark.parametrize("action", [d.Activate(OTHER, None), d.Probe(OTHER), d.RollBack(OTHER, None)])
def test_of_other_groups_they_are_the_hands_that_they_were(tmp_path: Path, action: d.Action) -> None:
    board = Board(tmp_path, OLD, OLD)
    name = {d.Activate: "activate", d.Probe: "probe", d.RollBack: "roll_back"}[type(action)]
    getattr(board.own, name)(action)
    assert (board.hands.actions, board.trial) == ([action], Trial())
