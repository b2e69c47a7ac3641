"""What a server says of itself when the doctor asks: facts, no judgement (``GET /v1/diagnosis``, any server).

Rules:

* A server examines itself and what it sees, never another server: the doctor puts the answers of all side by side.
* What could not be found out is a sentence in `trouble` of that part, and the other parts are there all the same.
* Times are seconds, amounts bytes. Every field may be missing: releases before and after this one answer, too.
"""

import msgspec

from boardwright.model.api import Alarm
from boardwright.model.location import Location

PATH = "/v1/diagnosis"
NOWHERE = Location("", "")


def nowhere() -> Location:
    """For who does not say; a default that is no plain value has no form in the API's document."""
    return NOWHERE


class EndpointFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint of etcd; `trouble` is '' if it answered.

    `has_leader`: it takes part in a quorum. `voters` and `learners` are those of the whole cluster as it knows them.
    `quota` is 0 if it does not say (before etcd 3.6). `expires`: when its certificate does, None without TLS.
    """

    endpoint: str
    trouble: str = ""
    member: str = ""
    release: str = ""
    has_leader: bool = False
    is_learner: bool = False
    voters: int = 0
    learners: int = 0
    database: int = 0
    in_use: int = 0
    quota: int = 0
    errors: tuple[str, ...] = ()
    expires: float | None = None


class EngineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` is memory, sqlite or etcd. Of sqlite: its file, its journal's mode and bytes (WAL)."""

    kind: str = ""
    trouble: str = ""
    endpoints: tuple[EndpointFacts, ...] = ()
    file: str = ""
    journal: str = ""
    journal_bytes: int = 0


class DiskFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The file system of `path`; `reserve` stays free whatever comes. `trouble`: it cannot be looked at or written."""

    path: str = ""
    free: int = 0
    reserve: int = 0
    trouble: str = ""


class StoreFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`quota` 0: none. `scrubbed`: when the whole store was read last (epoch, 0: never); `period` 0: it never is."""

    used: int = 0
    quota: int = 0
    damaged: int = 0
    scrubbed: float = 0.0
    period: float = 0.0


class CertificateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Whose the server's certificate is; `authority` and `key` are SHA-256 (hex), `said` its configuration's place."""

    id: str = ""
    role: str = ""
    location: Location = msgspec.field(default_factory=nowhere)
    key: str = ""
    authority: str = ""
    said: Location = msgspec.field(default_factory=nowhere)


class NetworkFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`group` is '' without multicast. `heard`: the servers that answered this one's question, in seconds, by that way.

    `dropped` counts datagrams since the server's start, by the reason; `overflowed` those that the kernel had to drop.
    """

    group: str = ""
    interfaces: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    heard: dict[str, float] = {}
    heard_by_address: dict[str, float] = {}
    trouble: str = ""
    dropped: dict[str, int] = {}
    overflowed: int = 0


class KnownServer(msgspec.Struct, frozen=True, kw_only=True):
    """A registered server and where its API is."""

    id: str
    location: Location
    api: str
    release: str = ""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """`clock` is the server's, since the epoch, when it sent this; `active` the id of who it thinks holds the lease.

    `waits` is '' when changes are taken, else why not; `health` is that of the list of servers.

    `revision` is how far its copy of the state is. `versions` are those held completely, `lacking` those of the catalog
    that are not, `expires` when each role of the signed metadata ends (since the epoch), `listed` where the inventory
    says that boards with a server sit, by id.
    """

    server: str
    cluster: str
    release: str
    location: Location
    clock: float
    role: str = "standby"
    active: str = ""
    epoch: int = 0
    generation: int = 0
    revision: int = 0
    health: str = ""
    waits: str = ""
    engine: EngineFacts = msgspec.field(default_factory=EngineFacts)
    disk: DiskFacts = msgspec.field(default_factory=DiskFacts)
    store: StoreFacts = msgspec.field(default_factory=StoreFacts)
    certificate: CertificateFacts = msgspec.field(default_factory=CertificateFacts)
    network: NetworkFacts = msgspec.field(default_factory=NetworkFacts)
    servers: tuple[KnownServer, ...] = ()
    listed: dict[str, Location] = {}
    versions: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    expires: dict[str, float] = {}
    alarms: tuple[Alarm, ...] = ()
