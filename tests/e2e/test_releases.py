"""Servers and agents that follow their releases: the real programs, in small stand-ins of release bundles."""

import json
import os
import sys
from pathlib import Path

from boardwright.model.policy import Assignment, Policy
from boardwright.state.kv import Transaction
from boardwright.state.records import POLICY, encode_record
from boardwright.state.sqlite_kv import SqliteKV
from tests.e2e.cluster import BIN, Cluster
from tests.e2e.test_life import publish, software

GROUP = "boardwright"


def release(directory: Path, name: str, *, server: str = "", health: str = "boardwright.cli.release_health") -> Path:
    """A release that runs this very code out of another directory; `server`: what its server runs instead."""
    path = directory / f"release-{name}"
    (path / "bin").mkdir(parents=True)
    program = server or f'exec {sys.executable} -m boardwright.server.program "$@"'
    scripts = {"boardwright-server": program, "health": f"exec {sys.executable} -m {health} 12"}
    for script, text in scripts.items():
        (path / "bin" / script).write_text(f"#!/bin/sh\n# {name}\n{text}\n")
        (path / "bin" / script).chmod(0o755)
    (path / "boardwright.toml").write_text('[health]\ncommand = ["bin/health"]\ntimeout = 15\n')
    return path


def want(cluster: Cluster, *versions: str) -> None:
    """The policy wants the last of these versions of the group, or nothing of it; published software makes a plan."""
    kv = SqliteKV(cluster.directory / "state.db")
    try:
        policy = Policy(tuple(Assignment(GROUP, version) for version in versions))
        before = kv.get(POLICY)
        kv.commit(Transaction({POLICY: before.revision if before else 0}, {POLICY: encode_record(policy)}))
    finally:
        kv.close()
    number = len(list(cluster.directory.glob("nudge*")))
    nudge = ("publish", str(software(cluster.directory, f"nudge{number}", size=10)))
    named = ("--group", "nudges", "--version", str(number))
    # The only server may change its release while it is asked.
    cluster.until("the nudge is published", lambda: cluster.run(*nudge, *named).returncode == 0)


def running(cluster: Cluster, server: str = "c1s1") -> str:
    """The release that the server says it runs."""
    said = {one["id"]: one for one in cluster.read("servers")["servers"]}
    return str(said[server].get("release", ""))


def group(cluster: Cluster, board: str = "c1s1") -> dict[str, object]:
    """The board's row; empty while no server answers, because the only one changes its release."""
    done = cluster.run("boards", board, "-o", "json")
    return dict(json.loads(done.stdout)["boards"][0]["groups"].get(GROUP, {})) if done.returncode == 0 else {}


def until(cluster: Cluster, version: str, state: str) -> None:
    def there() -> bool:
        said = group(cluster)
        return (said.get("version"), said.get("state")) == (version, state)

    cluster.until(f"{GROUP} {version} is {state}", there)


def test_a_server_follows_its_release_in_the_same_process_and_back_from_a_sick_one(cluster: Cluster) -> None:
    cluster.init([(1, 1, True)])
    cluster.start_servers("c1s1")
    cluster.start_agents("c1s1")
    process = cluster.processes["server-c1s1"]
    assert running(cluster) == ""

    publish(cluster, release(cluster.directory, "one"), "1.0", GROUP)
    want(cluster, "1.0")
    until(cluster, "1.0", "confirmed")
    assert running(cluster) == "1.0"
    command = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
    assert b"boardwright.server.program" in command  # the release's own, not the script that was started
    assert str(BIN / "boardwright-server").encode() not in command

    publish(cluster, release(cluster.directory, "two", server="exec sleep 1000"), "2.0", GROUP)
    want(cluster, "2.0")
    cluster.until("the server is given up", lambda: cluster.run("status").returncode != 0)
    os.kill(process.pid, 9)  # what hangs is ended by whoever supervises it
    process.wait()
    link = cluster.directory / "boards/c1s1/root/boardwright/current"
    cluster.until("the link leads back", lambda: link.readlink().name.startswith("1.0-"))
    cluster.start_servers("c1s1")
    until(cluster, "1.0", "failed")
    said = group(cluster)
    assert said["wanted"] == "2.0"
    assert "does not answer" in str(said["log"])
    assert running(cluster) == "1.0"
    assert process.pid != cluster.processes["server-c1s1"].pid
