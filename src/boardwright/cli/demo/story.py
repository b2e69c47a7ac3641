"""What happens in the demo, in order: two deployments, and the death of a server in the middle of the second.

Rules:

* Whatever is waited for has a bound; a board that fails ends the demo at once with its reason.
* The server that dies is not the active one, is sending to a board at that moment, and is ended by SIGKILL.
* The demo looks at the cluster as any operator does: through the API.
"""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from boardwright.cli.demo import trap
from boardwright.cli.demo.cluster import DemoCluster
from boardwright.cli.demo.report import Report, groups, received
from boardwright.cli.demo.software import GROUP, SECOND, second_version
from boardwright.cli.demo.table import View, progress
from boardwright.cli.output import count, size
from boardwright.cli.passphrase import unlocked
from boardwright.cli.publishing import prepare, send
from boardwright.cli.signing import signing
from boardwright.errors import BoardwrightError, FailedError, UnreachableError
from boardwright.model.api import BoardList, DeploymentRequest, ServerStatus
from boardwright.model.report import DeploymentState
from boardwright.model.software import BlobRef
from boardwright.net.api_client import ApiClient
from boardwright.transfer.pack import Packed

STARTING = 60.0  # seconds for all servers to come up on a slow machine
COPYING = 30.0  # seconds that we wait for servers to copy a version; boards can do without
SETTLING = 90.0  # seconds beside the mere transfer: asking, hooks, health checks of all boards at once
GLANCE = 0.1  # seconds between two looks at the boards
LOOK_AT_SERVERS = 0.5  # seconds between two looks at the servers, so that the dead one's last count is known
MIDDLE = (0.1, 0.8)  # a download between these shares is in the middle


class Story:
    """One run over a cluster whose folders are ready; `rate` in bytes per second, 0 for none."""

    def __init__(self, cluster: DemoCluster, client: ApiClient, view: View, rate: int) -> None:
        self._cluster = cluster
        self._client = client
        self._view = view
        self._rate = rate
        self._servers: dict[str, ServerStatus] = {}
        self._looked_at_servers = 0.0
        self._killed: str | None = None

    def tell(self, first: Packed, workdir: Path) -> Report:
        """Run everything; raises BoardwrightError if any of it fails."""
        began = time.monotonic()
        self._start()
        self._deploy(first)
        boards = self._until_confirmed(first, may_kill=False)
        so_far, failovers = received(boards), _failovers(boards)
        second = second_version(first, workdir)
        self._deploy(second)
        if not self._rate:
            self._trap(second.manifest.blobs[-1])
        boards = self._until_confirmed(second, may_kill=len(self._cluster.place.servers) > 1)
        self._look_at_servers(now=time.monotonic())
        return Report(
            boards=boards.boards,
            servers=tuple(self._servers[server] for server in sorted(self._servers)),
            seconds=round(time.monotonic() - began, 3),
            killed=self._killed,
            version=SECOND,
            multicast=self._cluster.place.multicast,
            received=received(boards, so_far),
            failovers=failovers + _failovers(boards),
        )

    def _start(self) -> None:
        place = self._cluster.place
        if not place.multicast:
            self._view.say("Multicast does not work on the loopback interface: boards ask the servers' addresses.")
        for server in place.servers:
            self._cluster.start_server(server)
        self._wait("an active server", STARTING, self._all_serve)
        for board in place.boards:
            self._cluster.start_agent(board)
        lines = count(len(place.boards) - len(place.servers), "line board")
        self._view.say(f"{count(len(place.servers), 'server')} started, with agents on them and on {lines}.")

    def _all_serve(self) -> bool:
        for server in self._cluster.place.servers:
            try:
                health = self._client.health(f"https://{server.address}:{self._cluster.place.port + 1}")
            except BoardwrightError:
                return False
            if health.active is None:
                return False
        return True

    def _deploy(self, packed: Packed) -> None:
        manifest = packed.manifest
        shipment = prepare(self._client, packed)
        if shipment is None:
            raise FailedError(f"{GROUP} {manifest.version} lacks some of its own blobs")
        send(self._client, shipment, signing(self._cluster.operator, unlocked, time.time), lambda _: None)
        self._view.say(
            f"Published {shipment.name}: {count(len(manifest.files), 'file')}, {size(manifest.size)},"
            f" of which {size(shipment.size)} are new."
        )
        held = f"{manifest.group} {manifest.version} {manifest.variant}"
        try:
            self._wait("copies on every server", COPYING, lambda: self._held_everywhere(held))
        except FailedError as error:
            self._view.say(f"Some servers have not copied it yet ({error}); boards go elsewhere meanwhile.")
        deployment = self._client.deploy(DeploymentRequest(manifest.group, manifest.version))
        self._view.say(f"Deployed {shipment.name} to all boards (rollout {deployment.rollout}).")

    def _held_everywhere(self, name: str) -> bool:
        servers = self._client.servers().servers
        return len(servers) == len(self._cluster.place.servers) and all(name in server.versions for server in servers)

    def _until_confirmed(self, packed: Packed, *, may_kill: bool) -> BoardList:
        version = packed.manifest.version
        bound = SETTLING + (2 * packed.manifest.size / self._rate if self._rate else 0)
        deadline = time.monotonic() + bound
        boards = BoardList(())
        while time.monotonic() < deadline:
            self._cluster.check()
            boards = self._look()
            if may_kill and self._killed is None:
                self._kill_in_mid_download(boards, version)
            if self._confirmed(boards, version):
                return boards
            time.sleep(GLANCE)
        raise FailedError(f"{GROUP} {version} was not confirmed everywhere within {bound:.0f} s") from _all_unconfirmed(
            boards, version
        )

    def _look(self) -> BoardList:
        """The boards now; the last word while no server answers is nothing."""
        try:
            boards = self._client.boards()
        except UnreachableError:
            return BoardList(())
        self._view.show(boards)
        now = time.monotonic()
        if now - self._looked_at_servers >= LOOK_AT_SERVERS:
            self._look_at_servers(now)
        return boards

    def _look_at_servers(self, now: float) -> None:
        self._looked_at_servers = now
        for server in self._client.servers().servers:
            before = self._servers.get(server.id)
            count = max(server.bytes_served, before.bytes_served if before else 0)
            self._servers[server.id] = msgspec.structs.replace(server, bytes_served=count)

    def _confirmed(self, boards: BoardList, version: str) -> bool:
        for board in boards.boards:
            group = board.groups.get(GROUP)
            if group is not None and group.wanted == version and group.state is DeploymentState.FAILED:
                log = FailedError(group.log.strip()) if group.log.strip() else None
                raise FailedError(f"{board.id} failed to run {GROUP} {version}: {group.reason}") from log
        done = [group for group in groups(boards) if group.version == version == group.wanted]
        done = [group for group in done if group.state is DeploymentState.CONFIRMED]
        return len(done) == len(self._cluster.place.boards)

    def _trap(self, blob: BlobRef) -> None:
        """Kill a server beside the active while it sends `blob`, which is only a matter of milliseconds."""
        self._look_at_servers(time.monotonic())
        victim = trap.kill_in_mid_download(self._cluster, self._standbys(), blob)
        if victim is not None:
            self._tell_of_killed(victim)

    def _kill_in_mid_download(self, boards: BoardList, version: str) -> None:
        """Kill the busiest server beside the active, if boards are in the middle of a download from it."""
        victim = self._victim(boards, version)
        if victim is None:
            return
        self._look_at_servers(time.monotonic())
        if self._servers[victim].role == "active":
            return
        self._cluster.kill_server(victim)
        self._tell_of_killed(victim)

    def _tell_of_killed(self, victim: str) -> None:
        self._killed = victim
        self._view.say(f"Killed the server on {victim} in the middle of a download.")

    def _victim(self, boards: BoardList, version: str) -> str | None:
        least, most = MIDDLE
        busy: dict[str, int] = {}
        for group in groups(boards):
            in_the_middle = group.state is DeploymentState.DOWNLOADING and least <= progress(group) <= most
            if in_the_middle and group.wanted == version and group.server is not None:
                busy[group.server.id] = busy.get(group.server.id, 0) + 1
        candidates = sorted(busy.keys() & set(self._standbys()), key=lambda server: (-busy[server], server))
        return candidates[0] if candidates else None

    def _standbys(self) -> list[str]:
        return sorted(server.id for server in self._servers.values() if server.role != "active")

    def _wait(self, what: str, bound: float, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + bound
        while not condition():
            self._cluster.check()
            if time.monotonic() >= deadline:
                raise FailedError(f"{what}: not within {bound:g} s")
            time.sleep(GLANCE)


def _failovers(boards: BoardList) -> int:
    return sum(group.failovers for group in groups(boards))


def _all_unconfirmed(boards: BoardList, version: str) -> Exception | None:
    waiting = [
        FailedError(
            f"{board.id} is {group.state.value} with {group.version or 'nothing'}: {group.reason or 'no reason'}"
        )
        for board in boards.boards
        for group in [board.groups.get(GROUP)]
        if group is not None and (group.version != version or group.state is not DeploymentState.CONFIRMED)
    ]
    return ExceptionGroup("boards that wait", waiting) if waiting else None
