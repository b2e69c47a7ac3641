"""What was found out about one node: a board or a control board, by its own configuration (pure)."""

import msgspec

from boardwright.model.diagnosis import DiskFacts, EngineFacts
from boardwright.model.location import Location

NOWHERE = Location("", "")


class Trouble(msgspec.Struct, frozen=True):
    """Why something did not work, in our own programs' words, and what they say to do."""

    what: str
    do: str = ""


class InterfaceFacts(msgspec.Struct, frozen=True):
    """`address` is '' if there is none now; `state` is the kernel's word (operstate), '' if it says nothing."""

    name: str
    address: str = ""
    state: str = ""
    is_up: bool = True
    trouble: Trouble | None = None


class WayFacts(msgspec.Struct, frozen=True):
    """One way of asking: the group or the list of addresses, in `address`; `heard` are seconds by server."""

    address: str = ""
    heard: dict[str, float] = {}
    looped: bool = False
    ignored: dict[str, int] = {}
    trouble: str = ""


class ServerFacts(msgspec.Struct, frozen=True):
    """A server that offered, or is known from before; a `trouble` is why its API or its blobs could not be reached."""

    id: str
    location: Location
    tier: str
    api: str
    blobs: str = ""
    api_trouble: Trouble | None = None
    blobs_trouble: Trouble | None = None


class StoreUse(msgspec.Struct, frozen=True):
    """Bytes; a `quota` of 0: none."""

    path: str
    used: int
    quota: int


class ClockFacts(msgspec.Struct, frozen=True):
    """Since the epoch; `floor` is the newest signed time that this board has seen, 0 if none."""

    wall: float = 0.0
    floor: float = 0.0


class PortFacts(msgspec.Struct, frozen=True):
    """`server` is the id of the server of this cluster that answers there; `taken`: anybody accepts connections."""

    what: str
    address: str
    taken: bool = False
    server: str = ""
    trouble: str = ""


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`program` is agent or server. With `config_trouble` nothing else is known.

    `certified` is None if the credentials cannot be used, else the place that the cluster has signed.
    """

    program: str
    config: str
    config_trouble: Trouble | None = None
    id: str = ""
    said: Location = NOWHERE
    certified: Location | None = None
    role: str = ""
    certificate: str = ""
    certificate_trouble: Trouble | None = None
    online_key_trouble: Trouble | None = None
    interfaces: tuple[InterfaceFacts, ...] = ()
    multicast: WayFacts | None = None
    unicast: WayFacts | None = None
    servers: tuple[ServerFacts, ...] = ()
    disks: tuple[DiskFacts, ...] = ()
    store: StoreUse | None = None
    clock: ClockFacts = ClockFacts()
    ledger: str = ""
    ledger_trouble: str = ""
    lock: str = ""
    runs: bool | None = None
    ports: tuple[PortFacts, ...] = ()
    engine: EngineFacts | None = None
