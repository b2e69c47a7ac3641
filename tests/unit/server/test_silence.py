"""Boards that say nothing: the alarm, and the rollouts that wait for them; also after the active changed."""

from pathlib import Path

import msgspec
import pytest

from boardwright.model.report import SILENT_AFTER
from boardwright.server.alarms import AlarmKind, Alarms
from boardwright.server.board_reports import BoardReports
from boardwright.server.facts import encoded
from boardwright.server.rollout_watch import RolloutWatch
from boardwright.server.silence import EVERY, NAMED, SilenceWatch
from boardwright.state.kv import Transaction
from boardwright.state.records import RolloutRecord
from tests.unit.server.builders import Version, board, confirmed, fill, report
from tests.unit.server.test_executor import Bench

BOARDS = ("c1s3", "c1s4", "c2s3")


class Silence(Bench):
    """Version 1 is planned for every board; `pass_time` lets seconds go by with a look every `EVERY`."""

    def __init__(self, folder: Path, boards: tuple[str, ...] = BOARDS) -> None:
        super().__init__(folder)
        self.sequence, self.active = 0, True
        fill(self.kv, Version(), boards=tuple(map(board, boards)))
        self.deploy()
        self.round()
        self.alarms = Alarms("c1s1", lambda: self.now)
        self.watch = SilenceWatch(
            self.mirror, self.board_reports, self.alarms, lambda: self.now - self.active_since, lambda: self.active
        )

    def say(self, *boards: str) -> None:
        self.sequence += 1
        self.board_reports.take(report(board(name), self.sequence, 1, platform=confirmed("1")) for name in boards)

    def pass_time(self, seconds: float, *speaking: str) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + EVERY)
            self.say(*speaking)
            self.watch.look()
            self.round()

    def sentences(self) -> dict[str, str]:
        return {one.subject: one.sentence for one in self.alarms.listing()}


@pytest.fixture
def bench(tmp_path: Path) -> Silence:
    return Silence(tmp_path)


class TestTheAlarm:
    def test_comes_within_its_bound_and_goes_when_the_board_speaks_again(self, bench: Silence) -> None:
        bench.pass_time(60, *BOARDS)
        assert bench.sentences() == {}
        bench.pass_time(SILENT_AFTER, "c1s4", "c2s3")
        assert bench.sentences() == {}
        bench.pass_time(EVERY, "c1s4", "c2s3")
        assert bench.alarms.subjects(AlarmKind.SILENT_BOARD) == {"chassis 1"}
        assert bench.sentences()["chassis 1"].startswith("c1s3 has not been heard for 30 s")
        bench.pass_time(EVERY, *BOARDS)
        assert bench.sentences() == {}

    def test_is_one_for_each_chassis_and_names_the_first_few(self, tmp_path: Path) -> None:
        many = Silence(tmp_path, tuple(f"c{chassis}s{slot}" for chassis in (1, 2) for slot in range(1, 10)))
        many.pass_time(SILENT_AFTER + EVERY, "c2s1")
        assert set(many.sentences()) == {"chassis 1", "chassis 2"}
        assert many.sentences()["chassis 1"].startswith(f"c1s1, c1s2, c1s3, c1s4, c1s5 and {9 - NAMED} more have not")

    def test_is_not_raised_again_while_nothing_changes(self, bench: Silence) -> None:
        bench.pass_time(300)
        assert {one.count for one in bench.alarms.listing()} == {1}

    def test_of_a_board_that_was_never_heard_comes_after_the_same_time(self, bench: Silence) -> None:
        bench.pass_time(SILENT_AFTER + EVERY)
        assert set(bench.sentences()) == {"chassis 1", "chassis 2"}

    def test_a_new_active_gives_every_board_its_time(self, bench: Silence) -> None:
        bench.say(*BOARDS)  # a standby hears a board now and then, when it asks
        bench.now += 500
        bench.active_since = bench.now
        bench.pass_time(SILENT_AFTER)
        assert bench.sentences() == {}
        bench.pass_time(EVERY, "c2s3")
        assert set(bench.sentences()) == {"chassis 1"}

    def test_who_is_not_the_active_any_more_warns_of_nobody(self, bench: Silence) -> None:
        bench.pass_time(SILENT_AFTER + EVERY)
        bench.active = False
        bench.watch.look()
        assert bench.sentences() == {}


class TestARollout:
    def test_fails_for_a_silent_board_within_the_bound(self, bench: Silence) -> None:
        bench.pass_time(SILENT_AFTER, "c1s4", "c2s3")
        assert bench.round().rollouts["r1"].outcome == ""
        bench.pass_time(EVERY, "c1s4", "c2s3")
        ended = bench.round().rollouts["r1"]
        assert (ended.outcome, ended.reasons) == ("failed", {"c1s3": "never heard from"})
        bench.pass_time(EVERY, *BOARDS)
        assert bench.round().rollouts["r1"].outcome == "done"

    @pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
    def test_the_same_after_the_active_changed_whatever_the_time_of_its_host(
        self, bench: Silence, ahead: float
    ) -> None:
        """The new active heard one board long ago; the clock of the one before was an hour off."""
        entry = bench.kv.get("rollouts/r1")
        assert entry is not None
        record = msgspec.json.decode(entry.value, type=RolloutRecord)
        off = msgspec.structs.replace(record, started=record.started + ahead)
        bench.kv.commit(Transaction({entry.key: entry.revision}, {entry.key: encoded(off)}))
        bench.round()
        now = [1000.0]
        reports = BoardReports(lambda: now[0])
        reports.take([report(board("c1s3"), 1)])
        now[0] += 400
        since = now[0]
        watch = RolloutWatch(bench.mirror, reports, lambda: since, lambda: now[0])

        def state_when_the_others_speak() -> str:
            reports.take(report(board(name), int(now[0]), 1, platform=confirmed("1")) for name in ("c1s4", "c2s3"))
            return watch.statuses()[0].state

        assert state_when_the_others_speak() == "running"
        now[0] += SILENT_AFTER
        assert state_when_the_others_speak() == "running"
        now[0] += EVERY
        assert state_when_the_others_speak() == "failed"
        assert watch.statuses()[0].reasons == {"c1s3": "silent for 432 s"}
