"""Which chassis, boards and links a lab has, and the commands that wire them: pure.

Rules:

* All bridges lie in the namespace ``switch``: one for every chassis (``ch1``), and ``core``, to which every chassis has
  an uplink (``up1``, its other end ``core1``) and the operator a cable. Bridges flood multicast: nobody snoops.
* Every cable has its rate in both directions, by tbf at the end that sends; the operator's has none.
* A board's port on its bridge has the board's id, its own end is ``eth1``.
"""

from collections.abc import Callable, Iterator

import msgspec

NETWORK = "10.67"
SWITCH, OPERATOR = "switch", "operator"
OPERATOR_ADDRESS = f"{NETWORK}.255.1"
MIB = 1024 * 1024
# One segment that is still to be cut is 64 KiB: a smaller bucket lets the kernel cut it, which costs time. What a full
# bucket gives away is 6 ms of a link of 100 Mbit/s.
BURST = 80 * 1024
# Queues hold 20 ms, as switches' do: a stream fills the link, and nothing waits absurdly long. Less than four
# segments would be lost at once where links are slow.
QUEUE = 0.02  # seconds
MIN_QUEUE = 256 * 1024
MAX_HOSTS = 200  # each is one to two processes of 60 MiB
MAX_CHASSIS = 200  # one byte of an address, 255 is the operator's


class Host(msgspec.Struct, frozen=True):
    """A board; `server` marks a control board."""

    id: str
    chassis: int
    slot: int
    server: bool

    @property
    def address(self) -> str:
        return f"{NETWORK}.{self.chassis}.{self.slot}"


class Shape(msgspec.Struct, frozen=True):
    """How many of what; rates in Mbit/s."""

    chassis: int = 2
    control_boards: int = 2
    boards: int = 8
    link: float = 100.0
    uplink: float = 100.0

    def trouble(self) -> str:
        """Why it cannot be built, in one sentence; '' if it can."""
        per_chassis = self.control_boards + self.boards
        if not 1 <= self.chassis <= MAX_CHASSIS:
            return f"{self.chassis} chassis are not between 1 and {MAX_CHASSIS}"
        if self.control_boards < 1 or self.boards < 1:
            return "a chassis has at least one control board and one line board"
        if self.chassis * per_chassis > MAX_HOSTS:
            return f"{self.chassis} chassis of {per_chassis} boards are more than {MAX_HOSTS} boards"
        if not (1 <= self.link <= 10_000 and 1 <= self.uplink <= 10_000):
            return "rates are between 1 and 10000 Mbit/s"
        return ""

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Control boards in the first slots of each chassis."""
        return tuple(
            Host(f"c{chassis}s{slot}", chassis, slot, slot <= self.control_boards)
            for chassis in range(1, self.chassis + 1)
            for slot in range(1, self.control_boards + self.boards + 1)
        )

    @property
    def servers(self) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts if host.server)

    @property
    def line_boards(self) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts if not host.server)

    def floor(self, size: int) -> float:
        """Seconds that `size` bytes take over one board's link, without any header."""
        return size * 8 / (self.link * 1e6)


class Batch(msgspec.Struct, frozen=True):
    """Lines for ``ip -batch`` or ``tc -batch`` in one namespace."""

    host: str
    tool: str
    lines: tuple[str, ...]


def wiring(shape: Shape, name: Callable[[str], str]) -> list[Batch]:
    """What makes the network once its namespaces are there; `name` answers that of a host's."""
    batches = [Batch(SWITCH, "ip", tuple(_switch(shape, name))), Batch(SWITCH, "tc", tuple(_ports(shape)))]
    for host in shape.hosts:
        batches += [Batch(host.id, "ip", _end(host.address)), Batch(host.id, "tc", (_tbf("eth1", shape.link),))]
    return [*batches, Batch(OPERATOR, "ip", _end(OPERATOR_ADDRESS))]


def _switch(shape: Shape, name: Callable[[str], str]) -> Iterator[str]:
    yield from _bridge("core")
    for chassis in range(1, shape.chassis + 1):
        yield from _bridge(f"ch{chassis}")
        yield f"link add up{chassis} type veth peer name core{chassis}"
        yield f"link set up{chassis} master ch{chassis} up"
        yield f"link set core{chassis} master core up"
    for host, bridge in (*((host.id, f"ch{host.chassis}") for host in shape.hosts), (OPERATOR, "core")):
        yield f"link add {host} type veth peer name eth1 netns {name(host)}"
        yield f"link set {host} master {bridge} up"


def _bridge(bridge: str) -> Iterator[str]:
    yield f"link add {bridge} type bridge mcast_snooping 0"
    yield f"link set {bridge} up"


def _ports(shape: Shape) -> Iterator[str]:
    for chassis in range(1, shape.chassis + 1):
        yield _tbf(f"up{chassis}", shape.uplink)
        yield _tbf(f"core{chassis}", shape.uplink)
    for host in shape.hosts:
        yield _tbf(host.id, shape.link)


def _end(address: str) -> tuple[str, ...]:
    """The route is for programs that do not say by which interface they multicast."""
    address_of = f"address add {address}/16 broadcast + dev eth1"
    return ("link set lo up", address_of, "link set eth1 up", "route add 224.0.0.0/4 dev eth1")


def _tbf(interface: str, rate: float) -> str:
    """`rate` in Mbit/s."""
    queue = max(MIN_QUEUE, int(rate * 1e6 / 8 * QUEUE))
    burst = max(BURST, int(rate * 1e6 / 8 * 0.001))  # what comes in a millisecond: timers are not finer when busy
    return f"qdisc add dev {interface} root tbf rate {rate:g}mbit burst {burst} limit {queue}"
