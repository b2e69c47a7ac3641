"""Who may be the next active, what keeps a server from it, and a call that is repeated."""

import msgspec
import pytest

from boardwright.errors import FailedError, RefusedError
from boardwright.model.api import ServerList, ServerStatus, Switchover, SwitchoverRequest
from boardwright.model.audit import Act, Action, Actor, AuditRecord, read_line
from boardwright.server.audit_log import AuditLog
from boardwright.server.switchover import CATCH_UP, Switching, Unfit, choose, unfit
from boardwright.state.active import ActiveRole
from boardwright.state.lease import DeposedError
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.records import AUDIT, audit_number

ACTIVE = ServerStatus("c1s1", "1", "1", "active", "healthy", 3, 7, ("platform 1 *", "platform 2 *"), 0)
STANDBY = ServerStatus("c1s2", "1", "2", "standby", "healthy", 3, 7, ("platform 2 *",), 0)

ACT = Act(Actor("somebody", "operator"), Action.SWITCHOVER)


def standby(server: str = "c1s2", **differs: object) -> ServerStatus:
    return msgspec.structs.replace(STANDBY, id=server, **differs)


class TestWhoIsFit:
    @pytest.mark.parametrize(
        ("differs", "reason"),
        [
            ({}, None),
            ({"generation": 8}, None),
            ({"health": "silent"}, Unfit.SILENT),
            ({"health": "preparing"}, Unfit.UNHEALTHY),
            ({"health": "serves, but takes no changes: no quorum"}, Unfit.UNHEALTHY),
            ({"generation": 6}, Unfit.BEHIND),
            ({"arbitration": "yes"}, None),
            ({"arbitration": "unknown"}, None),
            ({"arbitration": "no"}, Unfit.NOT_CHOSEN),
        ],
    )
    def test_a_standby_that_answers_is_healthy_and_knows_the_plan(
        self, differs: dict[str, object], reason: Unfit | None
    ) -> None:
        assert unfit(standby(**differs), ACTIVE.generation) is reason

    def test_of_several_the_one_that_holds_most_then_the_first(self) -> None:
        more = standby("c2s1", versions=ACTIVE.versions)
        assert choose([standby("c1s2"), more, msgspec.structs.replace(more, id="c2s2")], 7) == "c2s1"

    def test_of_none_says_why_by_server(self) -> None:
        found = choose([standby("c1s2", health="silent"), standby("c2s1", generation=1)], 7)
        assert found == {"c1s2": Unfit.SILENT, "c2s1": Unfit.BEHIND}


class Bench:
    """The active c1s1 of a cluster whose servers say what the test says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.kv = MemoryKV()
        self.role = ActiveRole(self.kv, "c1s1", clock=lambda: self.now)
        self.role.tick()
        self.others = {"c1s2": STANDBY}
        self.later: dict[str, ServerStatus] = {}
        audit = AuditLog(self.kv, self.role.commit, "c1s1", lambda: 1.0)
        self.switching = Switching("c1s1", self.role, audit.recorded, self.listing, lambda: self.now, self.pause)

    def listing(self) -> ServerList:
        return ServerList((ACTIVE, *self.others.values()))

    def recorded(self) -> list[AuditRecord]:
        return [read_line(entry.value) for entry in self.kv.range(AUDIT).entries if audit_number(entry.key)]

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.role.tick()
        self.others.update(self.later)

    def switch(self, server: str = "", epoch: int = 0) -> Switchover:
        return self.switching.switch(SwitchoverRequest(server, epoch), ACT)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()

    def taken(after: int, timeout: float) -> object:
        assert made.role.record is not None
        assert after
        successor = ActiveRole(made.kv, made.role.record.successor, clock=lambda: made.now)
        successor.tick()
        return successor.record

    monkeypatch.setattr(made.role, "next_holder", taken)
    return made


class TestTheSwitchover:
    def test_hands_the_role_to_the_named_server_and_says_so(self, bench: Bench) -> None:
        bench.others["c2s1"] = standby("c2s1", versions=ACTIVE.versions)
        assert bench.switch("c1s2") == Switchover("c1s2", 2, "c1s1")
        assert bench.role.held is None
        recorded = bench.recorded()
        assert [(one.action, one.who, one.subject, one.details) for one in recorded] == [
            ("switchover", "somebody", "c1s2", {"epoch": "1"})
        ]

    def test_takes_the_best_without_a_name(self, bench: Bench) -> None:
        bench.others["c2s1"] = standby("c2s1", versions=ACTIVE.versions)
        assert bench.switch().server == "c2s1"

    def test_to_the_active_itself_is_done_already(self, bench: Bench) -> None:
        assert bench.switch("c1s1") == Switchover("c1s1", 1, "c1s1")
        assert bench.role.held is not None

    def test_that_is_asked_for_again_after_it_was_done_changes_nothing(self, bench: Bench) -> None:
        assert bench.switch("", epoch=5) == Switchover("c1s1", 1, "c1s1")
        assert bench.role.held is not None

    def test_waits_for_a_server_that_is_a_moment_behind(self, bench: Bench) -> None:
        bench.others["c1s2"] = standby(generation=6)
        bench.later["c1s2"] = standby()
        assert bench.switch("c1s2").server == "c1s2"

    def test_does_not_wait_for_ever(self, bench: Bench) -> None:
        bench.others["c1s2"] = standby(generation=6)
        with pytest.raises(RefusedError, match="c1s2 is behind"):
            bench.switch("c1s2")
        assert CATCH_UP <= bench.now <= CATCH_UP + 1.0
        assert bench.role.held is not None

    def test_to_a_silent_server_is_refused_at_once_and_the_active_stays(self, bench: Bench) -> None:
        bench.others["c1s2"] = standby(health="silent")
        with pytest.raises(RefusedError, match="no other server can be the active now: c1s2 is silent"):
            bench.switch()
        assert bench.now == 0.0
        assert bench.role.held is not None

    def test_to_a_server_that_nobody_knows_names_those_there_are(self, bench: Bench) -> None:
        with pytest.raises(RefusedError, match="no server 'c9s9' belongs") as caught:
            bench.switch("c9s9")
        assert caught.value.hint == "its servers are c1s1, c1s2"

    def test_without_another_server_says_what_is_needed(self, bench: Bench) -> None:
        bench.others.clear()
        with pytest.raises(RefusedError, match="no other server"):
            bench.switch()

    def test_at_a_standby_is_for_the_active(self, bench: Bench) -> None:
        bench.role.release()
        with pytest.raises(DeposedError):
            bench.switch()

    def test_that_nobody_takes_is_an_error(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bench.role, "next_holder", lambda after, timeout: None)
        with pytest.raises(FailedError, match="nobody took the active role"):
            bench.switch()
