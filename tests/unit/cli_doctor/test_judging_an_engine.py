"""What the doctor says of an engine, from what the engine said of itself."""

from typing import Any

import pytest

from boardwright.cli.doctor.finding import Check, Level
from boardwright.cli.doctor.judge_engine import judge_engine
from boardwright.model.diagnosis import EndpointFacts, EngineFacts
from tests.unit.cli_doctor.facts import NOW, wrong

DAY = 86_400.0
ONE, TWO, THREE = (f"10.0.1.{number}:2379" for number in (1, 2, 3))


def member(endpoint: str, **fields: Any) -> EndpointFacts:
    well = {"release": "3.5.0", "has_leader": True, "voters": 3, "database": 4_000_000, "in_use": 4_000_000}
    return EndpointFacts(endpoint=endpoint, **(well | fields))


def judged(*members: EndpointFacts) -> dict[tuple[Check, str], Level]:
    return wrong(judge_engine("c1s1", EngineFacts(kind="etcd", endpoints=members), NOW))


def sentence(check: Check, *members: EndpointFacts) -> str:
    findings = judge_engine("c1s1", EngineFacts(kind="etcd", endpoints=members), NOW)
    return next(f"{one.what} / {one.do}" for one in findings if one.check is check and one.level is not Level.OK)


class TestEtcd:
    def test_three_members_that_are_well(self) -> None:
        assert judged(member(ONE), member(TWO), member(THREE)) == {}

    def test_a_member_that_is_down_is_named_and_the_rest_has_a_quorum(self) -> None:
        down = EndpointFacts(endpoint=THREE, trouble=f"{THREE} cannot be reached (Connection refused)")
        assert judged(member(ONE), member(TWO), down) == {(Check.ENGINE_ENDPOINT, f"c1s1 {THREE}"): Level.ERROR}

    def test_no_leader(self) -> None:
        found = judged(member(ONE, has_leader=False), EndpointFacts(endpoint=TWO, trouble="down"))
        assert found[Check.ENGINE_QUORUM, "c1s1"] is Level.ERROR

    def test_nobody_answers(self) -> None:
        assert judged(EndpointFacts(endpoint=ONE, trouble="down"))[Check.ENGINE_QUORUM, "c1s1"] is Level.ERROR

    def test_two_voters_need_a_witness(self) -> None:
        assert "witness" in sentence(Check.ENGINE_VOTERS, member(ONE, voters=2), member(TWO, voters=2))

    @pytest.mark.parametrize(("voters", "level"), [(1, None), (4, Level.WARNING), (5, None)])
    def test_how_many_voters_are_good(self, voters: int, level: Level | None) -> None:
        assert judged(member(ONE, voters=voters)).get((Check.ENGINE_VOTERS, "c1s1")) == level

    def test_a_learner_and_a_member_without_leader_are_named(self) -> None:
        found = judged(member(ONE), member(TWO, is_learner=True), member(THREE, has_leader=False))
        assert found == {
            (Check.ENGINE_ENDPOINT, f"c1s1 {TWO}"): Level.WARNING,
            (Check.ENGINE_ENDPOINT, f"c1s1 {THREE}"): Level.ERROR,
        }

    def test_a_full_database(self) -> None:
        assert "alarm disarm" in sentence(Check.ENGINE_SPACE, member(ONE, errors=("memberID:1 alarm:NOSPACE ",)))

    @pytest.mark.parametrize("figures", [{"database": 1_900_000_000}, {"database": 90, "quota": 100}])
    def test_a_database_that_is_nearly_full(self, figures: dict[str, int]) -> None:
        assert "compact" in sentence(Check.ENGINE_SPACE, member(ONE, **figures))

    @pytest.mark.parametrize(("days", "level"), [(-1, Level.ERROR), (10, Level.WARNING), (300, None)])
    def test_a_member_s_certificate_that_ends(self, days: int, level: Level | None) -> None:
        found = judged(member(ONE, expires=NOW + days * DAY))
        assert found.get((Check.ENGINE_CERTIFICATE, f"c1s1 {ONE}")) == level


class TestSqlite:
    @pytest.mark.parametrize(
        ("engine", "level"),
        [
            (EngineFacts(kind="sqlite", file="/s.db", journal="wal", journal_bytes=4_000_000), None),
            (EngineFacts(kind="sqlite", file="/s.db", trouble="cannot be read"), Level.ERROR),
            (EngineFacts(kind="sqlite", file="/s.db", journal="rollback"), Level.WARNING),
            (EngineFacts(kind="sqlite", file="/s.db", journal="wal", journal_bytes=1 << 30), Level.WARNING),
        ],
    )
    def test_its_file(self, engine: EngineFacts, level: Level | None) -> None:
        assert wrong(judge_engine("c1s1", engine, NOW)).get((Check.ENGINE_FILE, "c1s1 /s.db")) == level
