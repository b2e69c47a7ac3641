"""Serving without the engine (design section 8): real members of etcd, servers, agents and commands."""

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.test_life import publish, running, software
from tests.etcd_members import EtcdMembers, members

REFUSED_WITHIN = 10.0  # seconds: six of patience, then the last try; the machine may be busy
BACK_WITHIN = 3.0  # seconds after the members have a leader again


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdMembers]:
    with members(tmp_path_factory.mktemp("etcd"), 3) as made:
        yield made


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, etcd: EtcdMembers) -> Iterator[Cluster]:
    """A server in each of two chassis, version 1 confirmed on the running board c1s3; the others are blank."""
    made = Cluster(tmp_path_factory.mktemp("cluster"), etcd.engine)
    try:
        made.init([(1, 1, True), (2, 1, True), (1, 3, False), (2, 3, False), (2, 4, False)])
        made.start_servers("c1s1", "c2s1")
        for version in ("1", "2", "3"):
            publish(made, software(made.directory, version), version)
        made.start_agents("c1s3")
        assert made.run("deploy", "platform", "1").returncode == 0
        made.until_confirmed("1", "c1s3")
        made.until("all versions are on both servers", lambda: hold(made, 3))
        yield made
    finally:
        made.stop()


def hold(cluster: Cluster, count: int) -> bool:
    return all(len(server["versions"]) == count for server in cluster.read("servers")["servers"])


def end(cluster: Cluster, name: str) -> None:
    cluster.kill(name)
    cluster.processes[name].wait()


def test_with_all_members_down_boards_are_served_changes_wait_and_go_on_when_they_return(
    cluster: Cluster, etcd: EtcdMembers
) -> None:
    for host in etcd.hosts:
        etcd.kill(host)
    begun = time.monotonic()
    with subprocess.Popen(
        [*cluster.command("agent", "c2s3"), "--once"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as blank:
        refused = cluster.run("deploy", "platform", "2")
        assert time.monotonic() - begun < REFUSED_WITHIN
        assert blank.wait(10) == 0
    assert running(cluster, "c2s3") == "1"
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "no server is active now: etcd does not answer" in refused.stderr
    assert "changes go on by themselves" in refused.stderr

    status = cluster.run("status", "-o", "json")
    assert status.returncode == 1
    said = json.loads(status.stdout)
    assert (said["generation"], said["active"], said["servers"]) == (1, None, 2)
    assert said["works"] == ["boards get plan generation 1 and its versions"]
    assert "changes: publish, deploy, retry, joins, tokens, trust; until the engine answers" in said["waits"]

    etcd.start()
    etcd.leader()
    begun = time.monotonic()
    deployed = cluster.run("deploy", "platform", "2")
    took = time.monotonic() - begun
    assert deployed.returncode == 0, deployed.stderr
    assert took < BACK_WITHIN
    cluster.until_confirmed("2", "c1s3")


def test_a_server_that_was_away_and_starts_without_the_engine_serves_its_last_plan_and_follows_when_it_can(
    cluster: Cluster, etcd: EtcdMembers
) -> None:
    before = cluster.group("c1s3")["version"]
    end(cluster, "server-c2s1")
    assert cluster.run("deploy", "platform", "3").returncode == 0
    cluster.until_confirmed("3", "c1s3")
    end(cluster, "agent-c1s3")
    end(cluster, "server-c1s1")
    for host in etcd.hosts:
        etcd.kill(host)

    cluster.start("server", "c2s1")  # all that is left knows the plan before
    cluster.start_agents("c1s3", "c2s4")
    cluster.until("a blank board runs what that plan says", lambda: confirmed(cluster, "c2s4", before))
    log = cluster.directory / "agent-c1s3.log"
    cluster.until("the other board refuses to go back", lambda: "older than what this board has" in log.read_text())
    assert running(cluster, "c1s3") == "3"

    etcd.start()
    cluster.until_confirmed("3", "c2s4", "c1s3")


def confirmed(cluster: Cluster, board: str, version: str) -> bool:
    """Whether the board's own log says so."""
    log = (cluster.directory / f"agent-{board}.log").read_text()
    return f"confirmed at=agent.driver board={board} group=platform version={version}" in log
