"""This release and the one before it work together in every pairing: real builds of both, real clusters.

The folders are those that the older one's `init` wrote: whoever upgrades has such.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import BIN, Cluster
from tests.e2e.test_life import publish, running, software
from tests.releases.build import build

OLD, NEW = "old", "new"


class Mixed(Cluster):
    """`of` says which release a program of a board is, NEW if it says nothing."""

    def __init__(self, directory: Path, old: Path) -> None:
        super().__init__(directory)
        self.of: dict[str, str] = {}
        self._programs = {OLD: old, NEW: BIN}

    def command(self, program: str, board: str) -> list[str]:
        config = self.directory / "out" / board / f"{program}.toml"
        programs = self._programs[self.of.get(f"{program}-{board}", NEW)]
        return [str(programs / f"boardwright-{program}"), "--config", str(config)]

    def init_by_the_old(self, *places: tuple[int, int, bool]) -> None:
        words = ["init", str(self.directory / "out"), "--inventory", str(self.inventory(places))]
        done = self.execute([str(self._programs[OLD] / "boardwright"), *words], operator=False)
        assert done.returncode == 0, done.stderr

    def by_the_old(self, *words: str) -> None:
        """A command of an operator who has the older release."""
        done = self.execute([str(self._programs[OLD] / "boardwright"), *words], operator=True)
        assert done.returncode == 0, done.stderr

    def become(self, release: str, program: str, board: str) -> None:
        """End it and start the other release in its place, on the same disk."""
        name = f"{program}-{board}"
        self.kill(name)
        self.processes.pop(name).wait()
        self.of[name] = release
        self.start(program, board)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("previous")
    yield build(directory)
    shutil.rmtree(directory)


@pytest.fixture
def mixed(tmp_path: Path, old: Path) -> Iterator[Mixed]:
    made = Mixed(tmp_path, old)
    try:
        yield made
    finally:
        made.stop()


def deploy(
    cluster: Mixed, version: str, *boards: str, health: str = "true", code: int = 0, size: int = 300_000
) -> None:
    publish(cluster, software(cluster.directory, f"v{version}", health=health, size=size), version)
    to = [word for board in boards or ("c1s3",) for word in ("--to", board)]
    done = cluster.run("deploy", "platform", version, *to, "--watch")
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize(("server", "agent"), [(OLD, NEW), (NEW, OLD)], ids=["old server", "old agent"])
def test_a_server_and_an_agent(mixed: Mixed, server: str, agent: str) -> None:
    """First install, update, rollback; then each becomes the other release and reads what was written."""
    mixed.init_by_the_old((1, 1, True), (1, 3, False))
    mixed.of = {"server-c1s1": server, "agent-c1s3": agent}
    mixed.start_servers("c1s1")
    mixed.start_agents("c1s3")
    deploy(mixed, "1")
    deploy(mixed, "2")
    deploy(mixed, "3", health="exit 1", code=1)
    assert running(mixed, "c1s3") == "v2"
    assert mixed.group("c1s3")["state"] == "failed"
    mixed.become(OLD if server == NEW else NEW, "server", "c1s1")
    mixed.become(OLD if agent == NEW else NEW, "agent", "c1s3")
    mixed.until("the server is back", lambda: mixed.run("status").returncode == 0)
    assert running(mixed, "c1s3") == "v2", "nothing is tried again"
    deploy(mixed, "4")
    assert running(mixed, "c1s3") == "v4"
    mixed.by_the_old("boards")


def test_servers_of_both_take_the_role_from_each_other_and_read_each_other_s_state(mixed: Mixed) -> None:
    mixed.init_by_the_old((1, 1, True), (2, 1, True), (1, 3, False), (1, 4, False))
    mixed.of = {"server-c1s1": OLD, "server-c2s1": NEW, "agent-c1s3": OLD}
    mixed.start_servers("c1s1")
    mixed.start_agents("c1s3", "c1s4")  # the new one gives its neighbour pieces, which that does not know of
    deploy(mixed, "1", "c1s3", "c1s4", size=8_000_000)
    mixed.start_servers("c2s1")
    mixed.until("the new one has copied it", lambda: "platform 1 *" in versions(mixed)["c2s1"])
    mixed.kill("server-c1s1")
    mixed.until("the new one is active", lambda: mixed.run("status").stdout.count("active c2s1") == 1)
    deploy(mixed, "2")
    mixed.processes.pop("server-c1s1").wait()
    mixed.start("server", "c1s1")
    mixed.until("the old one has copied that", lambda: "platform 2 *" in versions(mixed)["c1s1"])
    mixed.kill("server-c2s1")
    mixed.until("the old one is active again", lambda: mixed.run("status").stdout.count("active c1s1") == 1)
    deploy(mixed, "3", "c1s3", "c1s4", size=8_000_000)
    assert running(mixed, "c1s3") == running(mixed, "c1s4") == "v3"
    mixed.by_the_old("audit")


def versions(cluster: Mixed) -> dict[str, list[str]]:
    return {one["id"]: one["versions"] for one in cluster.read("servers")["servers"]}
