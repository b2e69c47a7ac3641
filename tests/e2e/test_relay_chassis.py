"""Boards fetch a version together: real agents relay, each piece crosses a link once, and some die in the middle."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster

MIB = 1024 * 1024
SIZE = 16 * MIB
RATE = "4MB/s"  # of each server: so slow that neighbours are quicker, and that there is a middle to die in
SERVERS = ("c1s1", "c1s2")
NEAR, FAR = ("c1s3", "c1s4", "c1s5"), ("c2s3", "c2s4", "c2s5")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("relay"))
    boards = [(chassis, slot, False) for chassis in (1, 2) for slot in (3, 4, 5)]
    made.init([(1, 1, True), (1, 2, True), *boards])
    for server in SERVERS:
        extra = made.directory / "out" / server / "server.toml.d"
        extra.mkdir()
        (extra / "slow.toml").write_text(f'[limits]\ntotal = "{RATE}"\n')
    try:
        made.start_servers(*SERVERS)
        made.start_agents(*NEAR, *FAR)
        yield made
    finally:
        made.stop()


def publish(cluster: Cluster, version: str) -> None:
    directory: Path = cluster.directory / f"image-{version}"
    directory.mkdir()
    (directory / "image.bin").write_bytes(random.Random(version).randbytes(SIZE))
    done = cluster.run("publish", str(directory), "--group", "platform", "--version", version)
    assert done.returncode == 0, done.stderr
    cluster.until("both servers have it", lambda: all(version in str(one) for one in versions(cluster)))


def versions(cluster: Cluster) -> list[Any]:
    return [one["versions"] for one in cluster.read("servers")["servers"] if one["id"] in SERVERS]


def deploy(cluster: Cluster, version: str) -> None:
    done = cluster.run("deploy", "platform", version)
    assert done.returncode == 0, done.stderr


def groups(cluster: Cluster) -> dict[str, Any]:
    return {one["id"]: one["groups"].get("platform") or {} for one in cluster.read("boards")["boards"]}


@pytest.fixture(scope="module")
def first(cluster: Cluster) -> dict[str, Any]:
    """What the boards say when all run the first version."""
    publish(cluster, "1.0")
    deploy(cluster, "1.0")
    cluster.until_confirmed("1.0", *NEAR, *FAR)
    return groups(cluster)


def test_neighbours_give_each_other_pieces(first: dict[str, Any]) -> None:
    assert sum(first[board]["relayed"] for board in NEAR) > SIZE / 2
    for board in (*NEAR, *FAR):
        assert sum(first[board]["bytes"].values()) < 1.2 * SIZE
        assert sum(first[board]["givers"].values()) == sum(first[board]["bytes"].values())


def test_servers_send_far_less_than_a_copy_for_each_board(cluster: Cluster, first: dict[str, Any]) -> None:
    del first
    sent = sum(one["bytes_served"] for one in cluster.read("servers")["servers"])
    assert sent < 4 * SIZE  # six boards, with the manifests


def test_each_piece_crosses_once_into_a_chassis_without_servers(first: dict[str, Any]) -> None:
    crossed = sum(first[board]["bytes"]["elsewhere"] for board in FAR)
    assert SIZE <= crossed <= 1.05 * SIZE
    assert all(first[board]["bytes"]["elsewhere"] == 0 for board in NEAR)


def test_explain_says_what_came_from_relays(cluster: Cluster, first: dict[str, Any]) -> None:
    board = max(FAR, key=lambda one: first[one]["relayed"])
    done = cluster.run("explain", board)
    assert "of it from relays" in done.stdout
    giver = max((one for one in first[board]["givers"] if one in FAR), key=first[board]["givers"].__getitem__)
    assert giver in done.stdout


def test_when_a_server_and_a_relay_die_in_the_middle_the_others_have_it_all(
    cluster: Cluster, first: dict[str, Any]
) -> None:
    del first
    publish(cluster, "2.0")
    deploy(cluster, "2.0")
    cluster.until("bytes come in", lambda: any(one["state"] == "downloading" for one in groups(cluster).values()))
    cluster.kill("server-c1s2")
    cluster.kill("agent-c1s4")
    cluster.kill("agent-c2s4")
    rest = ("c1s3", "c1s5", "c2s3", "c2s5")
    cluster.until_confirmed("2.0", *rest)
    for board in rest:
        image = cluster.directory / "boards" / board / "root" / "platform" / "current" / "image.bin"
        assert image.read_bytes() == random.Random("2.0").randbytes(SIZE)
