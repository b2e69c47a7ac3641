"""A change and its record in the audit log: both or neither."""

from collections.abc import Callable

import msgspec
import pytest

from boardwright.errors import BoardwrightError, ConflictError
from boardwright.model.api import DeploymentRequest
from boardwright.model.audit import Action, followed
from boardwright.server.audit_log import DROPPED_AT_ONCE, AuditLog
from boardwright.state.kv import EngineError, Transaction
from boardwright.state.lease import DeposedError
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.records import AUDIT, AUDIT_HEAD, AuditHead, audit_key, audit_number
from tests.unit.server.builders import ACTOR, Version, act, audit_records, audited, board, fill
from tests.unit.server.test_deployments import deployments


def log(kv: MemoryKV, commit: Callable[[Transaction], int] | None = None, kept: int = 1000) -> AuditLog:
    return AuditLog(kv, commit or kv.commit, "c1s1", lambda: 1000.0, kept)


def change(key: str = "policy", revision: int = 0) -> Transaction:
    return Transaction({key: revision}, {key: b"{}"})


def head(kv: MemoryKV) -> AuditHead:
    entry = kv.get(AUDIT_HEAD)
    return AuditHead() if entry is None else msgspec.json.decode(entry.value, type=AuditHead)


@pytest.fixture
def kv() -> MemoryKV:
    return MemoryKV()


class TestACommit:
    def test_writes_the_change_and_its_record_at_one_revision(self, kv: MemoryKV) -> None:
        revision = log(kv).commit(change(), act(Action.DEPLOY).on("platform 1"))
        assert {entry.revision for entry in kv.range("").entries} == {revision}
        (record,) = audit_records(kv)
        assert (record.number, record.who, record.key, record.action) == (1, ACTOR.id, ACTOR.key, "deploy")
        assert (record.server, record.at, record.outcome, record.count) == ("c1s1", 1000.0, "done", 1)

    def test_that_loses_writes_neither_and_takes_no_number(self, kv: MemoryKV) -> None:
        log(kv).commit(change(), act())
        with pytest.raises(ConflictError):
            log(kv).commit(change(), act())
        assert len(audit_records(kv)) == 1
        log(kv).commit(change("plan"), act())
        assert [record.number for record in audit_records(kv)] == [1, 2]

    def test_of_who_was_deposed_writes_neither(self, kv: MemoryKV) -> None:
        def deposed(transaction: Transaction) -> int:
            raise DeposedError("not the active")

        with pytest.raises(DeposedError):
            log(kv, deposed).commit(change(), act())
        assert kv.range("").entries == ()

    def test_loses_against_another_that_was_written_after_the_head_was_read(self, kv: MemoryKV) -> None:
        def overtaken(transaction: Transaction) -> int:
            log(kv).commit(change("plan"), act(Action.RETRY))
            return kv.commit(transaction)

        with pytest.raises(ConflictError):
            log(kv, overtaken).commit(change(), act())
        assert [record.action for record in audit_records(kv)] == ["retry"]

    def test_whose_outcome_nobody_knows_has_left_both_or_neither(self, kv: MemoryKV) -> None:
        def cut_off(before: bool) -> Callable[[Transaction], int]:
            def commit(transaction: Transaction) -> int:
                if not before:
                    kv.commit(transaction)
                raise EngineError("no answer came")

            return commit

        for before, records in ((True, 0), (False, 1)):
            with pytest.raises(EngineError):
                log(kv, cut_off(before)).commit(change(), act())
            assert len(audit_records(kv)) == records
            assert (kv.get("policy") is None) == before

    def test_is_refused_while_the_head_is_of_a_newer_release(self, kv: MemoryKV) -> None:
        kv.commit(Transaction({AUDIT_HEAD: 0}, {AUDIT_HEAD: b'{"number": "many"}'}))
        with pytest.raises(BoardwrightError, match="cannot be read by this release"):
            log(kv).commit(change(), act())
        assert kv.get("policy") is None


def test_a_deployment_that_lost_a_few_times_is_one_record_by_the_one_who_asked(kv: MemoryKV) -> None:
    fill(kv, Version(), boards=(board(),))
    lost = [ConflictError("lost")] * 3

    def commit(transaction: Transaction) -> int:
        if lost:
            raise lost.pop()
        return kv.commit(transaction)

    done = deployments(kv, commit).deploy(DeploymentRequest("platform", "1", ("chassis=1",)), act())
    (record,) = audit_records(kv)
    assert (record.subject, record.who) == ("platform 1", "ana")
    assert record.details == {"rollout": "r1", "to": "chassis=1", "strategy": "all-at-once", "generation": "1"}
    assert done.rollout == "r1"


class TestALongLog:
    def test_is_trimmed_in_the_state_and_what_is_left_is_a_chain(self, kv: MemoryKV) -> None:
        for number in range(12):
            log(kv, kept=5).commit(change(f"boards/{number}"), act())
        records = audit_records(kv)
        assert [record.number for record in records] == [8, 9, 10, 11, 12]
        assert (head(kv).number, head(kv).oldest) == (12, 8)

    def test_is_trimmed_in_parts_when_another_release_kept_more(self, kv: MemoryKV) -> None:
        for number in range(30):
            log(kv, kept=30).commit(change(f"boards/{number}"), act())
        counts = []
        for number in range(3):
            log(kv, kept=5).commit(change(f"servers/{number}"), act())
            counts.append(len(audit_records(kv)))
        assert counts == [31 - DROPPED_AT_ONCE, 32 - 2 * DROPPED_AT_ONCE, 5]

    def test_keys_of_records_are_told_from_others(self) -> None:
        assert audit_number(audit_key(17)) == 17
        assert [audit_number(key) for key in (AUDIT_HEAD, "audit/17", "plan", AUDIT + "\u0661" * 12)] == [0] * 4


def test_refusals_are_records_of_the_same_chain(kv: MemoryKV) -> None:
    log(kv).commit(change(), act())
    log(kv).refused(act(Action.TOKEN_CREATE).on("", why="may not"), 17)
    lines = [entry.value for entry in kv.range(AUDIT).entries if entry.key != AUDIT_HEAD]
    (_, (_, record)) = followed(lines)
    assert (record.outcome, record.count, record.details) == ("refused", 17, {"why": "may not"})


def test_the_commit_of_the_tests_is_the_real_one(kv: MemoryKV) -> None:
    audited(kv)(change(), act())
    assert len(audit_records(kv)) == 1
