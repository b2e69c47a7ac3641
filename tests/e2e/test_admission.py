"""A board that no inventory lists gets in by a token, works, and is held when it sits where it does not belong."""

import json
import tomllib
from pathlib import Path

from tests.e2e.cluster import Cluster
from tests.e2e.test_life import publish, running, software


def home(cluster: Cluster, board: str, chassis: int, slot: int) -> Path:
    """What somebody wrote by hand for a new board: its agent.toml."""
    folder = cluster.directory / "out" / board
    folder.mkdir()
    (folder / "agent.toml").write_text(f"""
        [cluster]
        name = "test{cluster.port}"
        interface = "lo"
        multicast = "239.255.66.87:{cluster.port}"
        [board]
        id = "{board}"
        chassis = "{chassis}"
        slot = "{slot}"
        type = "lc"
        groups = ["platform"]
        [agent]
        root = "{cluster.directory}/boards/{board}/root"
        state_dir = "{cluster.directory}/boards/{board}/state"
        """)
    return folder / "agent.toml"


def server(cluster: Cluster) -> str:
    operator = cluster.directory / "out" / "operator" / "operator.toml"
    return str(tomllib.loads(operator.read_text())["servers"][0])


def test_a_new_board_joins_deploys_and_is_held_when_it_is_moved(cluster: Cluster) -> None:
    cluster.init([(1, 1, True)])
    cluster.start_servers("c1s1")
    publish(cluster, software(cluster.directory, "one"), "1")
    assert cluster.run("deploy", "platform", "1").returncode == 0
    made = cluster.run("token", "create", "--role", "board", "--uses", "2")
    assert made.returncode == 0, made.stderr
    config = home(cluster, "c1s9", 1, 9)
    joined = cluster.run("join", server(cluster), "--token", made.stdout.strip(), "--config", str(config))
    assert joined.returncode == 0, joined.stderr
    assert "c1s9 is board of" in joined.stdout
    cluster.start_agents("c1s9")
    cluster.until_confirmed("1", "c1s9")

    thief = home(cluster, "thief", 1, 9)
    waits = cluster.run("join", server(cluster), "--token", made.stdout.strip(), "--config", str(thief), "--wait", "0")
    assert waits.returncode == 1
    assert "slot 1/9 is that of c1s9" in waits.stderr

    agent = cluster.processes["agent-c1s9"]
    agent.terminate()
    agent.wait()
    right = config.read_text()
    config.write_text(right.replace('slot = "9"', 'slot = "8"'))
    publish(cluster, software(cluster.directory, "two"), "2")
    assert cluster.run("deploy", "platform", "2", "--to", "c1s9").returncode == 0
    cluster.start_agents("c1s9")
    cluster.until("the moved board has staged it", lambda: cluster.group("c1s9").get("state") == "staged")
    assert "location-conflict: its configuration says 1/8, its certificate 1/9" in cluster.group("c1s9")["reason"]
    assert running(cluster, "c1s9") == "one"
    told = json.loads(cluster.run("status", "-o", "json").stdout)
    assert "location-conflict" in {alarm["kind"] for alarm in told["alarms"]}

    agent = cluster.processes["agent-c1s9"]
    agent.terminate()
    agent.wait()
    config.write_text(right)
    cluster.start_agents("c1s9")
    cluster.until_confirmed("2", "c1s9")
    assert running(cluster, "c1s9") == "two"
