"""The control network of a chaos run: every host a network namespace on a bridge, whose cables can be pulled.

Rules:

* Names carry the process id of the run, so that leftovers of a run that was killed are known, and removed by the next.
* `deaf` hears nothing and is heard, `mute` the other way round; `apart` hosts reach each other, and nobody else.
* Needs root and the commands ip, tc and nsenter.
"""

import ctypes
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

NETWORK = "10.68"
PREFIX = "bwchaos"
SWITCH, OPERATOR = "switch", "operator"
CLONE_NEWNET = 0x40000000  # setns(2)
SPACES = Path("/run/netns")


class Network:
    """Namespaces of these hosts, numbered from 1 on, and of who operates them."""

    def __init__(self, hosts: Sequence[str]) -> None:
        sweep()
        self._mark = f"{PREFIX}{os.getpid()}"
        self.addresses = {host: f"{NETWORK}.0.{number}" for number, host in enumerate((*hosts, OPERATOR), 1)}

    def wire(self) -> None:
        self._space(SWITCH)
        for bridge in ("backplane", "other"):
            _ip("-n", self._name(SWITCH), "link", "add", bridge, "type", "bridge")
            _ip("-n", self._name(SWITCH), "link", "set", bridge, "up")
        for host, address in self.addresses.items():
            space = self._space(host)
            _ip(*self._port("add", host), "type", "veth", "peer", "name", "eth1", "netns", space)
            _ip(*self._port("set", host), "master", "backplane", "up")
            _ip("-n", space, "address", "add", f"{address}/16", "dev", "eth1")
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "link", "set", "eth1", "up")

    def on(self, host: str) -> list[str]:
        """What a command begins with that is to run on this host."""
        return ["nsenter", f"--net={SPACES / self._name(host)}"]

    def cut(self, host: str) -> None:
        _ip(*self._port("set", host), "down")

    def plug(self, host: str) -> None:
        _ip(*self._port("set", host), "up")

    def deafen(self, host: str) -> None:
        _tc("-n", self._name(SWITCH), "qdisc", "replace", "dev", host, "root", "blackhole")

    def undeafen(self, host: str) -> None:
        _tc("-n", self._name(SWITCH), "qdisc", "del", "dev", host, "root")

    def silence(self, host: str) -> None:
        _tc("-n", self._name(host), "qdisc", "replace", "dev", "eth1", "root", "blackhole")

    def unsilence(self, host: str) -> None:
        _tc("-n", self._name(host), "qdisc", "del", "dev", "eth1", "root")

    def split(self, host: str) -> None:
        """Onto the other bridge, with whoever else is there."""
        _ip(*self._port("set", host), "master", "other")

    def join(self, host: str) -> None:
        _ip(*self._port("set", host), "master", "backplane")

    @contextmanager
    def operating(self) -> Iterator[None]:
        """This thread, and the threads and programs that it starts, are on the operator's host meanwhile."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(SPACES / self._name(OPERATOR), os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(there)
            yield
        finally:
            _enter(home)
            os.close(there)
            os.close(home)

    def stop(self) -> None:
        for space in SPACES.glob(f"{self._mark}-*"):
            subprocess.run(["ip", "netns", "delete", space.name], check=False, capture_output=True)

    def _port(self, verb: str, host: str) -> list[str]:
        return ["-n", self._name(SWITCH), "link", verb, host]

    def _name(self, host: str) -> str:
        return f"{self._mark}-{host}"

    def _space(self, host: str) -> str:
        _ip("netns", "add", self._name(host))
        return self._name(host)


def sweep() -> None:
    """Remove the namespaces and file systems of runs that are no more."""
    for space in SPACES.glob(f"{PREFIX}*-*"):
        if _is_left(space.name):
            subprocess.run(["ip", "netns", "delete", space.name], check=False, capture_output=True)
    for line in Path("/proc/mounts").read_text().splitlines():
        source, place = line.split(" ")[:2]
        if _is_left(source):
            subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)


def _is_left(name: str) -> bool:
    found = re.fullmatch(rf"{PREFIX}(\d+)(-.*)?", name)
    return found is not None and not Path(f"/proc/{found[1]}").exists()


def _enter(space: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(space, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*words: str) -> None:
    _run("ip", *words)


def _tc(*words: str) -> None:
    _run("tc", *words)


def _run(*words: str) -> None:
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=10)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
