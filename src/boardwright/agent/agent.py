"""The agent process: sockets, threads and timers around one driver per board.

Rules:

* One asyncio loop does everything that is quick; whatever blocks is in threads and answers through the loop.
* Nothing polls: the loop sleeps until the nearest wakeup of its boards, or until something comes in.
* It ends in order and quickly: what is cut off is resumed from the ledger by the next start.
"""

import asyncio
import functools
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from boardwright import log
from boardwright.agent.board_relay import BoardRelay
from boardwright.agent.commands import CONFIG
from boardwright.agent.deployer import Deployer
from boardwright.agent.deployment import Event
from boardwright.agent.driver import BoardDriver
from boardwright.agent.installers.base import Factory
from boardwright.agent.installers.registry import find_installers
from boardwright.agent.ledger import Ledger
from boardwright.agent.own_release import OwnRelease
from boardwright.agent.place import location_conflict
from boardwright.agent.plan_source import PlanFound, find_plan
from boardwright.agent.reporter import BoardReporter, Postman
from boardwright.agent.revoking import fetch_revocations, who_knows
from boardwright.agent.signed_plans import SignedPlans, read_first_root
from boardwright.agent.worker import Worker
from boardwright.boot.names import AGENT_GROUP
from boardwright.boot.release import Boot
from boardwright.config.settings import AgentSettings
from boardwright.errors import FailedError, UnreachableError
from boardwright.model.api import ReportsTaken
from boardwright.model.report import DeploymentState
from boardwright.net.agent_client import AgentClient
from boardwright.net.multicast import Address, ControlSocket
from boardwright.protocol.choose import Candidate
from boardwright.protocol.codec import Dropped, decode
from boardwright.protocol.messages import Offer, Request
from boardwright.protocol.timing import RequestTiming, ask_after_announcement
from boardwright.transfer.durable import write_durably
from boardwright.transfer.fetch import FetchLimits
from boardwright.transfer.http_source import HttpSource
from boardwright.transfer.neighbour import NeighbourSource
from boardwright.transfer.sharing import Sharing
from boardwright.transfer.sources import FetchSource
from boardwright.trust.credentials import Credentials
from boardwright.trust.lines import lines_of
from boardwright.trust.neighbour_door import NeighbourDoor
from boardwright.trust.neighbours import NeighbourLines
from boardwright.trust.revoked import FILE, RevokedKeys
from boardwright.trust.witness import Witness

METADATA = "metadata"  # a reason to ignore a server, beside those of ``trust.witness``
ONCE_PATIENCE = 10.0  # seconds in which --once wants an offer and a plan (design section 12)
LET_GO = 0.7  # seconds that each kind of thread gets to end; after that the process ends without it

_log = log.get("agent")


class Station:
    """One board of the process: its driver and what connects it to the loop, the network and the servers."""

    def __init__(
        self,
        settings: AgentSettings,
        credentials: Credentials,
        environ: Mapping[str, str],
        postman: Postman,
        installers: Mapping[str, Factory],
        boot: Boot | None,
    ) -> None:
        self.settings = settings
        self._credentials = credentials
        self.heard_offer = False
        self._taken = False  # a report, by a server
        self.revoked = RevokedKeys(settings.state_dir / FILE, credentials.authority, write_durably)
        if self.revoked.trouble:
            _log.error("revoked keys", board=settings.board.id, trouble=self.revoked.trouble)
        self._lines = lines_of(credentials, self.revoked.keys)
        cluster = settings.cluster
        self._neighbour_lines = NeighbourLines(credentials, cluster.certificate, cluster.key, self.revoked.keys)
        self.client = AgentClient(self._lines)
        chassis = credentials.identity.location.chassis if settings.relay_enabled else ""
        self._witness = Witness(credentials.authority, time.monotonic(), self.revoked.keys, chassis)
        self._plans = SignedPlans(self.client, settings.state_dir, read_first_root(settings.cluster.trust))
        self._deployer = Deployer(
            settings.board,
            root=settings.root,
            state_dir=settings.state_dir,
            limits=FetchLimits(rate=settings.download, store_quota=settings.store_quota),
            client=self.client,
            environ={**environ, CONFIG: str(settings.folder)},
            installers=installers,
        )
        self._postman = postman
        self._refresher = Worker(f"{settings.board.id} plan")
        self._fetching = False  # a newer list of revoked keys
        self._rng = rng = random.Random()
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._ended = False
        self._sockets: list[ControlSocket] = []
        self._relay = BoardRelay(settings, credentials, self._deployer.shelf, self._door, self, rng, time.monotonic())
        self._deployer.start(self._post, self._relay)
        self._own = OwnRelease(self._deployer, settings.root, boot, self._post, lambda: signal.alarm(0))
        self.driver = BoardDriver(
            settings,
            hands=self._own,
            outside=self,
            ledger=Ledger(settings.state_dir),
            rng=rng,
            now=time.monotonic(),
            conflict=location_conflict(settings.board.location, credentials.identity.location),
            fallen=self._own.fallen,
        )
        self._own.resumed(self.driver.groups.get(AGENT_GROUP))
        self.driver.revoked(self.revoked.number, frozenset())
        self._reporter = BoardReporter(self.driver, rng, int(time.time() * 1000), self._witness.ignored)

    async def open(self) -> None:
        """Join the control network."""
        cluster = self.settings.cluster
        socket = await ControlSocket.open(
            interfaces=cluster.interfaces,
            multicast=cluster.multicast,
            unicast=cluster.unicast,
            listen_multicast=cluster.multicast is not None,
            on_datagram=self._on_datagram,
            say=lambda sentence: _log.warning("control network", news=sentence),
        )
        self._sockets.append(socket)
        self._relay.reached_at([host for host, _ in socket.addresses])
        self.kept_enough()  # what a killed process has left

    async def run(self, done: Callable[[float], bool]) -> bool:
        """Do what is due, report, sleep until the next wakeup; until `done(now)`. True: another release is to run."""
        while not self._ended:
            self._changed.clear()
            now = time.monotonic()
            self._own.wake(now)
            self.driver.wake(now)
            if not self.driver.stalled and self._own.due(self.driver.groups.get(AGENT_GROUP)):
                return True
            if self._taken and self.driver.plan is not None:
                self._own.proved()
            report = self._reporter.due(now)
            if report is not None:
                self._postman.post(report, self._apis)
            if done(now):
                return False
            wakeup = min(self.driver.next_wakeup(), self._reporter.next_wakeup(), self._own.next_wakeup())
            timer = self._loop.call_at(self._loop.time() + max(0.0, wakeup - time.monotonic()), self._changed.set)
            try:
                await self._changed.wait()
            finally:
                timer.cancel()
        return False

    def end(self) -> None:
        """Stop taking anything in; ``run`` returns."""
        self._ended = True
        self._changed.set()
        for socket in self._sockets:
            socket.close()

    def close(self) -> None:
        """Stop the threads; blocks a bounded time."""
        self._relay.close()
        self._deployer.close(LET_GO)
        self._refresher.close(0.0)

    # What the driver needs of the outside.

    def send(self, datagrams: Sequence[bytes]) -> None:
        for socket in self._sockets:
            for datagram in datagrams:
                socket.send_group(datagram)

    def refresh(self, offers: Sequence[Offer], generation: int) -> None:
        self._refresher.submit(functools.partial(self._refresh, tuple(offers), generation, self.driver.era))

    def source(self, source_id: str, url: str) -> FetchSource:
        return HttpSource(source_id, url, self._lines)

    def neighbour(self, source_id: str, url: str, sharing: Sharing) -> FetchSource:
        return NeighbourSource(source_id, url, self._neighbour_lines, sharing, lambda: self._relay.url)

    # What its relay needs.

    def _door(self) -> NeighbourDoor:
        cluster = self.settings.cluster
        return NeighbourDoor(self._credentials, cluster.certificate, cluster.key, self.revoked.keys)

    def soon(self, call: Callable[[], object]) -> None:
        self._in_loop(call)

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        self._loop.call_later(seconds, lambda: None if self._ended else call())

    def address_towards(self, address: Address) -> str:
        return next((own for socket in self._sockets if (own := socket.address_towards(address))), "")

    def send_to(self, data: bytes, address: Address) -> None:
        for socket in self._sockets:
            socket.send_to(data, address)

    def joined(self, manifest: str, candidate: Candidate) -> None:
        self.driver.joined(manifest, candidate)

    def kept_enough(self) -> None:
        self._deployer.tidy(self.driver.fetching)

    # What comes in.

    def _refresh(self, offers: Sequence[Offer], generation: int, era: int) -> None:
        self._fetch_revocations(who_knows(offers, self.revoked.number))
        found = find_plan(self._plans, self.settings.board.id, offers, generation)
        if self._plans.era != era:  # `generation` may be a thief's
            found = find_plan(self._plans, self.settings.board.id, offers, 0)
        found = msgspec.structs.replace(found, era=self._plans.era)
        self._in_loop(lambda: self._planned(found))

    def _planned(self, found: PlanFound) -> None:
        if found.untrusted:
            self._witness.ignored[METADATA] += found.untrusted
            _log.warning("signed metadata is not believed", board=self.settings.board.id, problems=found.problems)
        self.driver.planned(found, time.monotonic())

    def _post(self, group: str, event: Event) -> None:
        """From a worker thread."""
        self._in_loop(lambda: self.driver.happened(group, self._own.heard(group, event), time.monotonic()))

    def told(self, answer: ReportsTaken) -> None:
        """From the postman's thread: a server knows this generation, and that this board may try again."""
        if answer.generation > self.driver.generation:
            self._in_loop(lambda: self.driver.announced(answer.generation, time.monotonic()))
        retry = answer.retries.get(self.settings.board.id, 0)
        if retry > self.driver.retry:
            self._in_loop(lambda: self.driver.retried(retry, time.monotonic()))
        self._in_loop(lambda: self._told_of_revocations(answer.revocations, 0.0))
        if not self._taken:
            self._in_loop(self._report_taken)

    def _report_taken(self) -> None:
        self._taken = True

    def _told_of_revocations(self, number: int, delay: float) -> None:
        """Get a newer list in so many seconds, unless that is under way."""
        if number > self.revoked.number and not self._fetching:
            self._fetching = True
            self._loop.call_later(delay, self._catch_up)

    def _catch_up(self) -> None:
        apis = self._apis()

        def fetch() -> None:
            try:
                self._fetch_revocations(apis)
            finally:
                self._fetching = False

        if not self._ended:
            self._refresher.submit(fetch)

    def _fetch_revocations(self, apis: Sequence[str]) -> None:
        if fetch_revocations(self.revoked, self.client, apis):
            number, servers = self.revoked.number, self._witness.outcasts()
            self._in_loop(lambda: self.driver.revoked(number, servers))

    def _in_loop(self, call: Callable[[], object]) -> None:
        def take() -> None:
            if not self._ended:
                call()
                self._changed.set()

        try:
            self._loop.call_soon_threadsafe(take)
        except RuntimeError:
            pass  # the loop is closed: the process is ending and the ledger knows enough

    def _on_datagram(self, data: bytes, sender: Address) -> None:
        if self._ended:
            return
        received, now = decode(data, self.settings.cluster.name), time.monotonic()
        if isinstance(received, Dropped):
            self._witness.ignored[received.value] += 1
            return
        if isinstance(received.message, Request):
            self.driver.requested(received.message, now)
            self._relay.heard(received.message, sender, now)
            return
        message = self._witness.hear(received, sender[0], now, self.driver.asking.nonces)
        if message is not None:
            soon = ask_after_announcement(RequestTiming(), self._rng)  # so that boards do not all ask at once
            self._told_of_revocations(message.revocations, soon)
            if isinstance(message, Offer) and not message.relay and not self.heard_offer:
                self.heard_offer = True
                self._reporter.hurry()
            if self.driver.hear(message, now):
                self._changed.set()

    def _apis(self) -> Sequence[str]:
        newest = [offer.api for offer in self.driver.asking.offers if offer.api]
        return tuple(dict.fromkeys((*newest, *self.driver.asking.apis.values())))


class Agent:
    """All boards of one process; `credentials` are theirs, in the same order."""

    def __init__(
        self,
        boards: Sequence[AgentSettings],
        credentials: Sequence[Credentials],
        environ: Mapping[str, str],
        boot: Boot | None = None,
    ) -> None:
        """`boot` is what the boot stage told this process."""
        self._boot = boot
        self._boards = boards
        self._credentials = credentials
        self._environ = environ
        self._stations: list[Station] = []

    async def run(
        self, stop: asyncio.Event, *, once: bool = False, on_ready: Callable[[str], None] = lambda status: None
    ) -> bool:
        """Until `stop`; `once`: until every board runs what is wanted. `on_ready`: every board listens and asks.

        True: it ended because another release of the agent is to run.
        With `once` raises FailedError if a board does not, UnreachableError if no server answered.
        """
        postman = Postman(self._client_of, self._told)
        installers = find_installers()
        _log.info("installers", names=" ".join(sorted(installers)))
        self._stations = [
            Station(settings, credentials, self._environ, postman, installers, self._boot)
            for settings, credentials in zip(self._boards, self._credentials, strict=True)
        ]
        try:
            for station in self._stations:
                await station.open()
                board, conflict = station.settings.board, station.driver.conflict
                _log.info("started", board=board.id, location=str(board.location))
                if conflict:
                    _log.warning("nothing is activated", board=board.id, reason=conflict)
            on_ready(f"standing for {', '.join(settings.board.id for settings in self._boards)}")
            return await self._until(stop, once)
        finally:
            for station in self._stations:
                station.end()
            postman.close(LET_GO)
            for station in self._stations:
                station.close()

    def _client_of(self, board: str) -> AgentClient:
        return next(station.client for station in self._stations if station.settings.board.id == board)

    def _told(self, answer: ReportsTaken) -> None:
        for station in self._stations:
            station.told(answer)

    async def _until(self, stop: asyncio.Event, once: bool) -> bool:
        begun = time.monotonic()
        runs: list[asyncio.Task[bool]] = [
            asyncio.create_task(station.run(_never if not once else functools.partial(_done, station, begun)))
            for station in self._stations
        ]
        stopped = asyncio.create_task(stop.wait())
        try:
            left: set[asyncio.Task[bool]] = set(runs)
            while left and not stopped.done():
                done, _ = await asyncio.wait({*left, stopped}, return_when=asyncio.FIRST_COMPLETED)
                ended = left & done
                moved = [finished.result() for finished in ended]  # every one: an error must come out
                if any(moved):
                    return True
                left -= ended
            return False
        finally:
            for task in (*runs, stopped):
                task.cancel()
            await asyncio.gather(*runs, stopped, return_exceptions=True)


def _never(now: float) -> bool:
    del now
    return False


def _done(station: Station, begun: float, now: float) -> bool:
    """Whether the one cycle of ``--once`` is over and good; raises if it is over and not."""
    driver, patience_over = station.driver, now - begun >= ONCE_PATIENCE
    board = station.settings.board.id
    if driver.plan is None:
        if patience_over:
            why = driver.trouble if station.heard_offer else "no server answered within 10 s"
            raise UnreachableError(
                f"{board} has no plan: {why}", hint="is a server up, and on the same control network?"
            )
        return False
    if not driver.settled or (not (driver.plan.groups or driver.plan.withheld) and not patience_over):
        return False
    if driver.as_wanted:
        return True
    reasons = [
        f"{group}: {getattr(one.phase, 'reason', '') or one.state.value}"
        for group, one in driver.groups.items()
        if one.state in (DeploymentState.FAILED, DeploymentState.STAGED)
    ]
    raise FailedError(f"{board} does not run what is wanted: {'; '.join(reasons)}")
