"""The hands of a simulated board: the work is simulated, what is asked of them and what they answer is real.

Rules:

* A download takes ``size / rate`` seconds in steps; a source that is dead or does not hold the version is left for the
  next of the download's list, and what was fetched stays.
* ``Behaviour`` says by version how activation and health checks end.
* What a board keeps over a power cut is its ``Disk``: the ledger, what is fetched, staged and installed. Hands whose
  power was cut do nothing any more.
"""

from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

from boardwright.agent import deployment as d
from boardwright.agent.deployment import Event
from boardwright.agent.downloads import Download
from boardwright.agent.order import Release
from boardwright.model.software import Target
from boardwright.protocol.messages import Holding
from boardwright.sim.clock import VirtualTime
from boardwright.sim.server import SimServer
from boardwright.transfer.sources import RangeReader, SourceError

LIMIT = 60.0  # seconds that hooks and probes of a simulated version may take


class Behaviour(msgspec.Struct, frozen=True):
    """How the simulated work goes: bytes, bytes and seconds, and the versions that are not as they should be."""

    size: int = 64 * 2**20
    rate: float = 100e6
    step: int = 4 * 2**20
    activation: float = 2.0
    probing: float = 1.0
    vetoed: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()
    sick: frozenset[str] = frozenset()
    requires: dict[str, dict[str, str]] = {}  # version -> group -> requirement


class SimSource:
    """A server's blob port: where a simulated download comes from is looked up by the server's id."""

    def __init__(self, source_id: str, url: str) -> None:
        self.id = source_id
        self.url = url

    def open_range(self, sha256: str, start: int, length: int, timeout: float) -> RangeReader:
        raise SourceError(f"{self.id}: no bytes move here", wait=None)

    def break_off(self) -> None: ...

    def close(self) -> None: ...


class Disk:
    """What lasts: the ledger's bytes, fetched bytes by manifest, staged manifests, what is in place by group."""

    def __init__(self) -> None:
        self.ledger: bytes | None = None
        self.fetched: Counter[str] = Counter()
        self.staged: set[str] = set()
        self.installed: dict[str, Target] = {}


class SimHands:
    """One life of a board, from power-on to power cut; `post(group, event)` tells the driver what has come about."""

    def __init__(
        self,
        disk: Disk,
        behaviour: Behaviour,
        time: VirtualTime,
        servers: Mapping[str, SimServer],
        post: Callable[[str, Event], None],
    ) -> None:
        self.alive = True
        self.served: Counter[str] = Counter()  # bytes by server
        self.downloads: dict[str, Download] = {}
        self._disk = disk
        self._behaviour = behaviour
        self._time = time
        self._servers = servers
        self._post = post

    # What lies on the disk.

    def running(self, group: str) -> Target | None:
        return self._disk.installed.get(group)

    def holds(self, target: Target) -> bool:
        return target.manifest in self._disk.staged

    def release(self, target: Target) -> Release:
        return Release(target.version, self._behaviour.requires.get(target.version, {}))

    def activation_limit(self, target: Target) -> float:
        del target
        return LIMIT

    # Actions.

    def download(self, download: Download, others: tuple[Target, ...]) -> None:
        del others
        if self.alive:
            self.downloads[download.target.group] = download
            download.needs(self._behaviour.size)
            self._fetch(download, 0)

    def activate(self, action: d.Activate) -> None:
        target, manifest, how = action.target, action.target.manifest, self._behaviour
        if target.version in how.vetoed:
            self._later(0.1, target.group, d.Vetoed(manifest, "the hook bin/check said no"))
            return
        self._install_in(how.activation / 2, target.group, target)
        broken = target.version in how.broken
        outcome = d.ActivationFailed(manifest, "the link could not be set") if broken else d.Activated(manifest, LIMIT)
        self._later(how.activation, target.group, outcome)

    def probe(self, action: d.Probe) -> None:
        target, manifest = action.target, action.target.manifest
        sick = target.version in self._behaviour.sick
        outcome = d.Unhealthy(manifest, "the health check ended with 1") if sick else d.Healthy(manifest)
        self._later(self._behaviour.probing, target.group, outcome)

    def roll_back(self, action: d.RollBack) -> None:
        self._install_in(self._behaviour.activation / 2, action.target.group, action.to)
        self._later(self._behaviour.activation, action.target.group, d.RolledBack(action.target.manifest))

    def confirm(self, action: d.Confirm) -> None:
        """The simulated disk is endless."""

    def discard(self, action: d.Discard) -> None:
        if self.alive:
            self._disk.staged.discard(action.target.manifest)
            self._disk.fetched.pop(action.target.manifest, None)

    def stop(self, group: str) -> None:
        download = self.downloads.get(group)
        if download is not None:
            download.stop.set()

    # Simulated work.

    def _fetch(self, download: Download, attempt: int) -> None:
        """One step; `attempt` is the place in the failover list."""
        target, manifest = download.target, download.target.manifest
        if not self.alive or download.stop.is_set():
            return
        left = self._behaviour.size - self._disk.fetched[manifest]
        if left <= 0:
            self._post(target.group, d.Fetched(manifest))
            self._disk.staged.add(manifest)
            self._post(target.group, d.StageSucceeded(manifest))
            return
        sources = download.sources.ids()
        if attempt >= len(sources):
            self._post(target.group, d.DownloadFailed(manifest, f"all {len(sources)} sources failed"))
            return
        source = self._servers[sources[attempt]]
        if not self._serves(source, target):
            download.on_failover(source.id, "it is dead or does not hold the version")
            self._fetch(download, attempt + 1)
            return
        count = min(self._behaviour.step, left)

        def arrived() -> None:
            if self.alive and self._serves(source, target) and not download.stop.is_set():
                self._disk.fetched[manifest] += count
                self.served[source.id] += count
                download.on_bytes(source.id, count)
            self._fetch(download, attempt)

        self._time.after(count / self._behaviour.rate, arrived)

    def _serves(self, source: SimServer, target: Target) -> bool:
        held = source.holdings.get(bytes.fromhex(target.manifest))
        return source.alive and held is not None and held.holding is Holding.ALL

    def _later(self, seconds: float, group: str, event: Event) -> None:
        self._time.after(seconds, lambda: self._post(group, event) if self.alive else None)

    def _install_in(self, seconds: float, group: str, target: Target | None) -> None:
        def install() -> None:
            if not self.alive:
                return
            self._disk.installed.pop(group, None)
            if target is not None:
                self._disk.installed[group] = target

        self._time.after(seconds, install)
