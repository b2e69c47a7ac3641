"""Boards that are hosts of their own: nothing may rest on loopback, on a shared host or on a default route."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.hosts import Hosts, need_namespaces


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    need_namespaces()
    made = Hosts(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def publish(hosts: Hosts, version: str, size: int = 3_000_000) -> None:
    software = hosts.directory / f"software-{version}"
    software.mkdir()
    (software / "data.bin").write_bytes(os.urandom(size))
    done = hosts.run("publish", str(software), "--group", "platform", "--version", version)
    assert done.returncode == 0, done.stderr


def deploy(hosts: Hosts, version: str) -> None:
    done = hosts.run("deploy", "platform", version)
    assert done.returncode == 0, done.stderr


def test_one_server_with_its_own_sqlite_provisions_boards_on_other_hosts(hosts: Hosts) -> None:
    hosts.init([(1, 1, True), (1, 3, False), (2, 3, False)])
    hosts.start_servers("c1s1")
    hosts.start_agents("c1s1", "c1s3", "c2s3")
    publish(hosts, "1")
    deploy(hosts, "1")
    hosts.until_confirmed("1", "c1s1", "c1s3", "c2s3")
    tiers = {board: hosts.group(board)["server"]["tier"] for board in ("c1s1", "c1s3", "c2s3")}
    assert tiers == {"c1s1": "same-board", "c1s3": "same-chassis", "c2s3": "elsewhere"}
    publish(hosts, "2")
    deploy(hosts, "2")
    hosts.until("an announcement reaches the other hosts", lambda: all_run(hosts, "2", "c1s3", "c2s3"), timeout=20)


def test_m5_each_host_takes_the_server_of_its_chassis_and_crosses_when_it_is_gone(hosts: Hosts) -> None:
    places = [(1, 1, True), (1, 3, False), (2, 1, True), (2, 3, False)]
    hosts.init(places)
    hosts.start_servers("c1s1")  # the active: it is asked while the other one is cut off
    hosts.start_servers("c2s1")
    hosts.start_agents("c1s3", "c2s3")
    publish(hosts, "1")
    deploy(hosts, "1")
    hosts.until_confirmed("1", "c1s3", "c2s3")
    assert {board: hosts.group(board)["server"]["id"] for board in ("c1s3", "c2s3")} == {"c1s3": "c1s1", "c2s3": "c2s1"}
    hosts.drop_in("c2s3", "agent", '[limits]\ndownload = "2MB/s"\n')
    hosts.processes["agent-c2s3"].terminate()
    assert hosts.processes["agent-c2s3"].wait(10) == 0
    hosts.start_agents("c2s3")
    publish(hosts, "2", size=10_000_000)
    deploy(hosts, "2")

    def downloading() -> bool:
        group = hosts.group("c2s3")  # until the board has asked, it still tells of version 1, a restart notwithstanding
        under_way = (group.get("wanted"), group.get("state")) == ("2", "downloading")
        return under_way and sum(group["bytes"].values()) > 1_000_000

    hosts.until("c2s3 downloads", downloading)
    hosts.cut("c2s1")  # no process dies, no connection is closed: nothing comes any more
    hosts.until_confirmed("2", "c2s3")
    group = hosts.group("c2s3")
    assert group["failovers"] >= 1
    assert group["bytes"]["same-chassis"] > 0
    assert group["bytes"]["elsewhere"] > 0
    assert sum(group["bytes"].values()) < 10_000_000 + 3 * 1024 * 1024  # no verified piece came twice


def test_without_multicast_the_list_of_servers_does_it_all(hosts: Hosts) -> None:
    hosts.multicast = False
    hosts.init([(1, 1, True), (1, 3, False), (2, 1, True)])
    hosts.start_servers("c1s1", "c2s1")
    hosts.start_agents("c1s3", "c2s1")
    publish(hosts, "1")
    deploy(hosts, "1")
    hosts.until_confirmed("1", "c1s3", "c2s1")
    assert hosts.group("c1s3")["server"]["id"] == "c1s1"
    publish(hosts, "2")
    deploy(hosts, "2")
    hosts.until("boards are told one by one", lambda: all_run(hosts, "2", "c1s3", "c2s1"), timeout=20)


def test_a_board_whose_cable_was_out_goes_on_when_it_is_in_again(hosts: Hosts) -> None:
    hosts.init([(1, 1, True), (1, 3, False)])
    hosts.start_servers("c1s1")
    hosts.start_agents("c1s3")
    publish(hosts, "1")
    deploy(hosts, "1")
    hosts.until_confirmed("1", "c1s3")
    hosts.cut("c1s3")
    publish(hosts, "2")
    deploy(hosts, "2")
    hosts.until("it is not heard any more", lambda: silent(hosts, "c1s3") > 6)
    hosts.plug("c1s3")
    hosts.until_confirmed("2", "c1s3")


def test_a_server_on_two_networks_names_to_each_board_the_address_that_it_can_reach(hosts: Hosts) -> None:
    hosts.init([(1, 1, True), (1, 3, False), (1, 4, False)])
    hosts.second_backplane([(1, 1), (1, 4)], "10.77")
    hosts.cut("c1s4")  # it is on the second network alone
    hosts.drop_in("c1s4", "agent", '[cluster]\ninterface = "eth2"\n')
    both = '[cluster]\ninterface = ["eth1", "eth2"]\n'
    hosts.drop_in("c1s1", "server", both + '[server]\nlisten = "0.0.0.0:6688"\nblob_listen = "0.0.0.0:6689"\n')
    hosts.start_servers("c1s1")
    hosts.start_agents("c1s3", "c1s4")
    publish(hosts, "1")
    deploy(hosts, "1")
    hosts.until_confirmed("1", "c1s3", "c1s4")
    publish(hosts, "2")
    deploy(hosts, "2")
    hosts.until("the announcement went out on both", lambda: all_run(hosts, "2", "c1s3", "c1s4"), timeout=20)


def silent(hosts: Hosts, board: str) -> float:
    return float(next(entry["seen"] for entry in hosts.read("boards")["boards"] if entry["id"] == board))


def all_run(hosts: Hosts, version: str, *boards: str) -> bool:
    return all(hosts.group(board).get("version") == version for board in boards)
