"""Where a demo runs: loopback addresses and ports that nobody else uses, and whether multicast works there.

Rules:

* A board's address is 127.<chassis>.<slot>.<run>. A run holds an abstract socket with its number, so that demos
  on one machine do not meet; the kernel frees it however the demo ends.
* If something else listens on Boardwright's ports there, another row of ports is taken.
"""

import asyncio
import contextlib
import socket
from collections.abc import Sequence

import msgspec

from boardwright.config import Address
from boardwright.errors import FailedError, UsageError
from boardwright.net.multicast import multicast_works

GROUP = "239.255.66.87"
FIRST_PORT = 6687  # multicast; the API, the blobs and the relay follow
PORT_ROWS = tuple(range(FIRST_PORT, 60_000, 10_000))
MAX_RUNS = 100
MAX_CHASSIS = 254  # one byte of an address
MULTICAST_PATIENCE = 1.0  # seconds; loopback answers within a millisecond


class DemoBoard(msgspec.Struct, frozen=True):
    """One board of the demo; `server` marks a control board."""

    id: str
    chassis: int
    slot: int
    type: str
    address: str
    server: bool


class Shape(msgspec.Struct, frozen=True):
    """How many chassis, and what is in each."""

    chassis: int = 2
    control_boards: int = 2
    boards: int = 4

    def check(self) -> None:
        """Raise UsageError for a cluster that cannot be built."""
        for option, value, least in (
            ("--chassis", self.chassis, 1),
            ("--control-boards", self.control_boards, 1),
            ("--boards", self.boards, 0),
        ):
            if not least <= value <= MAX_CHASSIS:
                raise UsageError(f"{option} {value} is not between {least} and {MAX_CHASSIS}")
        if self.control_boards + self.boards > MAX_CHASSIS:
            raise UsageError(f"a chassis of {self.control_boards + self.boards} slots has more than {MAX_CHASSIS}")

    def layout(self, run: int) -> tuple[DemoBoard, ...]:
        """Every board with its address; control boards in the first slots."""
        return tuple(
            DemoBoard(
                id=f"c{chassis}s{slot}",
                chassis=chassis,
                slot=slot,
                type="rp" if slot <= self.control_boards else "lc",
                address=f"127.{chassis}.{slot}.{run}",
                server=slot <= self.control_boards,
            )
            for chassis in range(1, self.chassis + 1)
            for slot in range(1, self.control_boards + self.boards + 1)
        )


class Place:
    """A run's number, boards and ports, held until `leave`."""

    def __init__(self, shape: Shape) -> None:
        self.run, self._claim = _claim()
        self.boards = shape.layout(self.run)
        try:
            self.port = _free_ports([board.address for board in self.boards])
        except BaseException:
            self._claim.close()
            raise
        self.group: Address = (GROUP, self.port)
        self.multicast = asyncio.run(self._everyone_hears())

    @property
    def servers(self) -> tuple[DemoBoard, ...]:
        return tuple(board for board in self.boards if board.server)

    @property
    def name(self) -> str:
        """The cluster's name."""
        return "demo" if self.run == 1 else f"demo-{self.run}"

    def leave(self) -> None:
        """Let another run have the number."""
        self._claim.close()

    async def _everyone_hears(self) -> bool:
        return await multicast_works(self.boards[0].address, self.group, MULTICAST_PATIENCE)


def _claim() -> tuple[int, socket.socket]:
    for run in range(1, MAX_RUNS + 1):
        held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            held.bind(f"\0boardwright-demo-{run}")
        except OSError:
            held.close()
            continue
        return run, held
    raise FailedError(f"{MAX_RUNS} demos run on this machine already", hint="stop one of them")


def _free_ports(addresses: Sequence[str]) -> int:
    for first in PORT_ROWS:
        if all(_is_free((address, first + step)) for address in addresses for step in (1, 2, 3)):
            return first
    raise FailedError(
        f"every row of ports from {PORT_ROWS[0]} to {PORT_ROWS[-1]} is in use on {addresses[0]} and its neighbours",
        hint="see who listens there with `ss -ltnp`",
    )


def _is_free(address: Address) -> bool:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the last run may linger
        try:
            probe.bind(address)
        except OSError:
            return False
    return True
