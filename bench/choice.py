"""From request to choice, on real sockets (design section 3: p99 at most 150 ms with half of the servers dead).

* Rounds: one board asks, one round after the other; four servers are known, none or two of them dead. Every server is
  a process with a ControlSocket and the offerer, on an address of its own (127.91.x.1).
* Storm: 1,000 boards ask one server in the same moment; the time until the last of them has an offer. The server is
  the process of the rounds, and then the real `boardwright-server`. Offers are signed and verified.

``python -m bench.choice [--rounds 400] [--boards 1000]`` prints one markdown table. Every wait is bounded.
"""

import argparse
import asyncio
import contextlib
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench._cluster import Folders, Place, free_ports, lay_out
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.plan import BoardPlan
from boardwright.model.software import Target
from boardwright.net.multicast import Address, ControlSocket, multicast_works
from boardwright.protocol.choose import Choice, choose
from boardwright.protocol.codec import Received, decode, encode_offers
from boardwright.protocol.messages import GroupQuery, Holding, Offer, Request
from boardwright.protocol.offerer import Catalogued, ServerFacts, answer
from boardwright.protocol.requester import Requester
from boardwright.protocol.timing import RequestTiming
from boardwright.trust.identity import Authority
from boardwright.trust.witness import Witness

CLUSTER = "bench"
GROUP = "239.255.66.87"
DIGEST = bytes(range(32))
PLAN = BoardPlan(1, {"platform": Target("platform", "1.0", "*", DIGEST.hex())})
HOLDINGS = {DIGEST: Catalogued("1.0", Holding.ALL)}
SERVERS = {
    "c1s1": Location("1", "1"),
    "c1s2": Location("1", "2"),
    "c2s1": Location("2", "1"),
    "c2s2": Location("2", "2"),
}
TIMING = RequestTiming()
START_LIMIT = 20.0  # seconds for a server process to answer
SOCKETS = 50  # the storm's senders share them: a process may open 1,024 files, and each has a receive buffer


class Row(msgspec.Struct, frozen=True):
    what: str
    value: str
    target: str
    met: bool | None


def address_of(server: str) -> str:
    location = SERVERS[server]
    return f"127.91.{location.chassis}{location.slot}.1"


# --- a server of the benchmark ---------------------------------------------------------------------------------------


async def serve(server: str, folders: Folders, port: int, multicast: bool) -> None:
    """Answer until SIGTERM."""
    seal = folders.credentials(server)
    facts = ServerFacts(CLUSTER, server, SERVERS[server], f"https://{server}:1", f"https://{server}:2")
    own = (address_of(server), port)

    def hear(data: bytes, sender: Address) -> None:
        received = decode(data, CLUSTER)
        if isinstance(received, Received) and isinstance(received.message, Request):
            offer = answer(received.message, facts, PLAN, HOLDINGS, 0)
            for datagram in encode_offers(offer, seal) if offer is not None else ():
                control.send_to(datagram, sender)

    group = (GROUP, port) if multicast else None
    control = await ControlSocket.open(
        interfaces=(own[0],), multicast=group, listen_multicast=multicast, bind=own, on_datagram=hear
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    control.close()


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[int]:
    """A child process for the time of the block; its process id."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield child.pid
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def laid_out(root: Path, port: int, multicast: bool) -> Folders:
    """Folders of every server of the benchmark, and of a line board."""
    places = [Place(server, location, address_of(server)) for server, location in SERVERS.items()]
    places.append(Place("c1s9", Location("1", "9"), "127.91.30.1", server=False))
    ports = free_ports([place.address for place in places])
    return lay_out(root, CLUSTER, places, f"{GROUP}:{port}" if multicast else "none", ports)


def bench_server(server: str, folders: Folders, port: int, multicast: bool) -> list[str]:
    way = ["--multicast"] if multicast else []
    where = ["--folder", str(folders.root), "--port", str(port)]
    return [sys.executable, "-m", "bench.choice", "--serve", server, *where, *way]


def real_server(folders: Folders) -> list[str]:
    """The command of the real program on c1s1."""
    start = "from boardwright.server.program import main; main()"
    return [sys.executable, "-c", start, "--config", str(folders.of("c1s1") / "server.toml")]


# --- boards that ask -------------------------------------------------------------------------------------------------


def request_round(board: Board, known: frozenset[str], rng: random.Random) -> Requester:
    return Requester(
        cluster=CLUSTER,
        board=board,
        queries=(GroupQuery("platform"),),
        generation=0,
        known_servers=known,
        timing=TIMING,
        rng=rng,
        now=time.monotonic(),
    )


class Asker:
    """One board on a real socket; one round at a time."""

    def __init__(self, authority: Authority) -> None:
        self._witness = Witness(authority, time.monotonic())
        self.board = Board("c1s3", Location("1", "3"), "lc", ("platform",))
        self.control: ControlSocket | None = None
        self._round: Requester | None = None
        self._news = asyncio.Event()

    def hear(self, data: bytes, sender: Address) -> None:
        received = decode(data, CLUSTER)
        if self._round is None or not isinstance(received, Received):
            return
        offer = self._witness.hear(received, sender[0], time.monotonic(), self._round.nonces)
        if isinstance(offer, Offer) and self._round.hear(offer, time.monotonic()):
            self._news.set()

    async def choose(self, known: frozenset[str], rng: random.Random) -> tuple[Choice, float]:
        """One round; the choice and the seconds that it took."""
        assert self.control is not None
        began = time.monotonic()
        asking = self._round = request_round(self.board, known, rng)
        while not asking.decided(now := time.monotonic()):
            for datagram in asking.datagrams(now):
                self.control.send_group(datagram)
            wakeup = asking.next_wakeup()
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if wakeup is None else wakeup - now):
                    await self._news.wait()
        choice = choose(self.board, asking.offers, "platform", DIGEST)
        return choice, time.monotonic() - began


async def rounds(count: int, alive: tuple[str, ...], authority: Authority, port: int, multicast: bool) -> list[float]:
    """Seconds from request to choice of `count` rounds, with the servers in `alive` running."""
    asker = Asker(authority)
    asker.control = await opened(asker, "127.91.13.1", port, multicast)
    rng = random.Random(1)
    try:
        await until_answered(asker, frozenset(alive), rng)
        seconds = []
        for _ in range(count):
            choice, took = await asker.choose(frozenset(SERVERS), rng)
            if not choice.ranking:
                raise SystemExit("a round ended without a choice")
            seconds.append(took)
        return seconds
    finally:
        asker.control.close()


async def until_answered(asker: Asker, servers: frozenset[str], rng: random.Random) -> None:
    """Wait until all `servers` answer."""
    give_up = time.monotonic() + START_LIMIT
    while time.monotonic() < give_up:
        choice, _ = await asker.choose(servers, rng)
        if {line.source.id for line in choice.heard} >= servers:
            return
    raise SystemExit(f"servers {', '.join(sorted(servers))} did not answer within {START_LIMIT:g} s")


async def opened(asker: "Asker | Crowd", own: str, port: int, multicast: bool) -> ControlSocket:
    group = (GROUP, port) if multicast else None
    unicast = () if multicast else tuple((address_of(server), port) for server in SERVERS)
    return await ControlSocket.open(interfaces=(own,), multicast=group, unicast=unicast, on_datagram=asker.hear)


class Crowd:
    """Many boards that ask in the same moment, over a few sockets."""

    def __init__(self, boards: int, authority: Authority, rng: random.Random) -> None:
        self._witness = Witness(authority, time.monotonic())
        self.controls: list[ControlSocket] = []
        self.done = asyncio.Event()
        self.datagrams = 0
        self._waiting: dict[bytes, Requester] = {}
        for number in range(boards):
            board = Board(f"b{number}", Location(str(10 + number // 20), str(number % 20)), "lc", ("platform",))
            asking = request_round(board, frozenset({"c1s1"}), rng)
            self._waiting.update(dict.fromkeys(asking.nonces, asking))

    def hear(self, data: bytes, sender: Address) -> None:
        received = decode(data, CLUSTER)
        if not isinstance(received, Received):
            return
        offer = self._witness.hear(received, sender[0], time.monotonic(), self._waiting)
        if isinstance(offer, Offer):
            self._waiting.pop(offer.nonce, None)
            if not self._waiting:
                self.done.set()

    async def ask(self, limit: float) -> float:
        """Seconds until every board has an offer; raises SystemExit after `limit` seconds."""
        began = time.monotonic()
        while self._waiting:
            now = time.monotonic()
            if now - began > limit:
                raise SystemExit(f"{len(self._waiting)} boards have no offer after {limit:g} s")
            due = now + 0.5
            for number, asking in enumerate(list(self._waiting.values())):
                for datagram in asking.datagrams(now):
                    self.datagrams += 1
                    self.controls[number % len(self.controls)].send_group(datagram)
                due = min(due, asking.next_wakeup() or due)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.001, due - time.monotonic())):
                    await self.done.wait()
        return time.monotonic() - began


async def storm(boards: int, authority: Authority, port: int, multicast: bool, limit: float) -> tuple[float, int]:
    """Seconds until all of `boards` have an offer of c1s1, and the requests that it took."""
    rng = random.Random(2)
    probe = Asker(authority)
    probe.control = await opened(probe, "127.91.13.1", port, multicast)
    await until_answered(probe, frozenset({"c1s1"}), rng)
    probe.control.close()
    crowd = Crowd(boards, authority, rng)
    crowd.controls = [await opened(crowd, "127.91.20.1", port, multicast) for _ in range(SOCKETS)]
    try:
        return await crowd.ask(limit), crowd.datagrams
    finally:
        for control in crowd.controls:
            control.close()


# --- what is printed ----------------------------------------------------------------------------------------------


def free_port(kind: socket.SocketKind, host: str) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def measure_rounds(count: int, alive: tuple[str, ...], multicast: bool) -> list[Row]:
    port = free_port(socket.SOCK_DGRAM, "0.0.0.0")
    with contextlib.ExitStack() as servers:
        folders = laid_out(Path(servers.enter_context(tempfile.TemporaryDirectory())), port, multicast)
        for server in alive:
            servers.enter_context(started(bench_server(server, folders, port, multicast)))
        seconds = asyncio.run(rounds(count, alive, folders.authority, port, multicast))
    dead = len(SERVERS) - len(alive)
    what = f"request to choice, {dead} of {len(SERVERS)} servers dead, {count} rounds"
    p99 = percentile(seconds, 0.99)
    return [
        Row(f"{what}: p50", f"{statistics.median(seconds) * 1000:.1f} ms", "", None),
        Row(f"{what}: p99", f"{p99 * 1000:.1f} ms", "<= 150 ms", p99 <= 0.150),
    ]


def measure_storm(boards: int, multicast: bool, times: int) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        port = free_port(socket.SOCK_DGRAM, "0.0.0.0")
        folders = laid_out(Path(folder), port, multicast)
        programs = {
            "bench server": bench_server("c1s1", folders, port, multicast),
            "boardwright-server": real_server(folders),
        }
        for name, command in programs.items():
            with started(command):
                results = [asyncio.run(storm(boards, folders.authority, port, multicast, 20.0)) for _ in range(times)]
            median = statistics.median(seconds for seconds, _ in results)
            sent = statistics.median(count for _, count in results)
            what = f"{boards} boards ask one {name} at once, until all have an offer (median of {times})"
            rows.append(Row(what, f"{median:.2f} s, {sent:.0f} requests", "<= 3 s", median <= 3.0))
    return rows


def table(rows: list[Row]) -> str:
    marks = {True: "yes", False: "NO", None: ""}
    lines = ["| what | measured | target | met |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.value} | {row.target} | {marks[row.met]} |" for row in rows]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.choice", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--boards", type=int, default=1000)
    parser.add_argument("--times", type=int, default=5, help="storms per server")
    parser.add_argument("--serve", choices=sorted(SERVERS), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--multicast", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        asyncio.run(serve(options.serve, Folders(options.folder, CLUSTER), options.port, options.multicast))
        return 0
    multicast = asyncio.run(multicast_works("lo", (GROUP, 0), 1.0))
    print(f"Requests go by {'multicast on loopback' if multicast else 'unicast: loopback has no multicast here'}.\n")
    rows = measure_rounds(options.rounds, tuple(SERVERS), multicast)
    rows += measure_rounds(options.rounds, ("c1s2", "c2s1"), multicast)
    rows += measure_storm(options.boards, multicast, options.times)
    print(table(rows))
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
