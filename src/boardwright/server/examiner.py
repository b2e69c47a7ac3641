"""This server examines itself when the doctor asks (``model.diagnosis``).

Rules:

* What may wait (disk, engine, control network) has ``PATIENCE`` each, all at the same time; what comes too late is
  left out and said. Nothing here blocks the event loop, nothing is changed.
* Whoever asks while an examination is under way gets its result: asking costs no more the more often it is done.
* The question on the control network goes out like a board's, from a socket of its own: it tests what boards need.
"""

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import Coroutine
from typing import TypeVar

from boardwright import __version__
from boardwright.config import ServerSettings
from boardwright.errors import BoardwrightError
from boardwright.model.diagnosis import (
    CertificateFacts,
    Diagnosis,
    DiskFacts,
    EngineFacts,
    KnownServer,
    NetworkFacts,
    StoreFacts,
)
from boardwright.model.location import Location
from boardwright.net.probing import Echo, Question, who_answers
from boardwright.net.udp import written
from boardwright.server.alarms import AlarmKind
from boardwright.server.engine import access_of
from boardwright.server.members import Members
from boardwright.server.own_status import OwnStatus
from boardwright.server.presence import Presence
from boardwright.server.responder import Responder
from boardwright.server.signing import signed_of
from boardwright.server.storage import Storage
from boardwright.state.examine import examine_engine
from boardwright.trust.identity import identity_of, read_certificate

PATIENCE = 2.0  # seconds for a part; the doctor waits for three
ANSWERS = 1.0  # seconds for answers on the control network; three repetitions, and ten times what a loaded server takes
MAX_NAMED = 200  # versions that are named as lacking; who lacks more lacks everything
_Part = TypeVar("_Part")


class Examiner:
    """`responder` counts what came from the control network, on which `presence` is the server's place."""

    def __init__(
        self,
        settings: ServerSettings,
        members: Members,
        status: OwnStatus,
        storage: Storage,
        responder: Responder,
        presence: Presence,
    ) -> None:
        self._settings = settings
        self._members = members
        self._status = status
        self._storage = storage
        self._responder = responder
        self._presence = presence
        self._running: asyncio.Task[Diagnosis] | None = None

    async def diagnosis(self) -> Diagnosis:
        """The facts of this moment, or those that somebody else has just asked for."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._examine())
        return await asyncio.shield(self._running)

    async def _examine(self) -> Diagnosis:
        path = str(self._settings.data_dir)
        late = f"no answer within {PATIENCE:g} s"
        disk, store, engine, network, expires = await asyncio.gather(
            _within(asyncio.to_thread(self._disk), DiskFacts(path=path, trouble=late)),
            _within(asyncio.to_thread(self._store), StoreFacts(quota=self._settings.store_quota)),
            _within(asyncio.to_thread(self._engine), EngineFacts(kind=_kind(self._settings.engine), trouble=late)),
            self._network(),
            _within(asyncio.to_thread(self._expires), dict[str, float]()),
        )
        state, word, holder = self._status.mirror.state, self._status(), self._status.standing.holder()
        lacking = sorted(f"{one.group} {one.version} {one.variant}" for one in self._storage.holdings.incomplete())
        return Diagnosis(
            server=self._settings.id,
            cluster=self._settings.cluster.name,
            release=__version__,
            location=self._settings.location,
            role=word.role,
            active="" if holder is None else holder.id,
            epoch=word.epoch,
            generation=word.generation,
            revision=self._status.mirror.revision,
            health=word.health,
            waits=self._status.standing.engine,
            engine=engine,
            disk=disk,
            store=store,
            certificate=self._certificate(),
            network=network,
            servers=tuple(
                KnownServer(id=one.id, location=Location(one.chassis, one.slot), api=one.api, release=one.release)
                for one in state.servers.values()
            ),
            listed={board.id: board.location for board in state.boards.values() if board.server},
            versions=word.versions,
            lacking=tuple(lacking[:MAX_NAMED]),
            expires=expires,
            alarms=self._status.alarms.listing(),
            clock=time.time(),
        )

    def _disk(self) -> DiskFacts:
        space = self._storage.blobs.space
        try:
            return DiskFacts(path=str(space.path), free=space.free, reserve=space.reserve)
        except OSError as error:
            return DiskFacts(path=str(space.path), trouble=f"{space.path} cannot be looked at: {error.strerror}")

    def _store(self) -> StoreFacts:
        scrubber = self._storage.scrubber
        try:
            used = sum(self._storage.blobs.sizes().values())
        except OSError:
            used = 0  # what is wrong with the disk is said there
        return StoreFacts(
            used=used,
            quota=self._settings.store_quota,
            damaged=len(self._status.alarms.subjects(AlarmKind.DAMAGED_BLOB)),
            scrubbed=scrubber.ended(),
            period=scrubber.period,
        )

    def _engine(self) -> EngineFacts:
        return examine_engine(self._settings.engine, access_of(self._settings))

    def _certificate(self) -> CertificateFacts:
        credentials = self._members.credentials
        found = credentials.identity
        return CertificateFacts(
            id=found.id,
            role=found.role.value,
            location=found.location,
            key=found.key,
            authority=identity_of(read_certificate(credentials.authority.certificate)).identity.key,
            said=self._settings.location,
        )

    def _expires(self) -> dict[str, float]:
        """When each role ends; a date that cannot be read is no date."""
        found = {}
        with contextlib.suppress(BoardwrightError):
            for role, date in signed_of(self._status.mirror.state.signed).expires.items():
                with contextlib.suppress(ValueError):
                    found[role] = dt.datetime.fromisoformat(date).timestamp()
        return found

    async def _network(self) -> NetworkFacts:
        cluster = self._settings.cluster
        network = self._presence.network
        by_group, by_address = await asyncio.gather(self._ask(by_group=True), self._ask(by_group=False))
        return NetworkFacts(
            group=written(cluster.multicast) if cluster.multicast is not None else "",
            interfaces=cluster.interfaces,
            peers=tuple(map(written, self._settings.peers)),
            heard={one.server: round(one.seconds, 4) for one in by_group.answers.values()},
            heard_by_address={one.server: round(one.seconds, 4) for one in by_address.answers.values()},
            trouble=by_group.trouble,
            dropped=dict(self._responder.ignored),
            overflowed=0 if network is None else network.overflowed(),
        )

    async def _ask(self, *, by_group: bool) -> Echo:
        """Who hears this server by the one way or the other; nobody where there is no such way."""
        cluster, peers = self._settings.cluster, self._settings.peers
        if not (cluster.multicast if by_group else peers):
            return Echo()
        question = Question(
            cluster=cluster.name,
            location=self._settings.location,
            interfaces=cluster.interfaces,
            multicast=cluster.multicast if by_group else None,
            unicast=() if by_group else peers,
            expected=frozenset({*self._status.mirror.state.servers, self._settings.id}),
            patience=ANSWERS,
        )
        return await who_answers(question, self._members.witness())


def _kind(engine: str) -> str:
    return engine.partition(":")[0]


async def _within(part: Coroutine[object, object, _Part], late: _Part) -> _Part:
    """The part, or `late` if it takes too long."""
    try:
        return await asyncio.wait_for(part, PATIENCE)
    except TimeoutError:
        return late
