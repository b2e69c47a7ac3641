"""Finds out how one node is, from its own configuration: nothing is changed on it and no cluster is needed.

Rules:

* Everything that waits (the control network, servers' ports, the engine) is asked at the same time; each has a bound of
  its own, so that all of it takes ``PATIENCE`` and a few connection attempts at most.
* What is wrong is a fact, never an error: the doctor is called because something is wrong.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from boardwright.agent.ledger import NAME as LEDGER
from boardwright.agent.ledger import Record
from boardwright.cli.doctor.examine_host import (
    disk_facts,
    interface_facts,
    is_locked,
    read_kept,
    trouble_of,
    used_bytes,
)
from boardwright.cli.doctor.node_facts import ClockFacts, NodeFacts, PortFacts, StoreUse, Trouble, WayFacts
from boardwright.cli.doctor.reaching import Known, port_facts, reach
from boardwright.config import AgentSettings, ClusterSettings, ServerSettings, load_agent, load_server
from boardwright.config.fragments import read_document
from boardwright.errors import BoardwrightError
from boardwright.model.diagnosis import EngineFacts
from boardwright.model.location import Location
from boardwright.net.interfaces import family_of
from boardwright.net.probing import Echo, Question, who_answers
from boardwright.net.udp import written
from boardwright.state.etcd_client import EtcdAccess
from boardwright.state.examine import examine_engine
from boardwright.state.records import ServerRecord
from boardwright.trust.credentials import Credentials, load_authority, load_credentials, load_key
from boardwright.trust.floor import Floor
from boardwright.trust.identity import Authority, Role
from boardwright.trust.lines import Lines, lines_of, nobody
from boardwright.trust.names import ONLINE_KEY, ROOT_FILE, TARGETS_FILE
from boardwright.trust.offline import MAX_METADATA
from boardwright.trust.online import SignedRoles
from boardwright.trust.revoked import FILE as REVOKED
from boardwright.trust.revoked import RevokedKeys
from boardwright.trust.verifier import FLOOR
from boardwright.trust.witness import Witness

PATIENCE = 1.5  # seconds for answers on the control network; three repetitions and ten times what a loaded server takes
# What the programs call their files; their modules are not imported for it, because commands start without them.
MIRROR = "mirror.json"  # a server's copy of the state, in its data directory
SERVER_LOCK, AGENT_LOCK = "server.lock", "lock"
OWN_FOLDER = "copy the folder that `boardwright init` made for this board"


def examine_node(path: Path) -> NodeFacts:
    """Facts of the agent or server whose configuration is at `path`; never raises for what is wrong with the node."""
    program = "agent"
    try:
        program = "server" if "server" in read_document(path).tables else "agent"
        settings = load_server(path) if program == "server" else load_agent(path)
    except BoardwrightError as error:
        return NodeFacts(program=program, config=str(path), config_trouble=trouble_of(error))
    return asyncio.run(_Node(path, settings).facts())


class _Copy(msgspec.Struct, frozen=True):
    """Of a server's copy of the state, what is needed here."""

    servers: dict[str, ServerRecord] = {}


class _Node:
    """What an agent's and a server's settings have in common, and how each is looked at."""

    def __init__(self, path: Path, settings: AgentSettings | ServerSettings) -> None:
        self._path = path
        self._settings = settings
        self._cluster: ClusterSettings = settings.cluster
        if isinstance(settings, ServerSettings):
            self._program, self._id, self._said = "server", settings.id, settings.location
            self._state, self._lock = settings.data_dir, settings.data_dir / SERVER_LOCK
        else:
            self._program, self._id, self._said = "agent", settings.board.id, settings.board.location
            self._state, self._lock = settings.state_dir, settings.state_dir / AGENT_LOCK

    async def facts(self) -> NodeFacts:
        """Everything, gathered at the same time."""
        cluster = self._cluster
        credentials, trouble = self._credentials()
        authority = credentials.authority if credentials is not None else self._authority()
        revoked = self._revoked(authority)
        if credentials is not None and credentials.identity.key in revoked():
            trouble = Trouble(
                f"the key of {credentials.identity.id} is revoked", "give this board a new key: " + OWN_FOLDER
            )
        lines = lines_of(credentials, revoked) if credentials is not None else Lines(authority)
        known, kept_trouble = self._known()
        (by_group, by_list), ports, engine, reached = await asyncio.gather(
            self._ask(authority, revoked, frozenset(known)),
            asyncio.to_thread(self._ports, lines),
            asyncio.to_thread(self._engine),
            reach(lines, self._said, known.values() if credentials is not None else ()),
        )
        heard = {one.server: one for echo in (by_group, by_list) if echo for one in echo.answers.values()}
        new = [Known(one.server, one.api, one.location, one.blobs) for one in heard.values() if one.server not in known]
        reached = (*reached, *await reach(lines, self._said, new if credentials is not None else ()))
        families = tuple({family_of(host): None for host, _ in self._ends()})
        return NodeFacts(
            program=self._program,
            config=str(self._path),
            id=self._id,
            said=self._said,
            certified=credentials.identity.location if credentials is not None else None,
            role=credentials.identity.role.value if credentials is not None else "",
            certificate=str(cluster.certificate),
            certificate_trouble=trouble,
            online_key_trouble=self._online_key(),
            interfaces=tuple(interface_facts(one, families) for one in cluster.interfaces),
            multicast=_way(by_group, written(cluster.multicast) if cluster.multicast else ""),
            unicast=_way(by_list, ", ".join(map(written, cluster.unicast))),
            servers=tuple(sorted(reached, key=lambda one: one.id)),
            disks=tuple(disk_facts(path) for path in self._folders()),
            store=self._store(),
            clock=self._clock(),
            ledger=str(self._kept),
            ledger_trouble=kept_trouble,
            lock=str(self._lock),
            runs=is_locked(self._lock),
            ports=ports,
            engine=engine,
        )

    def _credentials(self) -> tuple[Credentials | None, Trouble | None]:
        cluster = self._cluster
        try:
            found = load_credentials(cluster.certificate, cluster.key, cluster.trust, cluster.name, self._id)
        except (BoardwrightError, OSError) as error:
            return None, trouble_of(error)
        role = found.identity.role
        if role is Role.SERVER or (role is Role.BOARD and self._program == "agent"):
            return found, None
        return None, Trouble(f"{cluster.certificate} is that of the {role.value} {found.identity.id}", OWN_FOLDER)

    def _authority(self) -> Authority | None:
        """Whom this node believes, if it cannot say who it is itself."""
        try:
            return load_authority(self._cluster.trust, self._cluster.name)
        except (BoardwrightError, OSError):
            return None

    def _revoked(self, authority: Authority | None) -> Callable[[], frozenset[str]]:
        """The keys that this node knows to be revoked; its list is only read."""
        return nobody if authority is None else RevokedKeys(self._state / REVOKED, authority, _written_nowhere).keys

    def _online_key(self) -> Trouble | None:
        if self._program != "server":
            return None
        try:
            load_key(self._cluster.certificate.parent / ONLINE_KEY)
            root, targets = (_read(self._cluster.trust / name) for name in (ROOT_FILE, TARGETS_FILE))
            SignedRoles().with_root(root).with_targets(targets)
        except (BoardwrightError, OSError) as error:
            return trouble_of(error)
        return None

    # --- the control network ---

    async def _ask(
        self, authority: Authority | None, revoked: Callable[[], frozenset[str]], known: frozenset[str]
    ) -> tuple[Echo | None, Echo | None]:
        """By the group and by the list of addresses, at the same time; None where there is no such way."""
        if authority is None:
            return None, None
        cluster = self._cluster

        async def ask(*, by_group: bool) -> Echo | None:
            if not (cluster.multicast if by_group else cluster.unicast):
                return None
            question = Question(
                cluster=cluster.name,
                location=self._said,
                interfaces=cluster.interfaces,
                multicast=cluster.multicast if by_group else None,
                unicast=() if by_group else cluster.unicast,
                expected=known,
                patience=PATIENCE,
            )
            return await who_answers(question, Witness(authority, time.monotonic(), revoked))

        by_group, by_list = await asyncio.gather(ask(by_group=True), ask(by_group=False))
        return by_group, by_list

    def _ends(self) -> tuple[tuple[str, int], ...]:
        """Where the control network leads, to know which kind of address an interface needs."""
        cluster = self._cluster
        return (*([cluster.multicast] if cluster.multicast else []), *cluster.unicast) or (("0.0.0.0", 0),)

    # --- what it keeps ---

    @property
    def _kept(self) -> Path:
        return self._state / (MIRROR if self._program == "server" else LEDGER)

    def _known(self) -> tuple[dict[str, Known], str]:
        """The servers that this node remembers, and what is wrong with its memory."""
        if self._program == "server":
            copy, trouble = read_kept(self._kept, _Copy, _Copy())
            records = copy.servers.values()
            found = [Known(one.id, one.api, Location(one.chassis, one.slot), one.blobs) for one in records]
        else:
            record, trouble = read_kept(self._kept, Record, Record())
            found = [Known(server, one.api) for server, one in record.servers.items()]
        return {one.id: one for one in found}, trouble

    def _folders(self) -> tuple[Path, ...]:
        return (self._state,) if isinstance(self._settings, ServerSettings) else (self._settings.root, self._state)

    def _store(self) -> StoreUse | None:
        quota, store = self._settings.store_quota, self._state / "store"
        return StoreUse(str(store), used_bytes(store), quota) if quota else None

    def _clock(self) -> ClockFacts:
        floor, _ = read_kept(self._state / "trust" / FLOOR, Floor, Floor())
        return ClockFacts(time.time(), floor.time)

    # --- what a server has beside ---

    def _ports(self, lines: Lines) -> tuple[PortFacts, ...]:
        settings = self._settings
        if not isinstance(settings, ServerSettings) or not settings.listen[1]:
            return ()
        return (port_facts(lines, "listen", settings.listen),)

    def _engine(self) -> EngineFacts | None:
        settings = self._settings
        if not isinstance(settings, ServerSettings):
            return None
        return examine_engine(settings.engine, EtcdAccess(**msgspec.structs.asdict(settings.engine_access)))


def _way(echo: Echo | None, address: str) -> WayFacts | None:
    if echo is None:
        return None
    heard = {server: one.seconds for server, one in echo.answers.items()}
    return WayFacts(address, heard, echo.looped, echo.ignored, echo.trouble)


def _written_nowhere(path: Path, data: bytes) -> None:
    raise OSError(f"the doctor does not write {path}, {len(data)} bytes")


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_METADATA + 1)  # one byte too many is too many for who reads it
