"""The lab's network: made from a shape, its counters read, and nothing left of it.

Rules:

* Bytes are those of the links' queues, as the wire would have them: every packet with its headers, also where the
  kernel hands on many as one (an interface would count their headers once).
* ``received`` is for looks while boards download: cheap, without those headers.
* TCP's congestion control is cubic, which boards have that nobody has tuned. Where this machine allows namespaces no
  cubic, it does as long as the lab is there; if that cannot be, they have reno. IPv6 is off: its own chatter is not
  to be counted.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.lab.shape import OPERATOR, SWITCH, Shape, wiring
from tests.namespaces import Spaces, run

PREFIX = "bwlab"
CONTROLS = ("cubic", "reno")
ALLOWED = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")


class Traffic(msgspec.Struct, frozen=True):
    """Bytes since the wiring: by board what it sent and received, by chassis what left and what came in."""

    sent: dict[str, int]
    received: dict[str, int]
    left: dict[int, int]
    entered: dict[int, int]

    def since(self, before: "Traffic") -> "Traffic":
        return Traffic(
            *(
                {key: count - old[key] for key, count in new.items()}
                for new, old in zip(msgspec.structs.astuple(self), msgspec.structs.astuple(before), strict=True)
            )
        )


class Network:
    """Namespaces of a shape's boards and of who operates them."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.spaces = Spaces(PREFIX)
        self._ports = -1
        self._allowed = ""  # before there was a lab, if that had to be changed

    def wire(self) -> None:
        self._allow()
        hosts = [host.id for host in self.shape.hosts]
        for host in (SWITCH, OPERATOR, *hosts):
            self.spaces.add(host)
            with self.spaces.inside(host):
                _tune()
        for batch in wiring(self.shape, self.spaces.name):
            run(batch.tool, "-n", self.spaces.name(batch.host), "-batch", "-", text="\n".join(batch.lines) + "\n")
        with self.spaces.inside(SWITCH):
            self._ports = os.open("/proc/thread-self/net/dev", os.O_RDONLY | os.O_CLOEXEC)

    @contextmanager
    def operating(self) -> Iterator[None]:
        """This thread, and what it starts, are on the operator's host meanwhile."""
        with self.spaces.inside(OPERATOR):
            yield

    def traffic(self) -> Traffic:
        """Takes some milliseconds for every board."""
        ports = self._queues(SWITCH)
        return Traffic(
            {host.id: self._queues(host.id)["eth1"] for host in self.shape.hosts},
            {host.id: ports[host.id] for host in self.shape.hosts},
            {chassis: ports[f"up{chassis}"] for chassis in range(1, self.shape.chassis + 1)},
            {chassis: ports[f"core{chassis}"] for chassis in range(1, self.shape.chassis + 1)},
        )

    def received(self) -> int:
        """Bytes that all line boards have received, about; cheap."""
        told = b""
        while chunk := os.pread(self._ports, 1 << 16, len(told)):  # the kernel gives a page at a time
            told += chunk
        lines = told.decode().splitlines()
        counts = {port.strip(): int(rest.split()[8]) for port, _, rest in (line.partition(":") for line in lines[2:])}
        return sum(counts[host.id] for host in self.shape.line_boards)

    def remove(self) -> None:
        """And every process that is left in it."""
        if self._ports >= 0:
            os.close(self._ports)
            self._ports = -1
        self.spaces.remove()
        if self._allowed:
            ALLOWED.write_text(self._allowed)
            self._allowed = ""

    def _allow(self) -> None:
        allowed = ALLOWED.read_text()
        if CONTROLS[0] not in allowed.split():
            with contextlib.suppress(OSError):
                ALLOWED.write_text(f"{allowed.strip()} {CONTROLS[0]}")
                self._allowed = allowed

    def _queues(self, host: str) -> dict[str, int]:
        """Bytes that have left each interface of this host that has a rate."""
        told = json.loads(run("tc", "-n", self.spaces.name(host), "-s", "-j", "qdisc", "show"))
        return {queue["dev"]: queue["bytes"] for queue in told if queue["kind"] == "tbf"}


def _tune() -> None:
    """In the namespace of this thread."""
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    for control in CONTROLS:
        with contextlib.suppress(OSError):  # not allowed here
            Path("/proc/sys/net/ipv4/tcp_congestion_control").write_text(control)
            return
