"""Real release bundles: they start with nothing of this machine but its interpreter, and an agent becomes one."""

import subprocess
from pathlib import Path

from boardwright.boot.names import AGENT_GROUP
from boardwright.cli.bundling import agent_release, server_release
from tests.e2e.cluster import Cluster

NOTHING = {"PATH": "/usr/bin:/bin", "HOME": "/nowhere"}  # no venv, no PYTHONPATH, no packages of a user


def test_a_server_runs_out_of_its_bundle_alone_and_an_agent_becomes_its_own(cluster: Cluster) -> None:
    servers, agents = cluster.directory / "servers", cluster.directory / "agents"
    server_release(servers, "7")
    agent_release(agents, "7")
    cluster.init([(1, 1, True), (1, 3, False)])
    cluster.processes["server-c1s1"] = bundled(cluster, servers / "bin/boardwright-server")
    cluster.until("the bundle serves", lambda: cluster.healthy() == {"c1s1"})

    cluster.start_agents("c1s3")
    agent = cluster.processes["agent-c1s3"]
    cluster.until("the agent was heard", lambda: bool(cluster.read("boards")["boards"]))
    done = cluster.run("publish", str(agents))
    assert done.returncode == 0, done.stderr
    done = cluster.run("deploy", AGENT_GROUP, "7", "--to", "c1s3", "--watch")
    assert done.returncode == 0, done.stderr
    release = (cluster.directory / "boards/c1s3/root" / AGENT_GROUP / "current").resolve()
    assert agent.poll() is None  # the same process all the time
    assert f"{release}/lib" in Path(f"/proc/{agent.pid}/cmdline").read_text()
    loaded = Path(f"/proc/{agent.pid}/maps").read_text()
    assert f"{release}/lib/msgspec" in loaded
    assert "site-packages" not in loaded


def bundled(cluster: Cluster, program: Path) -> subprocess.Popen[bytes]:
    config = cluster.directory / "out/c1s1/server.toml"
    with (cluster.directory / "server-c1s1.log").open("ab") as log:
        return subprocess.Popen([program, "--config", config], env=NOTHING, stdout=log, stderr=log)
