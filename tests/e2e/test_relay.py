"""Boards that serve each other: real servers and agents, and a server that is slow on purpose."""

from pathlib import Path

from boardwright.model.software import PIECE_SIZE
from tests.e2e.cluster import Cluster
from tests.e2e.test_life import publish, running, software

BOARDS = ["c1s2", "c1s3", "c1s4", "c1s5"]
SIZE = 6 * PIECE_SIZE
OFF = "c1s5"  # where relay is switched off


def told(cluster: Cluster, board: str, file: str, text: str) -> None:
    """A drop-in of the board's operator."""
    folder: Path = cluster.directory / "out" / board / f"{file}.d"
    folder.mkdir()
    (folder / "50-test.toml").write_text(text)


def test_a_server_sends_a_version_about_once_and_boards_bring_it_to_each_other(cluster: Cluster) -> None:
    cluster.init([(1, 1, True), *((1, int(board[3:]), False) for board in BOARDS)])
    told(cluster, "c1s1", "server.toml", '[limits]\ntotal = "6MB/s"\n')
    told(cluster, OFF, "agent.toml", "[relay]\nenabled = false\n")
    cluster.start_servers("c1s1")
    cluster.start_agents("c1s1", *BOARDS)
    publish(cluster, software(cluster.directory, "one", size=SIZE), "1")
    assert cluster.run("deploy", "platform", "1", "--watch").returncode == 0
    cluster.until_confirmed("1", "c1s1", *BOARDS)
    groups = {board: cluster.group(board) for board in BOARDS}
    for board, group in groups.items():
        assert running(cluster, board) == "one"
        assert sum(group["bytes"].values()) == sum(group["givers"].values()) >= SIZE
        assert group["bytes"]["elsewhere"] == 0
        assert group["relayed"] == sum(count for giver, count in group["givers"].items() if giver != "c1s1")
        assert OFF not in group["givers"]
    assert groups[OFF]["relayed"] == 0
    relayed = sum(groups[board]["relayed"] for board in BOARDS)
    assert relayed >= SIZE  # of three times its size that three boards need, the server sends about one
    (server,) = cluster.read("servers")["servers"]
    assert server["bytes_served"] <= (1 + len(BOARDS)) * (SIZE + PIECE_SIZE) - relayed + 4 * PIECE_SIZE
