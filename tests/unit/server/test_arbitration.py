"""The hardware's choice: what its command says, for how long that counts, and what no answer does."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from boardwright.server.alarms import AlarmKind, Alarms
from boardwright.server.arbitration import ANSWER_TIME, KEEP_FOR, Answer, Arbiter, ArbitrationCommand, Choice, Verdict

YES, NO, UNKNOWN = Verdict


class TestTheChoice:
    def test_is_the_last_answer(self) -> None:
        choice = Choice(0.0)
        for now, verdict in enumerate((YES, NO, NO, YES)):
            choice.take(verdict, float(now))
            assert choice.may_lead(float(now)) is (verdict is YES)
            assert choice.verdict(float(now)) is verdict

    @pytest.mark.parametrize("verdict", [YES, NO])
    def test_stays_while_there_is_no_answer_and_then_the_lease_alone_decides(self, verdict: Verdict) -> None:
        choice = Choice(0.0)
        choice.take(verdict, 5.0)
        for passed in (0.5, KEEP_FOR / 2, KEEP_FOR - 0.1):
            choice.take(UNKNOWN, 5.0 + passed)
            assert choice.may_lead(5.0 + passed) is (verdict is YES)
        assert choice.may_lead(5.0 + KEEP_FOR)
        assert choice.verdict(5.0 + KEEP_FOR) is UNKNOWN
        choice.take(NO, 6.0 + KEEP_FOR)
        assert not choice.may_lead(6.0 + KEEP_FOR)

    def test_is_waited_for_by_a_server_that_starts_but_not_for_ever(self) -> None:
        choice = Choice(100.0)
        assert not choice.may_lead(100.0)
        assert not choice.may_lead(100.0 + KEEP_FOR - 0.1)
        assert choice.may_lead(100.0 + KEEP_FOR)


class Bench:
    """A server whose command says what stands in `answer`."""

    def __init__(self) -> None:
        self.now = 50.0
        self.answer = Answer(YES)
        self.stop = threading.Event()
        self.alarms = Alarms("c1s1", lambda: self.now)
        self.arbiter = Arbiter("c1s1", lambda _stop: self.answer, self.alarms, lambda: self.now)

    def says(self, verdict: Verdict, why: str = "", *, after: float = 1.0) -> None:
        self.now += after
        self.answer = Answer(verdict, why)
        self.arbiter.round(self.stop)

    @property
    def alarmed(self) -> list[str]:
        return [alarm.sentence for alarm in self.alarms.listing() if alarm.kind == AlarmKind.ARBITRATION.value]


class TestTheServer:
    def test_may_be_the_active_as_the_command_says(self) -> None:
        bench = Bench()
        bench.says(YES)
        assert (bench.arbiter.may_lead(), bench.arbiter.verdict()) == (True, "yes")
        bench.says(NO)
        assert (bench.arbiter.may_lead(), bench.arbiter.verdict()) == (False, "no")

    def test_says_so_when_the_command_says_nothing_for_too_long_and_when_it_does_again(self) -> None:
        bench = Bench()
        bench.says(NO)
        bench.says(UNKNOWN, "ended with 7")
        assert bench.alarmed == []
        bench.says(UNKNOWN, "ended with 7", after=KEEP_FOR)
        assert bench.arbiter.may_lead()
        assert bench.alarmed == [
            "the arbitration command says nothing, the lease alone decides who is active: it ended with 7"
        ]
        bench.says(NO)
        assert bench.alarmed == []
        assert not bench.arbiter.may_lead()

    def test_that_ends_takes_no_answer_in_any_more(self) -> None:
        bench = Bench()
        bench.says(YES)
        bench.stop.set()
        bench.says(NO)
        assert bench.arbiter.may_lead()


class TestTheCommand:
    @pytest.mark.parametrize(
        ("script", "answer"),
        [
            ("exit 0", Answer(YES)),
            ("exit 1", Answer(NO)),
            ("exit 2", Answer(UNKNOWN, "ended with 2")),
            ("kill -TERM $$", Answer(UNKNOWN, "was ended by signal 15")),
            ('test "$BOARDWRIGHT_BOARD" = c1s1 && test -z "$HOME"', Answer(YES)),
        ],
    )
    def test_says_it_by_its_exit_code(self, script: str, answer: Answer) -> None:
        command = ArbitrationCommand(["/bin/sh", "-c", script], {"BOARDWRIGHT_BOARD": "c1s1"}, 20.0)
        assert command(threading.Event()) == answer

    def test_that_is_not_there_is_no_answer(self, tmp_path: Path) -> None:
        command = ArbitrationCommand([str(tmp_path / "none")], {})
        assert command(threading.Event()) == Answer(UNKNOWN, "could not be started (No such file or directory)")

    def test_that_hangs_is_killed_with_all_it_started(self, tmp_path: Path) -> None:
        ids = tmp_path / "ids"
        script = f"sleep 600 & echo $! > {ids}; sleep 600"
        command = ArbitrationCommand(["/bin/sh", "-c", script], {"PATH": "/usr/bin:/bin"}, 0.3)
        begun = time.monotonic()
        assert command(threading.Event()) == Answer(UNKNOWN, "gave no answer within 0.3 s")
        assert time.monotonic() - begun < ANSWER_TIME
        child = Path("/proc") / ids.read_text().strip()
        deadline = time.monotonic() + 20
        while child.exists() and " Z " not in (child / "stat").read_text():
            assert time.monotonic() < deadline

    def test_that_cannot_be_killed_is_not_started_a_second_time(self, tmp_path: Path) -> None:
        ids: list[int] = []
        started = tmp_path / "started"
        script = f"test -e {started} && exit 0; echo x > {started}; exec sleep 600"
        environment = {"PATH": "/usr/bin:/bin"}
        command = ArbitrationCommand(["/bin/sh", "-c", script], environment, 1.0, lambda pid, _: ids.append(pid))
        stop = threading.Event()
        assert command(stop).why == "gave no answer within 1 s"
        assert command(stop).why == "hangs and cannot be killed"
        (hanging,) = ids
        os.kill(hanging, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while command(stop).verdict is not YES:  # until the kernel has taken it away
            assert time.monotonic() < deadline

    def test_is_waited_for_no_longer_when_the_server_ends(self) -> None:
        stop = threading.Event()
        stop.set()
        begun = time.monotonic()
        assert ArbitrationCommand(["/bin/sleep", "600"], {}, 60.0)(stop).verdict is UNKNOWN
        assert time.monotonic() - begun < 20
