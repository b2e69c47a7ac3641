"""Which faults come when, all of it from one seed; and how they are done to a cluster and undone.

Rules:

* A schedule is pure: the same seed, shape and count give the same one. Faults overlap; no two of one kind hit one
  target at a time, so that undoing one never undoes another. A program that is killed is not halted at the same time.
* Whoever is hit, and however many at a time, what must never happen must not happen; what must come about comes about
  after the last fault is undone.
"""

import contextlib
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import msgspec

from tests.chaos.cluster import ChaosCluster, Shape

EVERY = (0.6, 1.8)  # seconds between the beginnings of two faults
LASTS = (0.8, 4.5)  # seconds; longer than a lease, and shorter
JUMPS = (-400 * 86400.0, -3600.0, -30.0, 30.0, 3600.0, 40 * 86400.0)  # seconds; 40 days are within the metadata's 90
KINDS = ("kill", "kill", "halt", "halt", "cut", "deaf", "mute", "split", "full", "clock")
EXCLUSIVE = {"kill": "process", "halt": "process"}  # kinds that share a lock on their target


class Fault(msgspec.Struct, frozen=True):
    """`at` and `until` are seconds of the schedule."""

    number: int
    kind: str
    whom: tuple[str, ...]
    at: float
    until: float
    by: float = 0.0


def schedule(seed: int, shape: Shape, count: int) -> list[Fault]:
    """The faults of a run, by their beginning."""
    rng, at, made = random.Random(seed), 0.0, list[Fault]()
    busy: dict[tuple[str, str], float] = {}
    while len(made) < count:
        kind = rng.choice(KINDS)
        whom = _whom(rng, kind, shape)
        locks = [(EXCLUSIVE.get(kind, kind), one) for one in whom]
        length, jump, pause = rng.uniform(*LASTS), rng.choice(JUMPS), rng.uniform(*EVERY)
        if any(busy.get(lock, 0.0) > at for lock in locks):
            continue
        at += pause
        made.append(Fault(len(made) + 1, kind, whom, at, at + length, jump if kind == "clock" else 0.0))
        busy |= dict.fromkeys(locks, at + length + 0.1)
    return made


def _whom(rng: random.Random, kind: str, shape: Shape) -> tuple[str, ...]:
    programs = [f"server-{one}" for one in shape.servers] + [f"agent-{host}" for host in shape.boards]
    programs += [f"etcd-{number}" for number in range(1, shape.members + 1)]
    if kind in ("kill", "halt"):
        return (rng.choice(programs),)
    if kind in ("full", "clock"):
        return (rng.choice(shape.hosts if kind == "full" else tuple(shape.boards)),)
    if kind == "split":
        return tuple(sorted(rng.sample(shape.hosts, rng.randint(2, len(shape.hosts) // 2))))
    return (rng.choice(shape.hosts),)


class Hand:
    """Does faults to a cluster, and undoes them."""

    def __init__(self, cluster: ChaosCluster) -> None:
        self._cluster = cluster

    def begin(self, fault: Fault) -> None:
        for one in fault.whom:
            self._begin[fault.kind](self, one, fault)

    def end(self, fault: Fault) -> None:
        for one in fault.whom:
            self._end[fault.kind](self, one, fault)

    def _kill(self, program: str, _: Fault) -> None:
        if (member := self._member(program)) is None:
            self._cluster.kill(program)
        else:
            self._cluster.etcd.end(member)

    def _start(self, program: str, _: Fault) -> None:
        if (member := self._member(program)) is None:
            self._cluster.start(program)
        else:
            self._cluster.etcd.start(member)

    def _halt(self, program: str, _: Fault) -> None:
        self._send(program, signal.SIGSTOP)

    def _go_on(self, program: str, _: Fault) -> None:
        self._send(program, signal.SIGCONT)

    def _send(self, program: str, number: int) -> None:
        if (member := self._member(program)) is None:
            self._cluster.signal(program, number)
        else:
            self._cluster.etcd.send(member, number)

    def _member(self, program: str) -> str | None:
        kind, _, number = program.partition("-")
        return self._cluster.etcd.hosts[int(number) - 1] if kind == "etcd" else None

    def _fill(self, host: str, _: Fault) -> None:
        disk, block = self._disk(host), bytes(1 << 16)
        with (disk / "somebody-else").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:  # until not a byte more fits, whoever else writes meanwhile
                file.write(block)

    def _empty(self, host: str, _: Fault) -> None:
        (self._disk(host) / "somebody-else").unlink(missing_ok=True)

    def _disk(self, host: str) -> Path:
        if host.startswith("etcd"):
            return self._cluster.directory / "etcd" / self._cluster.network.addresses[host]
        return self._cluster.disk(host)

    def _jump(self, host: str, fault: Fault) -> None:
        self._cluster.clock(host).write_text(str(fault.by))

    def _set_right(self, host: str, _: Fault) -> None:
        self._cluster.clock(host).write_text("0")

    _begin: ClassVar[dict[str, Callable[["Hand", str, Fault], None]]] = {
        "kill": _kill,
        "halt": _halt,
        "cut": lambda self, host, _: self._cluster.network.cut(host),
        "deaf": lambda self, host, _: self._cluster.network.deafen(host),
        "mute": lambda self, host, _: self._cluster.network.silence(host),
        "split": lambda self, host, _: self._cluster.network.split(host),
        "full": _fill,
        "clock": _jump,
    }
    _end: ClassVar[dict[str, Callable[["Hand", str, Fault], None]]] = {
        "kill": _start,
        "halt": _go_on,
        "cut": lambda self, host, _: self._cluster.network.plug(host),
        "deaf": lambda self, host, _: self._cluster.network.undeafen(host),
        "mute": lambda self, host, _: self._cluster.network.unsilence(host),
        "split": lambda self, host, _: self._cluster.network.join(host),
        "full": _empty,
        "clock": _set_right,
    }
