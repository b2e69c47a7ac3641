"""Boardwright upgrades itself: real servers and agents, in small stand-ins of release bundles (M8)."""

import json
import threading
import time
from typing import Self

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.test_life import publish, software
from tests.e2e.test_releases import GROUP, release

SERVERS = ("c1s1", "c1s2", "c2s1")


def releases(cluster: Cluster) -> dict[str, str]:
    return {one["id"]: one.get("release", "") for one in cluster.read("servers")["servers"]}


class Watch:
    """How many servers offer, looked at all the time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.least = len(SERVERS)
        self.looks = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self.least = min(self.least, sum(self._cluster.serves(server) for server in SERVERS))
            self.looks += 1


@pytest.mark.timeout(240)
def test_servers_change_one_at_a_time_the_active_first_and_back_from_a_sick_release(cluster: Cluster) -> None:
    cluster.init([(1, 1, True), (1, 2, True), (2, 1, True), (1, 3, False)])
    cluster.start_servers(*SERVERS)
    cluster.start_agents(*SERVERS, "c1s3")
    publish(cluster, software(cluster.directory, "app", size=2_000_000), "1", "platform")
    publish(cluster, release(cluster.directory, "one"), "1.0", GROUP)
    first = next(one["id"] for one in cluster.read("servers")["servers"] if one["role"] == "active")
    cluster.until("all agents were heard", lambda: len(cluster.read("boards")["boards"]) == 4)

    refused = cluster.run("deploy", GROUP, "1.0")
    assert refused.returncode == 3
    assert "boardwright upgrade" in refused.stderr
    with Watch(cluster) as watch:
        begun = time.monotonic()
        done = cluster.run("upgrade", "1.0", "--watch")
        seconds = time.monotonic() - begun
        assert done.returncode == 0, done.stderr + cluster.logs()
        assert cluster.run("deploy", "platform", "1", "--watch").returncode == 0
    assert releases(cluster) == dict.fromkeys(SERVERS, "1.0")
    assert watch.least >= len(SERVERS) - 1, f"{watch.least} of {len(SERVERS)} offered, in {watch.looks} looks"
    lines = done.stderr.splitlines()
    order = [line.split()[0] for line in lines if line.endswith(" runs 1.0")]
    assert order[0] == first
    assert sorted(order) == sorted(SERVERS)
    assert seconds < 120
    shown = cluster.run("upgrade")
    assert shown.stdout.startswith("upgrade u1 to 1.0: done")

    publish(cluster, release(cluster.directory, "two", health="boardwright.nothing"), "2.0", GROUP)
    stopped = cluster.run("upgrade", "2.0", "--watch")
    assert stopped.returncode == 1
    assert "ended stopped: " in stopped.stderr
    cluster.until("what rolled back runs again", lambda: releases(cluster) == dict.fromkeys(SERVERS, "1.0"))
    back = cluster.run("upgrade", "--abort", "--watch", "-o", "json")
    assert back.returncode == 0, back.stderr
    assert json.loads(back.stdout)["state"] == "gone back"
    assert releases(cluster) == dict.fromkeys(SERVERS, "1.0")
    assert cluster.run("upgrade", "--abort").returncode == 3
    said = cluster.run("audit").stdout
    assert "upgrade" in said
    assert "upgrade-abort" in said
