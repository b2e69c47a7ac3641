"""`boardwright demo --upgrade`: Boardwright upgrades itself on every control board while boards download.

Rules:

* The servers change to a real release, made of this very installation, by `upgrade`, as an operator would do it.
* All boards are given new versions all the while, so that downloads are under way at every moment.
* Whether each server takes connections on its blob port is looked at ``SAMPLE`` seconds apart.
"""

import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from boardwright.boot.names import SERVER_GROUP
from boardwright.cli.bundling import server_release
from boardwright.cli.demo.report import Report, Upgraded, groups, received
from boardwright.cli.demo.software import GROUP
from boardwright.cli.demo.story import GLANCE, Story
from boardwright.cli.output import count, size
from boardwright.cli.passphrase import unlocked
from boardwright.cli.publishing import prepare, send
from boardwright.cli.signing import signing
from boardwright.cli.upgrading import sentences
from boardwright.errors import FailedError, UnreachableError
from boardwright.model.api import DeploymentRequest
from boardwright.model.upgrade import Outcome, UpgradeRequest, UpgradeStatus
from boardwright.transfer.options import SoftwareOptions
from boardwright.transfer.pack import Packed, pack

RELEASE = "1.0"
PAYLOAD = 8 * 1024 * 1024  # bytes; a second at the default rate, so that many downloads begin and end meanwhile
BOUND = 300.0  # seconds for the whole upgrade; it takes a fraction of that
SAMPLE = 0.05  # seconds
CONNECT = 0.5  # seconds


class Offering:
    """How many servers took connections, at the worst moment; a context."""

    def __init__(self, addresses: Sequence[tuple[str, int]]) -> None:
        self._addresses = addresses
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.least = len(addresses)
        self.looks = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE):
            self.least = min(self.least, sum(map(_answers, self._addresses)))
            self.looks += 1


class UpgradeStory(Story):
    """The same cluster as in the other story."""

    _number = 0
    _failovers = 0

    def tell_upgrade(self, workdir: Path) -> Report:
        """Run everything; raises BoardwrightError if any of it fails."""
        began = time.monotonic()
        self._start()
        self._publish_release(workdir)
        wanted = self._next(workdir)
        self._until_confirmed(wanted, may_kill=False)
        place = self._cluster.place
        with Offering([(server.address, place.port + 2) for server in place.servers]) as offering:
            upgrading = time.monotonic()
            status = self._client.upgrade(UpgradeRequest(RELEASE))
            status, wanted = self._follow(status, wanted, workdir)
            seconds = time.monotonic() - upgrading
        boards = self._until_confirmed(wanted, may_kill=False)
        self._look_at_servers(time.monotonic())
        if status.state != Outcome.DONE.value:
            raise FailedError(f"the upgrade ended {status.state}: {status.reason}")
        return Report(
            boards=boards.boards,
            servers=tuple(self._servers[server] for server in sorted(self._servers)),
            seconds=round(time.monotonic() - began, 3),
            killed=None,
            version=wanted.manifest.version,
            multicast=place.multicast,
            received=received(boards),
            failovers=self._failovers,
            upgrade=Upgraded(
                status, round(seconds, 3), offering.least, offering.looks, self._number, self._cluster.refetched()
            ),
        )

    def _publish_release(self, workdir: Path) -> None:
        directory = workdir / "release"
        server_release(directory, RELEASE)
        options = SoftwareOptions(group=SERVER_GROUP, version=RELEASE, board_types=("*",))
        packed = pack(directory, options, workdir=_fresh(workdir / "release-packs"))
        self._publish(packed)
        files = count(len(packed.manifest.files), "file")
        self._view.say(
            f"Published {SERVER_GROUP} {RELEASE}, this very installation: {files}, {size(packed.manifest.size)}."
        )

    def _publish(self, packed: Packed) -> None:
        shipment = prepare(self._client, packed)
        if shipment is None:
            raise FailedError(f"{packed.manifest.group} {packed.manifest.version} lacks some of its own blobs")
        send(self._client, shipment, signing(self._cluster.operator, unlocked, time.time), lambda _: None)

    def _next(self, workdir: Path) -> Packed:
        """Give all boards a new version."""
        self._number += 1
        version = f"{self._number}.0"
        directory = _fresh(workdir / f"payload-{self._number}")
        (directory / "payload").write_bytes(os.urandom(PAYLOAD))
        options = SoftwareOptions(group=GROUP, version=version, board_types=("*",))
        packed = pack(directory, options, workdir=_fresh(workdir / f"packs-{self._number}"))
        self._publish(packed)
        self._client.deploy(DeploymentRequest(GROUP, version))
        return packed

    def _follow(self, status: UpgradeStatus, wanted: Packed, workdir: Path) -> tuple[UpgradeStatus, Packed]:
        """Until the upgrade ended; boards that are done get the next version."""
        deadline, told = time.monotonic() + BOUND, set[str]()
        while True:
            for sentence in sentences(status):
                if sentence not in told:
                    told.add(sentence)
                    self._view.say(sentence)
            if status.state in [outcome.value for outcome in Outcome]:
                return status, wanted
            if time.monotonic() >= deadline:
                raise FailedError(f"the upgrade did not end within {BOUND:g} s: {status.waits}")
            self._cluster.check()
            boards = self._look()
            if self._confirmed(boards, wanted.manifest.version):
                self._failovers += sum(group.failovers for group in groups(boards))
                wanted = self._next(workdir)
            time.sleep(GLANCE)
            try:
                status = self._client.upgrade_status()
            except UnreachableError:
                continue  # the role changes hands


def _answers(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, CONNECT):
            return True
    except OSError:
        return False


def _fresh(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory
