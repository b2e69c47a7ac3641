"""What the doctor says of a cluster, from what its servers say of themselves."""

from typing import Any

import msgspec
import pytest
from hypothesis import given

from boardwright.cli.doctor.cluster_facts import ClusterFacts, ServerSeen
from boardwright.cli.doctor.finding import Check, Finding, Level
from boardwright.cli.doctor.judge_cluster import ALARMS, ELSEWHERE, judge_cluster
from boardwright.cli.doctor.node_facts import Trouble
from boardwright.model.api import Alarm
from boardwright.model.diagnosis import (
    CertificateFacts,
    DiskFacts,
    EndpointFacts,
    EngineFacts,
    NetworkFacts,
    StoreFacts,
)
from boardwright.model.location import Location
from boardwright.model.report import DeploymentState, GroupReport
from boardwright.server.alarms import AlarmKind
from tests.unit.cli_doctor.clusters import DAY, PLACES, ROLES, board, cluster, diagnosis, seen
from tests.unit.cli_doctor.facts import GB, GROUP, NOW, anything, wrong

ERROR, WARNING = Level.ERROR, Level.WARNING


def troubles(facts: ClusterFacts) -> list[Finding]:
    return [one for one in judge_cluster(facts) if one.level is not Level.OK]


def only(facts: ClusterFacts) -> Finding:
    """The one finding that is not fine."""
    (found,) = troubles(facts)
    assert found.do, "whoever reads it does not know what to do"
    return found


def dead(server: str) -> ServerSeen:
    return ServerSeen(id=server, api="https://10.0.2.1:6688", trouble=Trouble("Connection refused"))


def test_of_a_cluster_that_is_well_nothing_is_wrong() -> None:
    assert wrong(judge_cluster(cluster())) == {}


@given(anything(ClusterFacts))
def test_no_facts_make_it_raise(facts: ClusterFacts) -> None:
    for finding in judge_cluster(facts):
        assert finding.check in Check


class TestWhoAnswers:
    def test_a_dead_server_is_one_error_and_says_nothing_of_multicast(self) -> None:
        found = only(cluster(dead("c2s1")))
        assert (found.check, found.subject, found.what) == (Check.SERVER, "c2s1", "Connection refused")

    def test_if_nobody_answers_nothing_else_is_said(self) -> None:
        facts = ClusterFacts(cluster="lab", now=NOW, servers=tuple(dead(one) for one in PLACES))
        assert {one.check for one in judge_cluster(facts)} == {Check.SERVER}


class TestTheActive:
    def test_nobody_is(self) -> None:
        found = wrong(judge_cluster(cluster(seen("c1s1", role="standby"), boards=None)))
        assert found == {(Check.ACTIVE, "cluster"): ERROR, (Check.BOARDS, "cluster"): WARNING}

    def test_two_say_that_they_are(self) -> None:
        assert "c1s1, c1s2" in only(cluster(seen("c1s2", role="active"))).what

    def test_one_takes_another_for_it(self) -> None:
        assert only(cluster(seen("c2s1", active="c1s2"))).subject == "c2s1"


class TestAgreement:
    @pytest.mark.parametrize("behind", [{"generation": 6}, {"epoch": 2}, {"revision": 979}])
    def test_a_server_that_lags_is_named(self, behind: dict[str, int]) -> None:
        found = only(cluster(seen("c2s1", **behind)))
        assert (found.check, found.subject, found.level) == (Check.AGREEMENT, "c2s1", WARNING)

    def test_a_beat_or_two_of_the_lease_between_two_answers_is_no_lag(self) -> None:
        assert troubles(cluster(seen("c2s1", revision=980))) == []

    def test_several_releases(self) -> None:
        assert "0.2.0: c2s1" in only(cluster(seen("c2s1", release="0.2.0"))).what


class TestClocks:
    @pytest.mark.parametrize(("ahead", "level"), [(-3600.0, WARNING), (3600.0, WARNING), (2 * DAY + 9, ERROR)])
    def test_one_that_is_off_is_named(self, ahead: float, level: Level) -> None:
        found = only(cluster(seen("c2s1", ahead)))
        assert (found.check, found.subject, found.level) == (Check.CLOCK, "c2s1", level)

    def test_if_all_servers_agree_this_computer_is_wrong(self) -> None:
        found = only(cluster(*(seen(one, 3600.0) for one in PLACES)))
        assert (found.subject, found.level) == ("this computer", WARNING)

    def test_of_two_servers_the_one_that_disagrees_with_this_computer_is_wrong(self) -> None:
        facts = ClusterFacts(cluster="lab", now=NOW, servers=(seen("c1s1"), seen("c2s1", -500.0)), boards=())
        assert [one.subject for one in troubles(facts) if one.check is Check.CLOCK] == ["c2s1"]


class TestTheEngine:
    def test_a_server_that_takes_no_changes_says_why(self) -> None:
        assert only(cluster(seen("c2s1", waits="etcd does not answer"))).check is Check.ENGINE

    def test_a_member_that_is_down_is_one_finding_however_many_servers_see_it(self) -> None:
        up = EndpointFacts(endpoint="10.0.1.1:2379", has_leader=True, voters=3)
        down = EndpointFacts(endpoint="10.0.1.2:2379", trouble="cannot be reached")
        etcd = EngineFacts(kind="etcd", endpoints=(up, down))
        found = only(cluster(*(seen(one, engine=etcd) for one in PLACES)))
        assert (found.check, found.subject) == (Check.ENGINE_ENDPOINT, "10.0.1.2:2379, seen by c1s1, c1s2, c2s1")


class TestDisks:
    @pytest.mark.parametrize(
        ("fields", "check", "level"),
        [
            ({"disk": DiskFacts(path="/data", free=GB, reserve=GB)}, Check.DISK, ERROR),
            ({"disk": DiskFacts(path="/data", free=GB + 1, reserve=GB)}, Check.DISK, WARNING),
            ({"disk": DiskFacts(path="/data", trouble="no answer within 2 s")}, Check.DISK, ERROR),
            ({"store": StoreFacts(used=96, quota=100)}, Check.STORE, WARNING),
            ({"store": StoreFacts(damaged=2)}, Check.STORE, ERROR),
            ({"store": StoreFacts(scrubbed=NOW - 30 * DAY, period=7 * DAY)}, Check.SCRUBBER, WARNING),
            ({"lacking": ("routing 2.0 *",)}, Check.VERSIONS, WARNING),
            ({"health": "no room for routing 2.0 *"}, Check.VERSIONS, ERROR),
        ],
    )
    def test_what_is_wrong_with_one(self, fields: dict[str, Any], check: Check, level: Level) -> None:
        found = only(cluster(seen("c2s1", **fields)))
        assert (found.check, found.level) == (check, level)
        assert found.subject.startswith("c2s1")


class TestCertificates:
    @pytest.mark.parametrize(
        "change", [{"authority": "b"}, {"id": "c9s9"}, {"role": "board"}, {"key": "key of c1s1"}], ids=str
    )
    def test_one_that_is_not_the_server_s_own(self, change: dict[str, str]) -> None:
        own = msgspec.structs.replace(diagnosis("c2s1").certificate, **change)
        found = only(cluster(seen("c2s1", certificate=own)))
        assert (found.check, found.subject, found.level) == (Check.CERTIFICATE, "c2s1", ERROR)

    @pytest.mark.parametrize("field", ["location", "said"])
    def test_another_place_than_the_inventory_s(self, field: str) -> None:
        own = msgspec.structs.replace(diagnosis("c2s1").certificate, **{field: Location("2", "9")})
        assert "2/9" in only(cluster(seen("c2s1", certificate=own))).what

    def test_a_release_that_does_not_say(self) -> None:
        assert troubles(cluster(seen("c2s1", certificate=CertificateFacts()))) == []


class TestMulticast:
    def heard(self, *servers: str, by_address: tuple[str, ...] = ()) -> NetworkFacts:
        addresses = dict.fromkeys(by_address, 0.01)
        return NetworkFacts(group=GROUP, heard=dict.fromkeys(servers, 0.01), heard_by_address=addresses)

    def test_a_server_that_answers_here_and_not_there_is_named_with_igmp(self) -> None:
        found = only(cluster(seen("c1s1", network=self.heard("c1s1", "c1s2"))))
        assert (found.check, found.level) == (Check.MULTICAST, ERROR)
        assert "c2s1 did not answer" in found.what
        assert "IGMP snooping" in found.do

    def test_that_it_answers_by_its_address_makes_it_a_warning(self) -> None:
        network = self.heard("c1s1", "c1s2", by_address=("c2s1",))
        assert only(cluster(seen("c1s1", network=network))).level is WARNING

    def test_one_that_does_not_hear_itself(self) -> None:
        assert "firewall of that host" in only(cluster(seen("c1s1", network=self.heard()))).do

    def test_one_without_multicast_is_well(self) -> None:
        assert troubles(cluster(seen("c1s1", network=NetworkFacts()))) == []

    def test_several_groups(self) -> None:
        other = NetworkFacts(group="239.1.1.1:6687", heard=dict.fromkeys(PLACES, 0.01))
        assert "several groups" in only(cluster(seen("c1s1", network=other))).what


class TestAlarms:
    def test_every_kind_has_a_remedy_or_is_told_by_the_check_boards(self) -> None:
        assert set(ALARMS) | ELSEWHERE == {kind.value for kind in AlarmKind}

    def test_one_is_named_with_what_to_do(self) -> None:
        flood = Alarm("c2s1", "flood", "datagrams", "900 a second are dropped", 12.0)
        found = only(cluster(seen("c2s1", alarms=(flood,))))
        assert (found.check, found.what) == (Check.ALARM, flood.sentence)


class TestMetadata:
    @pytest.mark.parametrize(
        ("role", "days", "level"),
        [("timestamp", 70, WARNING), ("timestamp", -1, ERROR), ("root", 20, WARNING), ("root", 70, None)],
    )
    def test_what_ends_soon(self, role: str, days: int, level: Level | None) -> None:
        ends = {one: NOW + (days if one == role else lasts) * DAY for one, lasts in ROLES.items()}
        found = wrong(judge_cluster(cluster(*(seen(one, expires=ends) for one in PLACES))))
        assert found.get((Check.METADATA, role)) == level

    def test_the_newest_that_any_server_has_counts(self) -> None:
        assert troubles(cluster(seen("c2s1", expires={"timestamp": NOW - DAY}))) == []


class TestBoards:
    @pytest.mark.parametrize(
        ("change", "subject"),
        [
            ({"seen": 60.0}, "silent"),
            ({"seen": None}, "silent"),
            ({"groups": {"platform": GroupReport("1.0", "2.0", DeploymentState.FAILED)}}, "failed"),
            ({"conflict": "location-conflict: ..."}, "location-conflict"),
        ],
    )
    def test_what_is_wrong_with_one_is_named(self, change: dict[str, Any], subject: str) -> None:
        found = only(cluster(boards=(board(), board("c1s4", **change))))
        assert (found.check, found.subject) == (Check.BOARDS, subject)
        assert "c1s4" in found.what

    def test_who_waits_at_the_door(self) -> None:
        assert "approve" in only(cluster(joiners=2)).do
