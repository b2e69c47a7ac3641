"""What the doctor says of a node, from facts alone."""

import msgspec
import pytest
from hypothesis import given

from boardwright.cli.doctor.finding import Check, Level
from boardwright.cli.doctor.judge_node import judge_node
from boardwright.cli.doctor.node_facts import (
    ClockFacts,
    InterfaceFacts,
    NodeFacts,
    PortFacts,
    StoreUse,
    Trouble,
    WayFacts,
)
from boardwright.model.diagnosis import DiskFacts
from boardwright.model.location import Location
from tests.unit.cli_doctor.facts import FAR, GB, GROUP, NEAR, NOW, WELL, anything, but, wrong

DAY = 86_400.0
REFUSED = Trouble("cannot be reached; Connection refused")


def said(facts: NodeFacts, check: Check) -> str:
    """The whole sentence of the one finding of this check that is not fine."""
    (found,) = [one for one in judge_node(facts) if one.check is check and one.level is not Level.OK]
    assert found.do, "whoever reads it does not know what to do"
    return f"{found.what} / {found.do}"


def test_of_a_node_that_is_well_nothing_is_wrong() -> None:
    assert wrong(judge_node(WELL)) == {}


@given(anything(NodeFacts))
def test_no_facts_make_it_raise_and_what_is_wrong_comes_with_what_to_do(facts: NodeFacts) -> None:
    for finding in judge_node(facts):
        assert finding.check in Check
        assert finding.level in Level


class TestWhatANodeIsTold:
    def test_a_configuration_that_cannot_be_read_is_the_only_finding(self) -> None:
        facts = NodeFacts(program="agent", config="agent.toml", config_trouble=Trouble("agent.toml: no TOML", "look"))
        assert [(one.check, one.level, one.do) for one in judge_node(facts)] == [(Check.CONFIG, Level.ERROR, "look")]

    def test_a_key_that_others_may_read(self) -> None:
        facts = but(certificate_trouble=Trouble("key.pem may be read by others", "chmod 600 key.pem"), certified=None)
        assert "chmod 600" in said(facts, Check.CERTIFICATE)

    def test_a_board_in_another_slot_than_its_certificate_says(self) -> None:
        assert "1/4" in said(but(certified=Location("1", "4")), Check.LOCATION)

    def test_an_online_key_that_a_server_lacks(self) -> None:
        facts = but(program="server", online_key_trouble=Trouble("online.pem cannot be read", "copy the folder"))
        assert "online.pem" in said(facts, Check.ONLINE_KEY)


class TestTheInterface:
    def test_it_is_missing(self) -> None:
        facts = but(interfaces=(InterfaceFacts("eth7", trouble=Trouble("there is no 'eth7'", "this host has eth0")),))
        assert "this host has eth0" in said(facts, Check.INTERFACE)

    @pytest.mark.parametrize(
        "one", [InterfaceFacts("eth1", "10.0.1.3", "down"), InterfaceFacts("eth1", "10.0.1.3", "", is_up=False)]
    )
    def test_it_is_down(self, one: InterfaceFacts) -> None:
        assert "ip link set eth1 up" in said(but(interfaces=(one,)), Check.INTERFACE)


class TestMulticast:
    def test_servers_that_answer_by_the_list_only_hint_at_snooping(self) -> None:
        facts = but(
            multicast=WayFacts(GROUP, {}, looped=True), unicast=WayFacts("10.0.1.1:6687", {"c1s1": 0.01, "c2s1": 0.01})
        )
        assert wrong(judge_node(facts)) == {(Check.MULTICAST, GROUP): Level.WARNING}
        assert "IGMP snooping" in said(facts, Check.MULTICAST)

    def test_a_server_that_answers_by_the_list_is_deaf_to_the_group_whatever_its_api_does(self) -> None:
        shut = msgspec.structs.replace(FAR, api_trouble=REFUSED)
        facts = but(
            multicast=WayFacts(GROUP, {"c1s1": 0.002}, looped=True),
            unicast=WayFacts("10.0.2.1:6687", {"c2s1": 0.01}),
            servers=(NEAR, shut),
        )
        assert said(facts, Check.MULTICAST).startswith("c2s1 can be reached")

    def test_a_server_whose_api_answers_and_that_does_not_hear_the_group_is_named(self) -> None:
        facts = but(multicast=WayFacts(GROUP, {"c1s1": 0.002}, looped=True))
        assert said(facts, Check.MULTICAST).startswith("c2s1 can be reached")

    def test_if_no_way_brings_an_answer_it_is_an_error(self) -> None:
        facts = but(multicast=WayFacts(GROUP, {}, looped=True))
        found = wrong(judge_node(facts))
        assert found[Check.MULTICAST, GROUP] is Level.ERROR
        assert found[Check.SERVERS, "c1s3"] is Level.ERROR

    def test_a_server_that_is_dead_altogether_says_nothing_of_multicast(self) -> None:
        dead = msgspec.structs.replace(FAR, api_trouble=REFUSED, blobs_trouble=REFUSED)
        facts = but(multicast=WayFacts(GROUP, {"c1s1": 0.002}, looped=True), servers=(NEAR, dead))
        assert wrong(judge_node(facts)) == {(Check.SERVERS, "c2s1 (elsewhere)"): Level.WARNING}

    def test_a_host_that_does_not_hear_itself_has_a_firewall(self) -> None:
        assert "firewall of this host" in said(but(multicast=WayFacts(GROUP, {}, looped=False)), Check.MULTICAST)

    def test_a_group_that_cannot_be_joined(self) -> None:
        facts = but(multicast=WayFacts(GROUP, trouble="group cannot be joined on eth1"))
        assert "cannot be joined" in said(facts, Check.MULTICAST)


class TestServers:
    def test_another_cluster_s_answers_are_named_as_such(self) -> None:
        facts = but(multicast=WayFacts(GROUP, {}, looped=True, ignored={"untrusted": 3}), servers=())
        assert "3 untrusted" in said(facts, Check.SERVERS)
        assert "another cluster is on this network" in said(facts, Check.SERVERS)

    def test_a_server_that_takes_long(self) -> None:
        facts = but(multicast=WayFacts(GROUP, {"c1s1": 0.002, "c2s1": 0.9}, looped=True))
        assert "900 ms" in said(facts, Check.SERVERS)

    @pytest.mark.parametrize(("field", "check"), [("api_trouble", Check.API), ("blobs_trouble", Check.BLOBS)])
    def test_a_port_that_is_shut_though_the_server_answers(self, field: str, check: Check) -> None:
        facts = but(servers=(NEAR, msgspec.structs.replace(FAR, **{field: REFUSED})))
        assert "firewall" in said(facts, check)
        assert len(wrong(judge_node(facts))) == 1


class TestThisHost:
    @pytest.mark.parametrize(
        ("disk", "level"),
        [
            (DiskFacts(path="/opt", free=GB // 2, reserve=GB), Level.ERROR),
            (DiskFacts(path="/opt", free=GB + GB // 2, reserve=GB), Level.WARNING),
            (DiskFacts(path="/opt", trouble="/opt may not be written by this user"), Level.ERROR),
        ],
    )
    def test_little_of_the_disk_is_free(self, disk: DiskFacts, level: Level) -> None:
        assert wrong(judge_node(but(disks=(disk,)))) == {(Check.DISK, "/opt"): level}

    def test_a_store_at_its_quota(self) -> None:
        assert "store_quota" in said(but(store=StoreUse("/store", 99, 100)), Check.STORE)
        assert wrong(judge_node(but(store=StoreUse("/store", 10, 100)))) == {}

    @pytest.mark.parametrize(
        ("wall", "words"), [(0.0, "behind"), (NOW - 2 * 3600, "60 minutes behind"), (NOW + 80 * DAY, "80 days ahead")]
    )
    def test_a_clock_that_is_wrong_by_what_was_signed(self, wall: float, words: str) -> None:
        assert words in said(but(clock=ClockFacts(wall, NOW - 3600)), Check.CLOCK)

    def test_without_a_signed_time_nothing_is_said_of_the_clock(self) -> None:
        assert not [one for one in judge_node(but(clock=ClockFacts(0.0, 0.0))) if one.check is Check.CLOCK]

    def test_a_ledger_that_cannot_be_read(self) -> None:
        assert "restart the agent" in said(but(ledger_trouble="ledger.json is damaged"), Check.LEDGER)

    def test_an_agent_that_does_not_run(self) -> None:
        assert "systemctl status boardwright-agent" in said(but(runs=False), Check.PROGRAM)
        assert wrong(judge_node(but(runs=None))) == {}, "nobody knows"

    @pytest.mark.parametrize(
        ("port", "words"),
        [
            (PortFacts("listen", "10.0.1.3:6688", taken=True, server="c9s9"), "c9s9 answers"),
            (PortFacts("listen", "10.0.1.3:6688", taken=True, trouble="no TLS"), "ss -ltnp"),
            (PortFacts("listen", "10.0.1.3:6688", trouble="refused"), "nobody answers"),
        ],
    )
    def test_who_answers_at_a_server_s_address(self, port: PortFacts, words: str) -> None:
        assert words in said(but(program="server", ports=(port,)), Check.PORT)
