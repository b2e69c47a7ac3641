"""`init` writes the cluster's own etcd, and what it writes runs: two control boards, a witness on a line board."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.etcd_cluster import EtcdCluster

PLACES = [(1, 1, True), (1, 2, True), (1, 3, False)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EtcdCluster]:
    made = EtcdCluster(tmp_path, ["c1s1", "c1s2", "c1s3"])
    try:
        yield made
    finally:
        made.stop()


def software(folder: Path, text: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "motd").write_text(text)
    return str(folder)


def test_members_servers_and_boards_run_from_the_folders_and_survive_the_loss_of_a_member(
    cluster: EtcdCluster, tmp_path: Path
) -> None:
    cluster.init(PLACES)
    cluster.start_members()
    cluster.start_servers("c1s1", "c1s2")
    cluster.start_agents("c1s3")
    published = cluster.run("publish", software(tmp_path / "v1", "one"), "--group", "platform", "--version", "1")
    assert published.returncode == 0, published.stderr
    deployed = cluster.run("deploy", "platform", "1", "--to", "c1s3", "--watch")
    assert deployed.returncode == 0, deployed.stderr

    cluster.end("etcd-c1s1")  # with the witness, most are left
    published = cluster.run("publish", software(tmp_path / "v2", "two"), "--group", "platform", "--version", "2")
    assert published.returncode == 0, published.stderr
    deployed = cluster.run("deploy", "platform", "2", "--to", "c1s3", "--watch")
    assert deployed.returncode == 0, deployed.stderr

    cluster.start_members("c1s1")
    out = tmp_path / "out"
    assert cluster.may_talk_to("c1s1", out / "c1s2/engine")
    for board in ("c1s1", "c1s3"):  # what the cluster's own authority signed is worth nothing here
        assert not cluster.may_talk_to("c1s1", out / board)
    status = json.loads(cluster.run("servers", "-o", "json").stdout)
    assert {server["health"] for server in status["servers"]} == {"healthy"}


def test_a_dead_control_board_is_replaced_with_its_member_and_catches_up_by_itself(
    cluster: EtcdCluster, tmp_path: Path
) -> None:
    """docs/operate/replacement.md, step by step."""
    cluster.init(PLACES)
    cluster.start_members()
    cluster.start_servers("c1s1", "c1s2")
    cluster.start_agents("c1s3")
    assert (
        cluster.run("publish", software(tmp_path / "v1", "1"), "--group", "platform", "--version", "1").returncode == 0
    )
    assert cluster.run("deploy", "platform", "1", "--to", "c1s3", "--watch").returncode == 0

    cluster.lose("c1s2")
    (tmp_path / "out/c1s2").rename(tmp_path / "dead")
    revoked = cluster.run("revoke", "c1s2")
    assert revoked.returncode == 0, revoked.stderr
    cluster.replace_member("c1s2")
    added = cluster.run("init", str(tmp_path / "out"), "--inventory", str(tmp_path / "cluster.toml"), "--add")
    assert added.returncode == 0, added.stderr
    cluster.start_members("c1s2")
    signs = cluster.run("trust", "add-server", "c1s2")
    assert signs.returncode == 0, signs.stderr
    cluster.start("server", "c1s2")
    cluster.until("the new server holds the version", lambda: "platform 1 *" in cluster.versions_of("c1s2"))

    cluster.end("etcd-c1s1")  # the new member counts: without it most would be gone
    published = cluster.run("publish", software(tmp_path / "v2", "two"), "--group", "platform", "--version", "2")
    assert published.returncode == 0, published.stderr
    cluster.until("the new server holds that, too", lambda: "platform 2 *" in cluster.versions_of("c1s2"))
    cluster.end("server-c1s1")  # and the new server may sign
    cluster.until("c1s2 is active", lambda: cluster.role_of("c1s2") == "active")
    deployed = cluster.run("deploy", "platform", "2", "--to", "c1s3", "--watch")
    assert deployed.returncode == 0, deployed.stderr
