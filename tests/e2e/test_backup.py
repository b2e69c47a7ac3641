"""A cluster's state is backed up, lost and restored; boards that have seen newer plans follow."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.etcd_cluster import EtcdCluster

PLACES = [(1, 1, True), (1, 2, True), (1, 3, False)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def well(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert done.returncode == 0, done.stderr
    return done


def publish(cluster: Cluster, version: str) -> None:
    folder = cluster.directory / f"v{version}"
    folder.mkdir(exist_ok=True)
    (folder / "motd").write_text(version)
    well(cluster.run("publish", str(folder), "--group", "platform", "--version", version))


def deploy(cluster: Cluster, version: str) -> None:
    well(cluster.run("deploy", "platform", version, "--to", "c1s3", "--watch"))


def generation(cluster: Cluster, board: str) -> int:
    return next(int(one["generation"]) for one in cluster.read("boards")["boards"] if one["id"] == board)


def end_servers(cluster: Cluster, *boards: str) -> None:
    for board in boards:
        process = cluster.processes.pop(f"server-{board}")
        process.terminate()
        process.wait(15)


class TestOneHost:
    def test_a_state_that_is_lost_takes_nothing_away_and_comes_back_with_a_plan_that_boards_take_for_newer(
        self, cluster: Cluster, tmp_path: Path
    ) -> None:
        cluster.init(PLACES)
        cluster.start_servers("c1s1", "c1s2")
        cluster.start_agents("c1s3")
        publish(cluster, "1")
        deploy(cluster, "1")
        well(cluster.run("backup", str(tmp_path / "backup")))
        for version in ("2", "3"):
            publish(cluster, version)
            deploy(cluster, version)
        before = generation(cluster, "c1s3")

        end_servers(cluster, "c1s1", "c1s2")
        for file in tmp_path.glob("state.db*"):
            file.unlink()
        cluster.start_servers_only("c1s1", "c1s2")
        cluster.until("the loss is seen", lambda: "boardwright restore FILE" in cluster.run("status").stdout)
        refused = cluster.run("deploy", "platform", "3", "--to", "c1s3")
        assert refused.returncode == 3
        assert "this server has seen plan" in refused.stderr

        well(cluster.run("restore", str(tmp_path / "backup")))
        cluster.until_confirmed("1", "c1s3")
        assert generation(cluster, "c1s3") > before + 1_000_000
        publish(cluster, "4")
        deploy(cluster, "4")
        full = cluster.run("restore", str(tmp_path / "backup"))
        assert full.returncode == 3
        assert "the state is not empty" in full.stderr
        well(cluster.run("restore", str(tmp_path / "backup"), "--replace"))
        cluster.until_confirmed("1", "c1s3")


@pytest.fixture
def etcd_cluster(tmp_path: Path) -> Iterator[EtcdCluster]:
    made = EtcdCluster(tmp_path, ["c1s1", "c1s2", "c1s3"])
    try:
        yield made
    finally:
        made.stop()


class TestEverythingLost:
    def test_control_boards_made_anew_restore_the_state_and_the_line_board_follows(
        self, etcd_cluster: EtcdCluster, tmp_path: Path
    ) -> None:
        cluster = etcd_cluster
        cluster.init(PLACES)
        cluster.start_members()
        cluster.start_servers("c1s1", "c1s2")
        cluster.start_agents("c1s3")
        publish(cluster, "1")
        deploy(cluster, "1")
        well(cluster.run("backup", str(tmp_path / "backup")))
        publish(cluster, "2")
        deploy(cluster, "2")

        cluster.end("etcd-c1s3")
        for board in ("c1s1", "c1s2"):
            cluster.lose(board)
            shutil.rmtree(tmp_path / "out" / board)
        shutil.rmtree(tmp_path / "boards/c1s3/etcd")
        for name in ("etcd.conf.yml", "engine"):
            path = tmp_path / "out/c1s3" / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        well(cluster.run("init", str(tmp_path / "out"), "--inventory", str(tmp_path / "cluster.toml"), "--add"))
        cluster.start_members()
        cluster.start_servers_only("c1s1", "c1s2")
        restored = well(cluster.run("restore", str(tmp_path / "backup")))
        assert "publish again what nobody has" in restored.stderr
        publish(cluster, "1")
        cluster.until_confirmed("1", "c1s3")


class TestFromSqliteToEtcd:
    def test_the_state_moves_and_boards_follow(self, etcd_cluster: EtcdCluster, tmp_path: Path) -> None:
        cluster = etcd_cluster
        file = cluster.inventory(PLACES)
        with_etcd = file.read_text()
        file.write_text(with_etcd.replace(cluster.engine, f"sqlite:{tmp_path}/state.db"))
        words = ["init", str(tmp_path / "out"), "--inventory", str(file)]
        well(cluster.run(*words, operator=False))
        cluster.start_servers("c1s1", "c1s2")
        cluster.start_agents("c1s3")
        publish(cluster, "1")
        deploy(cluster, "1")
        before = generation(cluster, "c1s3")
        well(cluster.run("backup", str(tmp_path / "backup")))

        end_servers(cluster, "c1s1", "c1s2")
        file.write_text(with_etcd)
        well(cluster.run(*words, "--add"))
        cluster.start_members()
        cluster.start_servers_only("c1s1", "c1s2")
        well(cluster.run("restore", str(tmp_path / "backup")))
        cluster.until("all servers healthy", lambda: cluster.healthy() >= {"c1s1", "c1s2"})
        cluster.until("the board has the new plan", lambda: generation(cluster, "c1s3") > before)
        publish(cluster, "2")
        deploy(cluster, "2")
