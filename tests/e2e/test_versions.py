"""Versions on a real cluster: variants, what two versions share, and what is left when everything was off."""

import os
import signal
from pathlib import Path

from tests.e2e.cluster import Cluster


def publish(cluster: Cluster, path: Path, version: str, *types: str) -> None:
    words = [word for board_type in types for word in ("--board-type", board_type)]
    done = cluster.run("publish", str(path), "--group", "platform", "--version", version, *words)
    assert done.returncode == 0, done.stderr


def current(cluster: Cluster, board: str) -> Path:
    return cluster.directory / "boards" / board / "root" / "platform" / "current"


def served(cluster: Cluster) -> int:
    return sum(int(server["bytes_served"]) for server in cluster.read("servers")["servers"])


def received(cluster: Cluster, board: str) -> int:
    return sum(cluster.group(board)["bytes"].values())


def test_of_two_variants_of_one_version_every_board_runs_its_own(cluster: Cluster) -> None:
    cluster.init([(1, 1, True), (1, 3, False)])
    cluster.start_servers("c1s1")
    cluster.start_agents("c1s1", "c1s3")
    for name in ("rp", "lc"):
        path = cluster.directory / name
        path.mkdir()
        (path / "who").write_text(name)
    publish(cluster, cluster.directory / "rp", "1", "rp", "rp-*")
    publish(cluster, cluster.directory / "lc", "1", "lc*")
    variants = {one["variant"] for one in cluster.read("software", "platform")["software"]}
    assert variants == {"rp,rp-*", "lc*"}
    assert cluster.run("deploy", "platform", "1", "--watch").returncode == 0
    cluster.until_confirmed("1", "c1s1", "c1s3")
    assert ((current(cluster, "c1s1") / "who").read_text(), (current(cluster, "c1s3") / "who").read_text()) == (
        "rp",
        "lc",
    )


def test_what_two_versions_share_is_stored_once_and_sent_once(cluster: Cluster) -> None:
    cluster.init([(1, 1, True), (1, 2, True), (1, 3, False)])
    cluster.start_servers("c1s1", "c1s2")
    cluster.start_agents("c1s3")
    software = cluster.directory / "software"
    software.mkdir()
    (software / "large.bin").write_bytes(os.urandom(6_000_000))
    for number in range(200):
        (software / f"small{number}").write_bytes(os.urandom(10_000))
    publish(cluster, software, "1")
    assert cluster.run("deploy", "platform", "1").returncode == 0
    cluster.until_confirmed("1", "c1s3")
    cluster.until("both hold 1", lambda: held_by(cluster, "1") == 2)
    assert received(cluster, "c1s3") >= 8_000_000
    stored, sent = store_size(cluster), served(cluster)

    (software / "new.bin").write_bytes(os.urandom(700_000))
    (software / "small7").write_bytes(os.urandom(10_000))
    publish(cluster, software, "2")
    assert cluster.run("deploy", "platform", "2").returncode == 0
    cluster.until_confirmed("2", "c1s3")
    cluster.until("both hold 2", lambda: held_by(cluster, "2") == 2)
    difference = 710_000
    manifests = 60_000  # each holds some 200 files
    assert difference <= received(cluster, "c1s3") <= difference + manifests
    assert store_size(cluster) - stored <= 2 * (difference + 2 * manifests)  # two servers
    assert served(cluster) - sent <= 2 * (difference + 2 * manifests)  # one copy to the other server, one to the board
    assert (current(cluster, "c1s3") / "small7").read_bytes() == (software / "small7").read_bytes()
    assert (current(cluster, "c1s3") / "large.bin").read_bytes() == (software / "large.bin").read_bytes()


def test_after_everything_was_off_the_state_is_there_and_generations_go_on(cluster: Cluster) -> None:
    cluster.init([(1, 1, True), (1, 2, True), (1, 3, False)])
    cluster.start_servers("c1s1", "c1s2")
    cluster.start_agents("c1s3")
    for version in ("1", "2"):
        path = cluster.directory / f"software{version}"
        path.mkdir()
        (path / "version").write_text(version)
        publish(cluster, path, version)
    for version in ("1", "2"):
        assert cluster.run("deploy", "platform", version).returncode == 0
    cluster.until_confirmed("2", "c1s3")
    generation = known(cluster, "c1s3")
    epoch = max(server["epoch"] for server in cluster.read("servers")["servers"])
    software = cluster.read("software")
    for name, process in cluster.processes.items():  # power cut
        cluster.kill(name, signal.SIGKILL)
        process.wait(10)

    cluster.start_servers("c1s1", "c1s2")
    cluster.start_agents("c1s3")
    cluster.until_confirmed("2", "c1s3")
    assert cluster.read("software") == software
    assert max(server["epoch"] for server in cluster.read("servers")["servers"]) > epoch
    assert known(cluster, "c1s3") >= generation
    assert cluster.run("deploy", "platform", "1").returncode == 0
    cluster.until_confirmed("1", "c1s3")
    assert known(cluster, "c1s3") > generation


def known(cluster: Cluster, board: str) -> int:
    """The generation that the board knows."""
    return int(next(one["generation"] for one in cluster.read("boards")["boards"] if one["id"] == board))


def held_by(cluster: Cluster, version: str) -> int:
    return sum(f"platform {version} *" in server["versions"] for server in cluster.read("servers")["servers"])


def store_size(cluster: Cluster) -> int:
    """Bytes of all servers' stores."""
    return sum(path.stat().st_size for path in cluster.directory.glob("boards/*/data/store/**/*") if path.is_file())


def test_a_deploy_right_after_the_publish_does_not_pull_a_chassis_over_the_link(cluster: Cluster) -> None:
    places = [(1, 1, True), (2, 1, True), *((2, slot, False) for slot in range(3, 8))]
    cluster.init(places)
    cluster.start_servers("c1s1")  # the active: it takes the publish
    cluster.start_servers("c2s1")
    boards = [f"c2s{slot}" for slot in range(3, 8)]
    cluster.start_agents(*boards)
    software = cluster.directory / "software"
    software.mkdir()
    (software / "data.bin").write_bytes(os.urandom(40_000_000))
    publish(cluster, software, "1")
    assert cluster.run("deploy", "platform", "1").returncode == 0
    cluster.until_confirmed("1", *boards)
    crossed = {board: cluster.group(board)["bytes"].get("elsewhere", 0) for board in boards}
    assert crossed == dict.fromkeys(boards, 0)
