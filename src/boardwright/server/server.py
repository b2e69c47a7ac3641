"""One deployment server: what it is made of, in which order it starts and in which it stops (M6, M7).

Rules:

* Starting: what is on this disk, then the listeners, then the control network. From then on the server answers and
  serves, whatever the engine does. The loops that need the engine start last and wait for it by themselves.
* Loops that block have a thread each; the event loop answers datagrams and HTTP and never blocks.
* Stopping: the lease goes first, so that another server takes changes at once; then listeners and loops together.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec

from boardwright import __version__, log
from boardwright.config import Address, ServerSettings
from boardwright.errors import RefusedError
from boardwright.model.audit import Action
from boardwright.model.report import BoardReport
from boardwright.net.multicast import ControlSocket
from boardwright.protocol.carrier import Found
from boardwright.protocol.offerer import ServerFacts
from boardwright.server.admission_records import Records
from boardwright.server.aftermath import Aftermath
from boardwright.server.alarms import AlarmKind, Alarms
from boardwright.server.announcer import Announcer
from boardwright.server.api.uploads import Intake
from boardwright.server.arbitration import arbiter_of
from boardwright.server.asking import Asking
from boardwright.server.audit import Audit
from boardwright.server.board_reports import BoardReports
from boardwright.server.catching_up import CatchingUp
from boardwright.server.claims import Claims
from boardwright.server.clocks import Clocks
from boardwright.server.counters import counted
from boardwright.server.courier import Courier
from boardwright.server.door import Door
from boardwright.server.engine import open_engine
from boardwright.server.examiner import Examiner
from boardwright.server.executor import Executor
from boardwright.server.flood_watch import FloodWatch
from boardwright.server.held import HeldVersions
from boardwright.server.holdings import Holdings
from boardwright.server.leading import leading
from boardwright.server.listed import Listed
from boardwright.server.members import Members
from boardwright.server.mirror import Mirror, MirrorState
from boardwright.server.own_status import OwnStatus
from boardwright.server.patient_kv import PatientKV
from boardwright.server.presence import Presence
from boardwright.server.reachable import facts_for
from boardwright.server.registration import keep_registered
from boardwright.server.replicator import Copying, Replicator
from boardwright.server.responder import Responder
from boardwright.server.retirement import Retirement
from boardwright.server.rollout_watch import RolloutWatch
from boardwright.server.routes import ApiParts, api
from boardwright.server.signing import OnlineKey, Signing
from boardwright.server.silence import SilenceWatch
from boardwright.server.slots import Slots
from boardwright.server.standing import ServerStanding
from boardwright.server.storage import Loop, Storage
from boardwright.state.active import RESTORE_HINT, ActiveRole
from boardwright.state.follow import Follower, Several
from boardwright.state.lease import Held
from boardwright.state.records import CatalogRecord, ServerRecord
from boardwright.transfer.caps import Caps
from boardwright.transfer.serve import BlobService
from boardwright.trust.credentials import Credentials
from boardwright.trust.online import SignedRoles

UPLOADS = 4  # at the same time; more would only share the disk
JOIN = 2.0  # seconds for loops and answers under way to end; what hangs dies with the process
_log = log.get("server")


class Server:
    """Made of its settings; ``start``, then ``stop``, in one event loop."""

    def __init__(self, settings: ServerSettings, credentials: Credentials, online_key: OnlineKey) -> None:
        """Read what is on disk and open the engine; RefusedError if the engine refuses this host."""
        self._settings = settings
        self._credentials = credentials
        self._members = Members(settings.data_dir, credentials, lambda: self._mirror.state.servers)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._active_since = time.monotonic()
        self._alarms = Alarms(settings.id, time.monotonic)
        self._clocks = Clocks(settings.id, time.time, time.monotonic, self._alarms)
        self._signing = signing = Signing(online_key, self._clocks)
        copied = partial(self._alarms.tell, AlarmKind.DISK, "mirror.json")
        self._mirror = Mirror(settings.data_dir / "mirror.json", copied, self._on_doubt)
        self._holdings = Holdings()
        self._holdings.know(self._mirror.state.catalog.values())
        self._listed = Listed(settings.inventory)
        self._slots = Slots(self._mirror, self._members.revoked.keys)
        self._claims = Claims(time.monotonic, self._alarms, self._listed.place, self._slots.quarrel)
        self._board_reports = BoardReports(
            time.monotonic,
            known=lambda board: board in self._mirror.state.boards,
            contested=self._claims.contested,
            key_of=self._slots.key_of,
        )
        self._kv = PatientKV(lambda: open_engine(settings))
        self._arbiter = arbiter = arbiter_of(settings, self._alarms)
        chosen = arbiter.may_lead if arbiter else lambda: True
        self._role = ActiveRole(self._kv, settings.id, chosen=chosen, barrier=lambda: self._mirror.doubt)
        self._audit = audit = Audit(settings.data_dir, self._members, self._kv, self._role, self._clocks, self._alarms)
        self._standing = ServerStanding(self._role, self._mirror)
        self._door = Door(
            settings,
            credentials,
            signing.begun(SignedRoles()),
            Records(self._kv, self._role.commit, audit.commit, self._mirror),
            self._mirror,
            self._slots,
        )
        self._storage = Storage(settings, self._mirror, self._holdings, self._alarms, self._look_for_work, self._retire)
        self._retirement = Retirement(
            self._kv,
            audit.commit,
            audit.own(Action.RETIRE),
            self._mirror,
            self._board_reports,
            self._storage.collector,
            self._storage.versions,
            lambda: self._active_since,
        )
        self._blobs = BlobService(
            self._storage.blobs,
            settings.admission,
            self._members.callers,
            caps=Caps(settings.per_board, settings.total, settings.inter_chassis),
        )
        self._follower = Follower(self._kv, "", Several(self._audit.copy, self._mirror))
        self._catching_up = CatchingUp(
            lambda: self._follower.wait_ready(0.0) and self._members.gossip.asked, time.monotonic
        )
        self._replicator: Replicator | None = None
        self._status = OwnStatus(
            settings,
            self._mirror,
            self._holdings,
            self._standing,
            self._blobs,
            self._alarms,
            lambda: self._storage.room.short,
            time.time,
            arbiter.verdict if arbiter else lambda: "",
        )
        self._watch = RolloutWatch(self._mirror, self._board_reports, lambda: self._active_since, time.monotonic)
        self._silence = SilenceWatch(
            self._mirror, self._board_reports, self._alarms, self._listening_for, lambda: self._standing.is_active
        )
        self._held = HeldVersions(
            self._kv, self._role.commit, audit.commit, self._mirror, self._board_reports, self._claims.contested
        )
        self._leading = leading(
            settings,
            self._kv,
            self._role,
            audit,
            self._mirror,
            self._holdings,
            self._storage,
            self._board_reports,
            self._status,
            self._clocks,
            self._held,
            signing,
        )
        self._executor = Executor(
            kv=self._kv,
            commit=self._role.commit,
            epoch=lambda: held.epoch if (held := self._role.held) else 0,
            mirror=self._mirror,
            board_reports=self._board_reports,
            watch=self._watch,
            held=self._held,
            listed=self._listed,
            signing=signing,
            upgrading=self._leading.upgrading.round,
        )
        self._uploads = ThreadPoolExecutor(UPLOADS, thread_name_prefix="upload")
        self._presence = Presence(settings)
        self.on_outcast: Callable[[], None] = lambda: None
        self._announcer: Announcer | None = None
        self._flood: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to answer and to serve; RefusedError if a port is taken, UsageError for an interface."""
        settings = self._settings
        blobs = await self._presence.listen(self._blobs, settings.blob_listen, "rsgi")
        facts = ServerFacts(settings.cluster.name, settings.id, settings.location, api="", blobs=blobs)
        seen = Aftermath.here(self._take_sighting)
        responder = Responder(
            facts,
            self._credentials,
            self._members.witness(),
            self._mirror,
            self._holdings,
            lambda: self._blobs.load,
            lambda *sighting: seen.add(sighting),
            time.monotonic,
            lambda: self._members.revoked.number,
        )
        parts = self._api_parts(blobs, responder)
        app = api(parts, counted(parts))
        facts = msgspec.structs.replace(facts, api=await self._presence.listen(app, settings.listen, "asgi"))
        responder.facts = facts
        responder.caught_up = lambda: self._catching_up.over
        network = await self._presence.join(responder.hear)
        responder.facts_for = facts_for(settings.listen, settings.blob_listen, network.address_towards)
        asking = Asking(settings.cluster.name, settings.id, settings.location, network)
        responder.asking = asking
        self._flood = asyncio.create_task(self._watch_for_floods(responder, network))
        self._announcer = Announcer(
            settings.cluster.name, self._credentials, network, multicast=settings.cluster.multicast is not None
        )
        loop = asyncio.get_running_loop()
        storage = self._storage
        replicator = self._replicator = Replicator(
            settings.id,
            self._mirror,
            self._holdings,
            storage.blobs,
            storage.damage,
            Copying(
                lambda record: self._ask(asking, loop, record),
                storage.room,
                storage.collector,
                self._other_active,
                self._members.lines,
            ),
        )
        self._mirror.subscribe(lambda before, after: self._on_state(before, after, loop, replicator))
        self._members.gossip.on_news = lambda: loop.call_soon_threadsafe(self._on_revoked)
        self._start_loops(facts, replicator)
        _log.info("serving", server=settings.id, location=settings.location, api=facts.api, blobs=facts.blobs)

    async def stop(self) -> None:
        """End in order, within a few seconds; also what was started in part."""
        self._stop.set()
        self._executor.wake()
        self._storage.wake()
        self._members.gossip.wake()
        self._look_for_work()
        lease, others = self._threads[:1], self._threads[1:]
        for thread in lease:
            await asyncio.to_thread(thread.join, JOIN)
        if self._flood is not None:
            self._flood.cancel()
        if self._announcer is not None:
            self._announcer.close()
        await asyncio.gather(
            *self._presence.endings(JOIN),
            *(asyncio.to_thread(thread.join, JOIN) for thread in others),
        )
        self._presence.leave()
        self._uploads.shutdown(wait=False, cancel_futures=True)
        self._kv.close()
        _log.info("stopped", server=self._settings.id)

    def check_member(self) -> None:
        """Raise RefusedError if this server's own key is revoked; `on_outcast` is called when that happens."""
        self._members.check_own()

    def trouble(self) -> str:
        """Why this server does not do its work, "" if it does: a loop that ended by itself, not by ``stop``."""
        ended = [thread.name for thread in self._threads if not thread.is_alive()]
        return f"the {', '.join(ended)} ended" if ended and not self._stop.is_set() else ""

    def _api_parts(self, blobs: str, responder: Responder) -> ApiParts:
        storage = self._storage
        return ApiParts(
            leading=self._leading,
            members=self._members,
            audit=self._audit,
            examiner=Examiner(self._settings, self._members, self._status, storage, responder, self._presence),
            server=self._settings.id,
            cluster=self._settings.cluster.name,
            blobs_url=blobs,
            blobs=self._blobs,
            mirror=self._mirror,
            standing=self._standing,
            catching_up=self._catching_up,
            board_reports=self._board_reports,
            claims=self._claims,
            responder=responder,
            network=lambda: self._presence.network,
            status=self._status,
            watch=self._watch,
            intake=Intake(storage.blobs, storage.pieces, storage.room, storage.collector, self._uploads),
            held=self._held,
            store=storage.blobs,
            holdings=self._holdings,
            damage=storage.damage,
            scrubber=storage.scrubber,
            door=self._door,
            checker=storage.checker,
        )

    def _start_loops(self, facts: ServerFacts, replicator: Replicator) -> None:
        place = facts.location
        record = ServerRecord(facts.server, place.chassis, place.slot, facts.api, facts.blobs, __version__)
        courier = Courier(facts.server, self._board_reports, self._standing, self._status.word, self._members.lines)
        loops: list[Loop] = [
            ("lease", lambda stop: self._role.run(stop, self._on_role)),
            ("follower", self._follower.run),
            *([("arbitration", self._arbiter.run)] if self._arbiter else []),
            ("executor", self._executor.run),
            ("replicator", replicator.run),
            *self._storage.loops(),
            ("silence", self._silence.run),
            ("audit", self._audit.run),
            ("courier", courier.run),
            ("revocations", self._members.gossip.run),
            ("registration", lambda stop: keep_registered(self._kv, record, stop)),
        ]
        for name, run in loops:
            self._start_thread(name, run)

    def _start_thread(self, name: str, run: Callable[[threading.Event], None]) -> None:
        thread = threading.Thread(target=run, args=(self._stop,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _on_role(self, held: Held | None) -> None:
        if held is None:
            _log.info("standby")
        else:
            self._active_since = time.monotonic()
            self._clocks.begin()
            _log.info("active", epoch=held.epoch)
        self._executor.wake()

    def _retire(self, lacking: int) -> tuple[str, ...]:
        return self._retirement.retire(lacking) if self._standing.is_active else ()

    def _other_active(self) -> str | None:
        active = self._standing.active()
        return None if active is None or active.id == self._settings.id else active.id

    def _listening_for(self) -> float:
        """Seconds in which this server would have heard what boards say."""
        return time.monotonic() - self._active_since

    def _look_for_work(self) -> None:
        if self._replicator is not None:
            self._replicator.wake()

    def _on_doubt(self, doubt: str) -> None:
        """The engine's state is not believed, or is again ('')."""
        sentence = f"{doubt}; serving goes on, {RESTORE_HINT}" if doubt else ""
        self._alarms.tell(AlarmKind.RESTORE, "state", sentence)

    async def _watch_for_floods(self, responder: Responder, network: ControlSocket) -> None:
        def dropped() -> dict[str, int]:
            strangers = self._board_reports.crowded_out
            return {**responder.dropped, "overflow": network.overflowed(), "strangers": strangers}

        await FloodWatch(self._alarms, dropped, lambda: responder.last_dropped).run(time.monotonic)

    def _take_sighting(self, sighting: tuple[BoardReport, Address, bytes]) -> None:
        seen, sender, nonce = sighting
        if not self._board_reports.take([seen]):
            return
        self._claims.request(seen.board, sender[0], nonce)
        if self._announcer is not None:
            self._announcer.remember(seen.board.id, sender)

    def _on_state(
        self, before: MirrorState, after: MirrorState, loop: asyncio.AbstractEventLoop, replicator: Replicator
    ) -> None:
        """Runs on the follower's thread."""
        if before.servers != after.servers:
            self._members.gossip.wake()
        if before.catalog != after.catalog:
            self._holdings.know(after.catalog.values())
            self._storage.collector.wake()
            replicator.wake()
        if after.plan.generation > before.plan.generation and self._announcer is not None:
            revocations = self._members.revoked.number
            loop.call_soon_threadsafe(self._announcer.announce, after.plan.generation, revocations)

    def _on_revoked(self) -> None:
        """There is a newer list of revoked keys."""
        if self._announcer is not None:
            self._announcer.announce(self._mirror.state.plan.generation, self._members.revoked.number)
        try:
            self.check_member()
        except RefusedError as error:
            _log.error("nobody takes this server's word any more", reason=str(error))
            self.on_outcast()

    def _ask(self, asking: Asking, loop: asyncio.AbstractEventLoop, record: CatalogRecord) -> Found:
        """Runs on the replicator's thread."""
        state = self._mirror.state
        question = asking.ask(record, state.plan.generation, state.servers)
        return asyncio.run_coroutine_threadsafe(question, loop).result()
