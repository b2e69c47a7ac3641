"""Honest boards while junk comes in at one server: p99 from request to choice at most 300 ms at 20,000 datagrams/s.

* The server is the real `boardwright-server`, on an address of its own (127.91.11.1). The sender is a process of its
  own that sends a kind of junk at a steady rate, to the multicast group where there is one: the way that honest
  requests take, too. Sender, server and honest boards have the same cores.
* The boards ask in turn from addresses of their own, one round every few milliseconds, as `bench.choice` does. A round
  without an offer within 2 s counts with the time that it took.
* What was sent is counted by the sender, what came in by the server's own metrics.

``python -m bench.flood [--rate 20000] [--seconds 6] [--times 3]`` prints one markdown table. Every wait is bounded.
"""

import argparse
import asyncio
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from urllib3.exceptions import HTTPError

from bench._cluster import Folders
from bench.choice import (
    CLUSTER,
    DIGEST,
    GROUP,
    Asker,
    Row,
    address_of,
    free_port,
    laid_out,
    percentile,
    real_server,
    started,
    table,
)
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.net.multicast import Address, ControlSocket, multicast_works
from boardwright.protocol.codec import encode_announcement, encode_offers, encode_request
from boardwright.protocol.messages import Announcement, GroupOffer, GroupQuery, Offer, Request
from boardwright.protocol.sealing import MAX_SIGNATURE
from boardwright.trust.identity import Authority, Role
from boardwright.trust.issuing import Issuer, new_key
from boardwright.trust.lines import Lines

ANYBODY = Lines(None).manager()  # metrics are for whoever asks

SERVER = "c1s1"
KNOWN = frozenset({SERVER})
BOARDS = 20  # honest ones, each with an address of its own
PAUSE = 0.005  # seconds between two rounds: 200 honest requests a second are a power-on of 1,000 boards in five seconds
SLICE = 0.002  # seconds between two bursts of the sender
ADDRESSES = 400  # of a sender that has many
ROUND_LIMIT = 2.0  # seconds after which a round counts as it is

Kind = Callable[[random.Random], Iterator[bytes]]


def request_of(cluster: str, board: str, rng: random.Random) -> bytes:
    place = str(rng.randrange(100))
    return encode_request(
        Request(cluster, rng.randbytes(16), board, place, place, "lc", groups=(GroupQuery("platform"),))
    )


def random_bytes(rng: random.Random) -> Iterator[bytes]:
    """Some begin like ours."""
    for number in range(2000):
        yield (b"\x95\x01\x01" if number % 2 else b"") + rng.randbytes(rng.randrange(1, 1197))


def foreign_cluster(rng: random.Random) -> Iterator[bytes]:
    for number in range(2000):
        yield request_of("another", f"b{number}", rng)


def one_board(rng: random.Random) -> Iterator[bytes]:
    for _ in range(2000):
        yield request_of(CLUSTER, "liar", rng)


def many_boards(rng: random.Random) -> Iterator[bytes]:
    for number in range(50_000):
        yield request_of(CLUSTER, f"liar{number}", rng)


def replayed_request(rng: random.Random) -> Iterator[bytes]:
    yield request_of(CLUSTER, "c1s3", rng)


def replayed_offer(rng: random.Random) -> Iterator[bytes]:
    offer = Offer(CLUSTER, rng.randbytes(16), "c9s9", "9", "9", 9, "https://127.0.0.1:1", "https://127.0.0.1:2")
    yield from encode_offers(msgspec.structs.replace(offer, groups=(GroupOffer("platform", "1", DIGEST),)), LIAR)


def announcements(rng: random.Random) -> Iterator[bytes]:
    """Of plans that nobody has."""
    for number in range(50_000):
        yield encode_announcement(Announcement(CLUSTER, "", 2 + number), LIAR)


class Liar:
    """A stranger's certificate, and a signature that is none: what a flood can afford to sign with."""

    def __init__(self) -> None:
        issuer = Issuer.authority(CLUSTER)
        self.certificate = issuer.issue("c9s9", Role.SERVER, Location("9", "9"), new_key().public_key())

    def sign(self, data: bytes) -> bytes:
        del data
        return bytes(MAX_SIGNATURE)


LIAR = Liar()

KINDS: dict[str, tuple[str, Kind, int]] = {
    "random": ("random bytes", random_bytes, 1),
    "foreign": ("requests of another cluster", foreign_cluster, 1),
    "one-board": ("requests of this cluster, one board, one address", one_board, 1),
    "many-boards": ("requests of 50,000 board ids, one address", many_boards, 1),
    "many-addresses": (f"requests of 50,000 board ids, {ADDRESSES} addresses", many_boards, ADDRESSES),
    "replayed-request": ("one request, replayed", replayed_request, 1),
    "replayed-offer": ("one offer, replayed", replayed_offer, 1),
    "announcements": ("announcements of 50,000 plans that nobody has", announcements, 1),
}


# --- the sender ------------------------------------------------------------------------------------------------------


def send(kind: str, rate: int, seconds: float, to: Address) -> int:
    """Send for `seconds` at `rate` datagrams a second; how many went out."""
    _, make, addresses = KINDS[kind]
    junk = list(make(random.Random(3)))
    mouths = []
    for number in range(addresses):
        mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        mouth.bind((f"127.91.{100 + number // 200}.{1 + number % 200}", 0))
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        mouths.append(mouth)
    print("ready", flush=True)
    begun = time.monotonic()
    sent = tried = 0
    while (passed := time.monotonic() - begun) < seconds:
        due = int(passed * rate)
        for number in range(tried, due):
            try:
                mouths[number % addresses].sendto(junk[number % len(junk)], to)
                sent += 1
            except OSError:
                pass
        tried = due
        time.sleep(SLICE)
    return sent


# --- the honest boards -----------------------------------------------------------------------------------------------


async def honest(authority: Authority, port: int, multicast: bool, seconds: float) -> list[float]:
    """Seconds from request to choice of rounds that begin within `seconds`."""
    rng = random.Random(4)
    askers = []
    for number in range(BOARDS):
        asker = Asker(authority)
        asker.board = Board(f"c2s{number}", Location("2", str(number)), "lc", ("platform",))
        asker.control = await ControlSocket.open(
            interfaces=(f"127.91.20.{number + 1}",),
            multicast=(GROUP, port) if multicast else None,
            unicast=() if multicast else ((address_of(SERVER), port),),
            on_datagram=asker.hear,
        )
        askers.append(asker)
    took: list[float] = []
    running: set[asyncio.Task[None]] = set()

    async def one(asker: Asker) -> None:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(ROUND_LIMIT):
                await asker.choose(KNOWN, rng)
        except TimeoutError:
            pass
        took.append(time.monotonic() - begun)

    idle, end = list(askers), time.monotonic() + seconds
    while time.monotonic() < end:
        if idle:
            asker = idle.pop(0)
            task = asyncio.create_task(one(asker))
            running.add(task)
            task.add_done_callback(lambda task, asker=asker: (running.discard(task), idle.append(asker)))  # type: ignore[misc]
        await asyncio.sleep(PAUSE)
    if running:
        await asyncio.wait(set(running))
    for asker in askers:
        if asker.control is not None:
            asker.control.close()
    return took


# --- the server ------------------------------------------------------------------------------------------------------


def counted(api: str) -> float:
    """Datagrams that the server took in or dropped, by its own count; an offer that is not believed counts as both."""
    taken = metric(api, "boardwright_datagrams_total")
    dropped = metric(api, "boardwright_datagrams_dropped_total")
    return sum(taken.values()) + sum(count for reason, count in dropped.items() if reason != "unasked")


def metric(api: str, name: str) -> dict[str, float]:
    """By the value of its label."""
    lines = ANYBODY.request("GET", f"{api}/metrics", timeout=10, retries=False).data.decode().splitlines()
    values = (line.rpartition(" ") for line in lines if line.startswith(name + "{"))
    return {labels.split('"')[1]: float(value) for labels, _, value in values}


def requests(api: str) -> float:
    """Those of this cluster that the server took in."""
    return metric(api, "boardwright_datagrams_total").get("request", 0.0)


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


class Flood(msgspec.Struct, frozen=True):
    rounds: list[float]
    sent: float
    taken: float
    processor: float
    grown: float


class Target(msgspec.Struct, frozen=True):
    """A server of the benchmark: its process, its API, who vouches for it and the port of its control network."""

    pid: int
    api: str
    authority: Authority
    port: int
    multicast: bool


def measure(server: Target, kind: str, rate: int, seconds: float, *, unicast: bool = False) -> Flood:
    """One flood with honest boards in its midst."""
    host = GROUP if server.multicast and not unicast else address_of(SERVER)
    command = [sys.executable, "-m", "bench.flood", "--send", kind, "--rate", str(rate)]
    command += ["--seconds", str(seconds + 1), "--to", f"{host}:{server.port}"]
    taken, processor, memory = counted(server.api), processor_seconds(server.pid), resident(server.pid)
    sender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert sender.stdout is not None
    sender.stdout.readline()
    begun = time.monotonic()
    rounds = asyncio.run(honest(server.authority, server.port, server.multicast, seconds))
    sent = int(sender.communicate(timeout=60)[0])
    passed = time.monotonic() - begun
    return Flood(
        rounds,
        sent / (seconds + 1),
        (counted(server.api) - taken) / (seconds + 1),
        (processor_seconds(server.pid) - processor) / passed,
        resident(server.pid) - memory,
    )


def rows(server: Target, rate: int, seconds: float, times: int) -> Iterator[Row]:
    quiet = asyncio.run(honest(server.authority, server.port, server.multicast, seconds))
    yield Row("no flood: p50 / p99", shown(quiet), "", None)
    floods = [(kind, words, False) for kind, (words, _, _) in KINDS.items() if kind != "announcements"]
    if server.multicast:
        floods.append(("random", "random bytes to the server's own address", True))
    for kind, words, unicast in floods:
        runs = [measure(server, kind, rate, seconds, unicast=unicast) for _ in range(times)]
        p99 = statistics.median(percentile(run.rounds, 0.99) for run in runs)
        middle = sorted(runs, key=lambda run: percentile(run.rounds, 0.99))[times // 2]
        load = (
            f"{middle.sent:,.0f}/s sent, {middle.taken:,.0f}/s counted by the server, "
            f"{middle.processor:.0%} of a core, {max(run.grown for run in runs):+.1f} MiB"
        )
        yield Row(f"{words}: p50 / p99 of {len(middle.rounds)} rounds", shown(middle.rounds), "<= 300 ms", p99 <= 0.3)
        yield Row(f"{words}: the flood", load, "", None)


def agent_rows(server: Target, folders: Folders, rate: int, seconds: float) -> Iterator[Row]:
    """What floods of the group cost an agent, which listens to it as well."""
    port = server.port
    start = "from boardwright.agent.program import main; main()"
    with started([sys.executable, "-c", start, "--config", str(folders.of("c1s9") / "agent.toml")]) as agent:
        time.sleep(3)  # started, asked, heard the server
        for kind in ("random", "foreign", "replayed-offer", "announcements"):
            asked, processor, memory = requests(server.api), processor_seconds(agent), resident(agent)
            command = [sys.executable, "-m", "bench.flood", "--send", kind, "--rate", str(rate)]
            command += ["--seconds", str(seconds), "--to", f"{GROUP}:{port}"]
            begun = time.monotonic()
            sent = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
            passed = time.monotonic() - begun
            load = (
                f"{sent / seconds:,.0f}/s sent, {(processor_seconds(agent) - processor) / passed:.0%} of a core, "
                f"{resident(agent) - memory:+.1f} MiB, {requests(server.api) - asked:.0f} requests of its own"
            )
            yield Row(f"an agent, {KINDS[kind][0]}", load, "", None)


def shown(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.1f} / {percentile(seconds, 0.99) * 1000:.1f} ms"


def api_of(folder: Path) -> str:
    lines = (folder / "server.toml").read_text().splitlines()
    return "https://" + next(line.partition('"')[2].rstrip('"') for line in lines if line.startswith("listen"))


def until_answers(api: str) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            counted(api)
        except HTTPError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.flood", description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--send", choices=sorted(KINDS), help=argparse.SUPPRESS)
    parser.add_argument("--to", default="", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.send:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ADDRESSES + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        host, _, port = options.to.rpartition(":")
        print(send(options.send, options.rate, options.seconds, (host, int(port))))
        return 0
    multicast = asyncio.run(multicast_works("lo", (GROUP, 0), 1.0))
    print(f"All goes by {'multicast on loopback' if multicast else 'unicast: loopback has no multicast here'}.\n")
    with tempfile.TemporaryDirectory() as name:
        port = free_port(socket.SOCK_DGRAM, "0.0.0.0")
        folders = laid_out(Path(name), port, multicast)
        with started(real_server(folders)) as child:
            api = api_of(folders.of("c1s1"))
            until_answers(api)
            server = Target(child, api, folders.authority, port, multicast)
            measured = list(rows(server, options.rate, options.seconds, options.times))
            if multicast:
                measured += agent_rows(server, folders, options.rate, options.seconds)
    print(table(measured))
    return 1 if any(row.met is False for row in measured) else 0


if __name__ == "__main__":
    sys.exit(main())
