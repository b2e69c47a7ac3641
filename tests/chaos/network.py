"""The control network of a chaos run: every host a network namespace on a bridge, whose cables can be pulled.

Rules:

* Names carry the process id of the run, so that leftovers of a run that was killed are known, and removed by the next.
* `deaf` hears nothing and is heard, `mute` the other way round; `apart` hosts reach each other, and nobody else.
* Needs root and the commands ip, tc and nsenter.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests import namespaces
from tests.namespaces import Spaces, is_left, run

NETWORK = "10.68"
PREFIX = "bwchaos"
SWITCH, OPERATOR = "switch", "operator"


class Network:
    """Namespaces of these hosts, numbered from 1 on, and of who operates them."""

    def __init__(self, hosts: Sequence[str]) -> None:
        sweep()
        self._spaces = Spaces(PREFIX)
        self.addresses = {host: f"{NETWORK}.0.{number}" for number, host in enumerate((*hosts, OPERATOR), 1)}

    def wire(self) -> None:
        self._spaces.add(SWITCH)
        for bridge in ("backplane", "other"):
            run("ip", "-n", self._name(SWITCH), "link", "add", bridge, "type", "bridge")
            run("ip", "-n", self._name(SWITCH), "link", "set", bridge, "up")
        for host, address in self.addresses.items():
            space = self._spaces.add(host)
            self._port("add", host, "type", "veth", "peer", "name", "eth1", "netns", space)
            self._port("set", host, "master", "backplane", "up")
            run("ip", "-n", space, "address", "add", f"{address}/16", "dev", "eth1")
            run("ip", "-n", space, "link", "set", "lo", "up")
            run("ip", "-n", space, "link", "set", "eth1", "up")

    def on(self, host: str) -> list[str]:
        """What a command begins with that is to run on this host."""
        return self._spaces.on(host)

    def cut(self, host: str) -> None:
        self._port("set", host, "down")

    def plug(self, host: str) -> None:
        self._port("set", host, "up")

    def deafen(self, host: str) -> None:
        run("tc", "-n", self._name(SWITCH), "qdisc", "replace", "dev", host, "root", "blackhole")

    def undeafen(self, host: str) -> None:
        run("tc", "-n", self._name(SWITCH), "qdisc", "del", "dev", host, "root")

    def silence(self, host: str) -> None:
        run("tc", "-n", self._name(host), "qdisc", "replace", "dev", "eth1", "root", "blackhole")

    def unsilence(self, host: str) -> None:
        run("tc", "-n", self._name(host), "qdisc", "del", "dev", "eth1", "root")

    def split(self, host: str) -> None:
        """Onto the other bridge, with whoever else is there."""
        self._port("set", host, "master", "other")

    def join(self, host: str) -> None:
        self._port("set", host, "master", "backplane")

    @contextmanager
    def operating(self) -> Iterator[None]:
        """This thread, and the threads and programs that it starts, are on the operator's host meanwhile."""
        with self._spaces.inside(OPERATOR):
            yield

    def stop(self) -> None:
        self._spaces.remove()

    def _port(self, verb: str, host: str, *words: str) -> None:
        run("ip", "-n", self._name(SWITCH), "link", verb, host, *words)

    def _name(self, host: str) -> str:
        return self._spaces.name(host)


def sweep() -> None:
    """Remove the namespaces and file systems of runs that are no more."""
    namespaces.sweep(PREFIX)
    for line in Path("/proc/mounts").read_text().splitlines():
        source, place = line.split(" ")[:2]
        if is_left(PREFIX, source):
            subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)
