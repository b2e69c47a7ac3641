"""Real programs killed at random moments, a thousand times (`make soak`): the disk never holds a third state.

BOARDWRIGHT_SOAK_KILLS (1000) kills at most in BOARDWRIGHT_SOAK_MINUTES (45); BOARDWRIGHT_SOAK_SEED repeats the choices.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from boardwright.errors import MalformedError
from boardwright.model.software import Manifest, decode_manifest
from tests.e2e.cluster import Cluster
from tests.faults.checks import check_ledger_readable

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]
KILLS = int(os.environ.get("BOARDWRIGHT_SOAK_KILLS", "1000"))
MINUTES = float(os.environ.get("BOARDWRIGHT_SOAK_MINUTES", "45"))
SEED = int(os.environ.get("BOARDWRIGHT_SOAK_SEED", str(random.SystemRandom().randrange(10**6))))
LONGEST = 1.6  # seconds until a kill; an agent needs about half of it to start, and the same to deploy
SERVER_EVERY = 10
NEXT_EVERY = 3  # kills until the operator deploys the next version, whether the last one was reached or not
BLANK_EVERY = 50  # kills until the board loses its disk and provisions itself anew
SICK = 3  # every third version is sick


class Soak:
    """One server and one board, the versions that were published, and what the operator wants."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.random = random.Random(SEED)
        self.wanted = ""
        self.healthy: set[str] = set()
        self.digests: dict[str, dict[str, str]] = {}
        self.seen: Counter[str] = Counter()
        self.generation = 0

    @property
    def group(self) -> Path:
        return self.cluster.directory / "boards/c1s3/root/platform"

    def publish(self, version: str, *, sick: bool) -> None:
        path = self.cluster.directory / f"software-{version}"
        path.mkdir()
        (path / "version").write_text(version)
        for number in range(12):
            (path / f"small{number}").write_bytes(self.random.randbytes(3000) if number % 2 else b"same" * 500)
        (path / "big").write_bytes(self.random.randbytes(3_500_000))
        (path / "probe").write_text(f"#!/bin/sh\nexit {int(sick)}\n")
        (path / "probe").chmod(0o755)
        (path / "link").symlink_to("big")
        (path / "boardwright.toml").write_text('[health]\ncommand = ["probe"]\ntimeout = 5\n')
        done = self.cluster.run("publish", str(path), "--group", "platform", "--version", version)
        assert done.returncode == 0, done.stderr
        self.digests[version] = {one.name: _digest(one) for one in path.iterdir() if one.name != "boardwright.toml"}
        if not sick:
            self.healthy.add(version)
        shutil.rmtree(path)

    def deploy(self, version: str) -> None:
        done = self.cluster.run("deploy", "platform", version)
        assert done.returncode == 0, done.stderr
        self.wanted = version

    def check(self, allowed: set[str]) -> None:
        """While nothing runs: `current` leads to one of `allowed`, whole, and the ledger can be read."""
        current = self.group / "current"
        version = (current / "version").read_text() if current.is_symlink() else ""
        assert version in allowed, f"third state: {version or 'nothing'} runs, not one of {sorted(allowed)}"
        if version:
            found = {one.name: _digest(one) for one in current.iterdir()}
            assert found == self.digests[version], f"third state: {version} is not whole"
            assert _manifest(self.group / "manifests" / current.readlink().name).version == version
        ledger = self.cluster.directory / "boards/c1s3/state/ledger.json"
        record = check_ledger_readable(ledger)
        assert record.generation >= self.generation, "the generation went back"
        self.generation = record.generation
        one = record.groups.get("platform")
        self.seen[one.state.value if one else "nothing yet"] += 1

    def running(self) -> str:
        current = self.group / "current"
        return (current / "version").read_text() if current.is_symlink() else ""


def test_a_thousand_kills_leave_no_third_state(cluster: Cluster) -> None:
    soak = Soak(cluster)
    cluster.init([(1, 1, True), (1, 3, False)])
    cluster.start_servers("c1s1")
    number, kills, server_kills, begun = 1, 0, 0, time.monotonic()
    soak.publish("1", sick=False)
    soak.deploy("1")
    allowed = {"", "1"}
    while kills < KILLS and time.monotonic() - begun < MINUTES * 60:
        agent = cluster.start("agent", "c1s3")
        _sleep(soak.random.uniform(0.05, LONGEST))
        if kills % SERVER_EVERY == SERVER_EVERY - 1:
            server = cluster.processes["server-c1s1"]
            server.kill()
            server.wait()
            server_kills += 1
            _sleep(soak.random.uniform(0.0, 0.3))
        agent.kill()
        agent.wait()
        kills += 1
        soak.check(allowed)
        if cluster.processes["server-c1s1"].poll() is not None:
            cluster.start_servers("c1s1")
        if kills % BLANK_EVERY == 0:
            shutil.rmtree(cluster.directory / "boards/c1s3/root")
            shutil.rmtree(cluster.directory / "boards/c1s3/state")
            soak.generation = 0
            allowed = {"", soak.wanted}
        elif kills % NEXT_EVERY == 0:
            number += 1
            soak.publish(str(number), sick=number % SICK == 0)
            # Whatever runs now may be what is rolled back to; the version that was wanted may still be on its way in.
            allowed = {soak.running(), soak.wanted, str(number)}
            soak.deploy(str(number))
    number += 1 + (number % SICK == SICK - 1)
    soak.publish(str(number), sick=False)
    soak.deploy(str(number))
    cluster.start_agents("c1s3")
    cluster.until_confirmed(str(number), "c1s3")
    print(f"soak: seed {SEED}, {kills} of {KILLS} kills of the agent, {server_kills} of the server, 0 third states")  # noqa: T201
    print(f"soak: ledger when killed: {json.dumps(dict(soak.seen.most_common()))}")  # noqa: T201


def _manifest(path: Path) -> Manifest:
    try:
        return decode_manifest(path.read_bytes())
    except (OSError, MalformedError) as error:
        raise AssertionError(f"third state: the manifest of what runs cannot be read: {error}") from error


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sleep(seconds: float) -> None:
    """Let the programs run: this is the one thing here that is measured in real time."""
    subprocess.run(["sleep", str(seconds)], check=True)
