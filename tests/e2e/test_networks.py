"""Networks of the field: IPv6 only, two backplanes, interfaces that come and go, a small MTU, one-way paths."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.hosts import Hosts, need_namespaces
from tests.e2e.test_hosts import all_run, deploy, publish

WITHIN = 20.0  # seconds; sooner than a board asks unprompted (300 s), so that only what is tested can be the cause
EVERYWHERE = '[server]\nlisten = "0.0.0.0:6688"\nblob_listen = "0.0.0.0:6689"\n'


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    need_namespaces()
    made = Hosts(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def test_a_control_network_with_nothing_but_ipv6_and_an_mtu_of_1280_does_it_all_unfragmented(hosts: Hosts) -> None:
    hosts.multicast_group, hosts.mtu = "[ff08::6687]:6687", 1280
    hosts.init([(1, 1, True), (1, 3, False), (2, 1, True)])
    hosts.start_servers("c1s1", "c2s1")
    hosts.start_agents("c1s1", "c1s3", "c2s1")
    publish(hosts, "1")
    deploy(hosts, "1")
    hosts.until_confirmed("1", "c1s1", "c1s3", "c2s1")
    assert hosts.group("c1s3")["server"]["id"] == "c1s1"
    assert "[fd66::1:1]" in (hosts.directory / "out" / "operator" / "operator.toml").read_text()
    publish(hosts, "2")
    deploy(hosts, "2")
    hosts.until("the announcement came", lambda: all_run(hosts, "2", "c1s3", "c2s1"), timeout=WITHIN)
    assert [hosts.count(board, "Ip6", "FragCreates") for board in hosts.boards] == [0, 0, 0]


def test_of_two_backplanes_one_may_be_lost_and_come_back(hosts: Hosts) -> None:
    hosts.interface = ["eth1", "eth2"]
    hosts.init([(1, 1, True), (1, 3, False)])
    hosts.second_backplane([(1, 1), (1, 3)], "10.77")
    hosts.drop_in("c1s1", "server", EVERYWHERE)
    hosts.start_servers("c1s1")
    hosts.start_agents("c1s3")
    publish(hosts, "1")
    deploy(hosts, "1")
    hosts.until_confirmed("1", "c1s3")
    hosts.cut("c1s3")
    publish(hosts, "2")
    deploy(hosts, "2")
    hosts.until("the other backplane does it", lambda: all_run(hosts, "2", "c1s3"), timeout=WITHIN)
    hosts.plug("c1s3")
    assert alarms(hosts) == []  # a board with two addresses is one board


def test_an_interface_that_vanishes_and_returns_with_another_address_needs_no_restart(hosts: Hosts) -> None:
    hosts.init([(1, 1, True), (1, 3, False), (1, 4, False)])
    hosts.drop_in("c1s1", "server", EVERYWHERE)
    hosts.start_servers("c1s1")
    hosts.start_agents("c1s3", "c1s4")
    publish(hosts, "1")
    deploy(hosts, "1")
    hosts.until_confirmed("1", "c1s3", "c1s4")
    hosts.unplug_interface("c1s3")  # the board's interface is another one afterwards
    hosts.take("c1s4", hosts.address(1, 4))  # this one stays and gets another address
    hosts.plug_interface("c1s3", "10.66.9.3")
    hosts.give("c1s4", "10.66.9.4")
    hosts.unplug_interface("c1s1")  # and the server's, too
    hosts.plug_interface("c1s1", hosts.address(1, 1))
    expected = ("c1s3", "agent", "10.66.9.3"), ("c1s4", "agent", "10.66.9.4"), ("c1s1", "server", "10.66.1.1")
    for board, program, word in expected:
        hosts.until(
            f"the sockets of {board} follow",
            lambda board=board, program=program, word=word: f"eth1 {word}" in hosts.log_of(board, program),  # type: ignore[misc]
        )
    publish(hosts, "2")
    deploy(hosts, "2")
    hosts.until("announcements are heard again", lambda: all_run(hosts, "2", "c1s3", "c1s4"), timeout=WITHIN)


def test_a_program_whose_interface_does_not_exist_says_so_and_ends_with_2(hosts: Hosts) -> None:
    hosts.init([(1, 1, True), (1, 3, False)])
    for program, board in (("server", "c1s1"), ("agent", "c1s3")):
        hosts.drop_in(board, program, '[cluster]\ninterface = "eth7"\n')
        assert hosts.start(program, board).wait(20) == 2
        assert "there is no interface 'eth7'" in hosts.log_of(board, program)
        assert "this host has lo, eth1" in hosts.log_of(board, program)
    hosts.drop_in("c1s3", "agent", '[cluster]\ninterface = ["eth7", "eth1"]\n')
    hosts.start_agents("c1s3")
    hosts.until("the agent goes on with the other one", lambda: "started" in hosts.log_of("c1s3"))
    assert "an interface is waited for" in hosts.log_of("c1s3")


def test_offers_that_do_not_arrive_cost_a_server_only_its_nearness_and_requests_go_by_the_list(hosts: Hosts) -> None:
    hosts.mtu = 1280
    hosts.init([(1, 1, True), (1, 3, False), (2, 1, True)])
    hosts.route("c1s1", "blackhole", f"{hosts.address(1, 3)}/32")  # it hears the board, the board does not hear it
    hosts.route("c1s3", "blackhole", "239.255.66.87/32")  # what it multicasts reaches nobody
    hosts.drop_in("c1s3", "agent", f'[cluster]\nservers = ["{hosts.address(1, 1)}", "{hosts.address(2, 1)}"]\n')
    hosts.start_servers("c2s1", "c1s1")
    hosts.start_agents("c1s3")
    publish(hosts, "1")
    deploy(hosts, "1")
    hosts.until_confirmed("1", "c1s3")
    assert hosts.group("c1s3")["server"]["id"] == "c2s1"

    assert [hosts.count(board, "Ip", "FragCreates") for board in hosts.boards] == [0, 0, 0]


def test_two_computers_with_one_id_are_an_alarm_that_names_both_and_the_list_keeps_the_place(hosts: Hosts) -> None:
    hosts.init([(1, 1, True), (1, 3, False), (2, 3, False)])
    hosts.drop_in("c2s3", "agent", '[board]\nid = "c1s3"\n[agent]\nperiod = "1s"\n')
    for file in ("certificate.pem", "key.pem"):  # a stolen identity, in another slot
        shutil.copy(hosts.directory / "out" / "c1s3" / file, hosts.directory / "out" / "c2s3" / file)
    hosts.drop_in("c1s3", "agent", '[agent]\nperiod = "1s"\n')
    hosts.start_servers("c1s1")
    hosts.start_agents("c1s3", "c2s3")
    expected = {"duplicate-id", "slot-conflict"}  # and, as often as the thief reports, location-conflict
    seen: list[dict[str, str]] = []  # those of one moment: what was overcome lapses

    def both() -> bool:
        seen[:] = alarms(hosts)
        return {alarm["kind"] for alarm in seen} >= expected

    hosts.until("both alarms", both)
    sentences = " ".join(alarm["sentence"] for alarm in seen)
    assert all(word in sentences for word in ("c1s3", "10.66.1.3", "10.66.2.3", "1/3", "2/3"))
    (board,) = hosts.read("boards", "c1s3")["boards"]
    assert (board["chassis"], board["slot"]) == ("1", "3")
    # Those of the list, and the key of c1s3 if it reported before the thief did; the quarrel wrote nothing.
    assert hosts.log_of("c1s1", "server").count("boards recorded") <= 2


def alarms(hosts: Hosts) -> list[dict[str, str]]:
    return list(hosts.read("status")["alarms"])
