"""The requirements M1 to M7 of the mission, each shown on a real cluster: real processes, multicast, files.

Three control boards in two chassis, a line board in the first, and one in a third chassis without any server.
"""

import hashlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from boardwright.model.software import decode_manifest
from boardwright.protocol.codec import Dropped, decode, encode_request
from boardwright.protocol.messages import MAX_DATAGRAM, GroupQuery, Holding, Offer, Request
from boardwright.trust.credentials import load_authority
from boardwright.trust.witness import Witness
from tests.e2e.cluster import Cluster

SERVERS = ("c1s1", "c1s2", "c2s1")
BOARDS = (*SERVERS, "c1s3", "c3s1")
GROUP = "239.255.66.87"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Version 1.0 of `platform` confirmed on every board; `heard` are the datagrams of the multicast group."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    software = cluster.directory / "software"
    (software / "bin").mkdir(parents=True)
    (software / "bin" / "tool").write_text("#!/bin/sh\necho tool 1.0\n")
    (software / "bin" / "tool").chmod(0o755)
    (software / "data.bin").write_bytes(os.urandom(3_000_000))
    (software / "boardwright.toml").write_text('[health]\ncommand = ["bin/tool"]\n')
    cluster.init([(1, 1, True), (1, 2, True), (2, 1, True), (1, 3, False), (3, 1, False)])
    listener = group_socket(cluster)
    try:
        cluster.start_servers(*SERVERS)
        published = cluster.run("publish", str(software), "--group", "platform", "--version", "1.0")
        assert published.returncode == 0, published.stderr
        assert cluster.run("deploy", "platform", "1.0").returncode == 0
        cluster.until("all servers hold 1.0", lambda: all_hold(cluster, "1.0"))
        cluster.start_agents(*BOARDS)
        cluster.until_confirmed("1.0", *BOARDS)
        cluster.heard = drain(listener)
        yield cluster
    finally:
        listener.close()
        cluster.stop()


def group_socket(cluster: Cluster) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    listener.bind((GROUP, cluster.port))
    membership = struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton("127.0.0.1"))
    listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    listener.setblocking(False)
    return listener


def drain(listener: socket.socket) -> list[bytes]:
    heard = []
    while True:
        try:
            heard.append(listener.recv(65536))
        except BlockingIOError:
            return heard


def all_hold(cluster: Cluster, version: str) -> bool:
    servers = cluster.read("servers")["servers"]
    return len(servers) == 3 and all(any(version in held for held in server["versions"]) for server in servers)


def ask(cluster: Cluster, board: str, chassis: str, slot: str) -> dict[str, Offer]:
    """Multicast one version request as that board and collect the offers of all servers, by server id."""
    request = Request(
        f"test{cluster.port}", os.urandom(16), board, chassis, slot, "lc", groups=(GroupQuery("platform"),)
    )
    trust = cluster.directory / "out" / "operator" / "trust"
    witness = Witness(load_authority(trust, request.cluster), time.monotonic())
    offers: dict[str, Offer] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        asker.bind(("127.0.0.1", 0))
        asker.settimeout(0.2)
        end = time.monotonic() + 5
        while len(offers) < 3 and time.monotonic() < end:
            asker.sendto(encode_request(request), (GROUP, cluster.port))
            try:
                while True:
                    received = decode(asker.recv(65536), request.cluster)
                    assert not isinstance(received, Dropped)
                    offer = witness.hear(received, "", time.monotonic(), {request.nonce})
                    assert isinstance(offer, Offer)
                    offers[offer.server] = offer
            except TimeoutError:
                pass
    return offers


def test_m1_a_board_multicasts_a_version_request_with_its_software_groups(deployed: Cluster) -> None:
    requests = [
        received.message
        for data in deployed.heard
        if not isinstance(received := decode(data, f"test{deployed.port}"), Dropped)
        and isinstance(received.message, Request)
    ]
    mine = [request for request in requests if request.board == "c1s3" and request.groups]
    assert mine
    assert (mine[0].chassis, mine[0].slot, mine[0].board_type) == ("1", "3", "lc")
    assert [query.group for query in mine[0].groups] == ["platform"]
    assert all(len(data) <= MAX_DATAGRAM for data in deployed.heard)


def test_m2_offers_of_at_least_two_servers_say_how_to_get_the_version_files(deployed: Cluster) -> None:
    offers = ask(deployed, "c1s3", "1", "3")
    assert len(offers) >= 2
    for offer in offers.values():
        (group,) = offer.groups
        assert (group.group, group.version, group.holding) == ("platform", "1.0", Holding.ALL)
        answer = deployed.http.request("GET", f"{offer.blobs}/v1/blobs/{group.manifest.hex()}", retries=False)
        assert answer.status == 200
        assert decode_manifest(answer.data).version == "1.0"


def test_m3_the_board_downloads_from_the_selected_server_and_deploys(deployed: Cluster) -> None:
    group = deployed.group("c1s3")
    assert (group["version"], group["wanted"], group["state"]) == ("1.0", "1.0", "confirmed")
    assert group["bytes"]["same-chassis"] >= 3_000_000
    assert group["bytes"].get("elsewhere", 0) == 0
    tree = Path(deployed.directory / "boards" / "c1s3" / "root" / "platform" / "current")
    assert (tree / "data.bin").read_bytes() == (deployed.directory / "software" / "data.bin").read_bytes()
    assert os.access(tree / "bin" / "tool", os.X_OK)


def test_m4_an_offer_carries_the_location_of_its_server(deployed: Cluster) -> None:
    places = {server: (offer.chassis, offer.slot) for server, offer in ask(deployed, "c1s3", "1", "3").items()}
    assert places == {"c1s1": ("1", "1"), "c1s2": ("1", "2"), "c2s1": ("2", "1")}


@pytest.mark.parametrize(
    ("board", "tier", "servers"),
    [
        ("c1s1", "same-board", {"c1s1"}),
        ("c2s1", "same-board", {"c2s1"}),
        ("c1s3", "same-chassis", {"c1s1", "c1s2"}),
        ("c3s1", "elsewhere", set(SERVERS)),
    ],
)
def test_m5_same_board_comes_before_same_chassis_before_elsewhere(
    deployed: Cluster, board: str, tier: str, servers: set[str]
) -> None:
    source = deployed.group(board)["server"]
    assert source["tier"] == tier
    assert source["id"] in servers


def test_m6_every_control_board_serves_at_the_same_time(deployed: Cluster) -> None:
    assert set(ask(deployed, "c3s1", "3", "1")) == set(SERVERS)
    assert {server["id"]: server["health"] for server in deployed.read("servers")["servers"]} == dict.fromkeys(
        SERVERS, "healthy"
    )
    assert sum(server["role"] == "active" for server in deployed.read("servers")["servers"]) == 1


def test_m7_a_server_answers_a_download_request_with_the_files(deployed: Cluster) -> None:
    offer = ask(deployed, "c3s1", "3", "1")["c2s1"]
    blobs = f"{offer.blobs}/v1/blobs/"
    manifest = decode_manifest(deployed.http.request("GET", blobs + offer.groups[0].manifest.hex(), retries=False).data)
    for blob in manifest.blobs:
        whole = deployed.http.request("GET", blobs + blob.sha256, retries=False)
        assert hashlib.sha256(whole.data).hexdigest() == blob.sha256
        part = deployed.http.request("GET", blobs + blob.sha256, headers={"Range": "bytes=1-9"}, retries=False)
        assert (part.status, part.data) == (206, whole.data[1:10])


def test_explain_prints_offers_rank_and_reason(deployed: Cluster) -> None:
    printed = deployed.run("explain", "c1s3")
    assert printed.returncode == 0
    for word in ("c1s1", "c1s2", "c2s1", "same-chassis", "elsewhere"):
        assert word in printed.stdout
