"""A blob rots on a server's disk: the board takes the next server, and the first one notices and repairs it."""

import os
from pathlib import Path

from tests.e2e.cluster import Cluster


def blobs_of(cluster: Cluster, server: str) -> dict[str, Path]:
    found = (cluster.directory / "boards" / server / "data" / "store" / "blobs").glob("*/*")
    return {path.name: path for path in found}


def test_the_board_takes_the_next_server_and_the_first_repairs_its_disk_and_is_chosen_again(cluster: Cluster) -> None:
    cluster.init([(1, 1, True), (2, 1, True), (1, 3, False), (1, 4, False)])
    cluster.start_servers("c1s1", "c2s1")
    software = cluster.directory / "software"
    software.mkdir()
    content = os.urandom(6_000_000)
    (software / "image").write_bytes(content)
    published = cluster.run("publish", str(software), "--group", "platform", "--version", "1.0")
    assert published.returncode == 0, published.stderr

    def everywhere() -> bool:
        return all(server["versions"] for server in cluster.read("servers")["servers"])

    cluster.until("both servers hold 1.0", everywhere)
    image = max(blobs_of(cluster, "c1s1").values(), key=lambda path: path.stat().st_size)
    data = bytearray(content)
    data[4_500_000] ^= 0x20
    image.write_bytes(data)

    cluster.start_agents("c1s3")
    assert cluster.run("deploy", "platform", "1.0", "--to", "c1s3").returncode == 0
    cluster.until_confirmed("1.0", "c1s3")
    group = cluster.group("c1s3")
    assert group["failovers"] >= 1
    assert group["bytes"]["elsewhere"] > 0
    tree = cluster.directory / "boards" / "c1s3" / "root" / "platform" / "current"
    assert (tree / "image").read_bytes() == content

    log = cluster.directory / "server-c1s1.log"
    cluster.until("c1s1 repaired its blob", lambda: "damaged blob repaired" in log.read_text())
    assert "kind=damaged-blob" in log.read_text()
    assert "source=c2s1" in log.read_text()
    cluster.until("c1s1 offers it again", everywhere)
    assert blobs_of(cluster, "c1s1")[image.name].read_bytes() == content
    assert cluster.read("status")["alarms"] == []

    cluster.start_agents("c1s4")
    assert cluster.run("deploy", "platform", "1.0", "--to", "c1s4").returncode == 0
    cluster.until_confirmed("1.0", "c1s4")
    group = cluster.group("c1s4")
    assert (group["server"]["id"], group["failovers"], group["bytes"]["elsewhere"]) == ("c1s1", 0, 0)
