"""A small lab on loopback: real UDP and HTTP servers in threads, and an agent of the test's choice."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec

from boardwright.agent.agent import Agent
from boardwright.config.settings import AgentSettings, ClusterSettings
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.plan import BoardPlan, Plan
from boardwright.model.report import BoardReport
from boardwright.model.software import (
    PIECE_SIZE,
    SCHEMA,
    BlobRef,
    FileEntry,
    HealthSpec,
    InstallSpec,
    Manifest,
    Target,
    digest_of,
    encode_manifest,
)
from boardwright.net.multicast import Address, ControlSocket
from boardwright.protocol.codec import Received, decode, encode_offers
from boardwright.protocol.messages import Holding, Request
from boardwright.protocol.offerer import Catalogued, ServerFacts, answer
from boardwright.trust.names import ROOT_FILE
from boardwright.trust.online import SignedRoles
from boardwright.trust.shards import shards_of
from tests.tls import LAB, over_tls

CLUSTER = "lab"
BOARD = Board("c1s3", Location("1", "3"), "lc-100g", ("platform",))

IDENTITIES = LAB


class Signatures:
    """What the lab's cluster has signed: every signature is newer than the last, whichever server gives it out."""

    def __init__(self) -> None:
        self._signed = IDENTITIES.first

    def sign(self, targets: Sequence[Target], shards: dict[str, bytes]) -> SignedRoles:
        for target in targets:
            self._signed = IDENTITIES.with_version(self._signed, target)
        self._signed = self._signed.signed(shards, IDENTITIES.signer, time.time())
        return self._signed


SIGNATURES = Signatures()


class Software:
    """A version as servers keep it."""

    def __init__(
        self,
        version: str,
        files: dict[str, bytes],
        *,
        group: str = "platform",
        install: InstallSpec | None = None,
        health: HealthSpec | None = None,
        requires: dict[str, str] | None = None,
        board_types: tuple[str, ...] = ("*",),
    ) -> None:
        self.blobs: dict[str, bytes] = {}
        refs, entries = [], []
        for path, data in files.items():
            digest = digest_of(data)
            pieces = b"".join(
                bytes.fromhex(digest_of(data[at : at + PIECE_SIZE])) for at in range(0, len(data), PIECE_SIZE)
            )
            self.blobs[digest] = data
            refs.append(BlobRef(digest, len(data), pieces))
            entries.append(FileEntry(path, 0o755, len(data), digest, blob=len(refs) - 1))
        manifest = Manifest(
            schema=SCHEMA,
            group=group,
            version=version,
            board_types=board_types,
            files=tuple(entries),
            blobs=tuple(refs),
            requires=requires or {},
            install=install or InstallSpec(),
            health=health,
        )
        data = encode_manifest(manifest)
        self.target = Target(group, version, manifest.variant, digest_of(data))
        self.blobs[self.target.manifest] = data


class LabServer:
    """One server: answers requests by UDP, serves plan, blobs and reports by HTTP, all from memory."""

    def __init__(self, id: str, chassis: str, slot: str) -> None:
        self.id, self.location = id, Location(chassis, slot)
        self.credentials = IDENTITIES.server(id, chassis, slot)
        self.plan = BoardPlan(0)
        self.signed = SignedRoles()
        self.shards: dict[str, bytes] = {}
        self.garbage: dict[str, bytes] = {}  # instead of files of that name
        sign(0, on=(self,))
        self.blobs: dict[str, bytes] = {}
        self.catalogue: dict[bytes, Catalogued] = {}
        self.reports: list[BoardReport] = []
        self.served: list[str] = []
        self.requests: list[Request] = []
        self.die_after: int | None = None  # blob answers; then every connection is broken
        self.hang_after: int | None = None  # blob answers; then nothing comes, ever; `released` ends the waiting
        self.released = threading.Event()
        self.sent: dict[str, int] = {}  # blob bytes by digest
        self.silent = False
        self.hangs_at_plan = False  # a request for the plan is taken and never answered
        self.revocations: tuple[int, bytes] = (0, b"")  # the number of its list of revoked keys, and the list
        self.callers = LAB.callers(self.credentials)
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http.daemon_threads = True
        self.url = over_tls(self.http, LAB.server_side(self.credentials))
        self.address: Address = ("127.0.0.1", 0)
        self._thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def hold(self, software: Software) -> None:
        self.blobs |= software.blobs
        target = software.target
        self.catalogue[bytes.fromhex(target.manifest)] = Catalogued(target.version, Holding.ALL, b"")

    async def open(self) -> None:
        self.control = await ControlSocket.open(
            interfaces=("127.0.0.1",), multicast=None, on_datagram=self._on_datagram, bind=("127.0.0.1", 0)
        )
        self.address = self.control.addresses[0]

    def close(self) -> None:
        self.released.set()
        self.http.shutdown()
        self.http.server_close()
        self._thread.join()

    def _on_datagram(self, data: bytes, sender: Address) -> None:
        received = decode(data, CLUSTER)
        if self.silent or not isinstance(received, Received) or not isinstance(received.message, Request):
            return
        self.requests.append(received.message)
        facts = ServerFacts(CLUSTER, self.id, self.location, self.url, self.url)
        offer = answer(received.message, facts, self.plan, self.catalogue, 0, self.revocations[0])
        for datagram in encode_offers(offer, self.credentials) if offer else ():
            self.control.send_to(datagram, sender)


def _handler(server: LabServer) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one class, four methods
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self._session(b""):
                return
            if self.path.startswith("/v1/plan/boards/"):
                if server.hangs_at_plan:
                    server.released.wait()
                    return
                self._answer(200, msgspec.json.encode(server.plan))
                return
            if self.path.startswith("/v1/revocations"):
                self._answer(200, server.revocations[1])
                return
            name = self.path.rpartition("/")[2]
            if self.path.startswith("/v1/metadata/"):
                files = {**server.signed.files, **server.shards, **server.garbage}
                self._answer(200 if name in files else 404, files.get(name, b"{}"))
                return
            self._blob(name)

        def _blob(self, digest: str) -> None:
            blob = server.blobs.get(digest)
            if blob is None:
                self._answer(404, b"{}")
                return
            server.served.append(digest)
            if server.die_after is not None and len(server.served) > server.die_after:
                self.close_connection = True
                self.connection.close()
                return
            if server.hang_after is not None and len(server.served) > server.hang_after:
                # Whoever asked has left: an answer now would only be counted as sent.
                server.released.wait()
                self.close_connection = True
                self.connection.close()
                return
            span = self.headers.get("Range", "")
            if not span:
                self._answer(200, blob)
                return
            first, last = (int(part) for part in span.removeprefix("bytes=").split("-"))
            last = min(last, len(blob) - 1)
            server.sent[digest] = server.sent.get(digest, 0) + last + 1 - first
            self._answer(206, blob[first : last + 1], f"bytes {first}-{last}/{len(blob)}")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self._session(body):
                return
            server.reports += msgspec.json.decode(body, type=list[BoardReport])
            self._answer(202, b"")

        def _session(self, body: bytes) -> bool:
            answer = server.callers.answer(self.command, self.path, body, "")
            if answer is not None:
                self._answer(*answer)
            return answer is not None

        def _answer(self, status: int, body: bytes, span: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if span:
                self.send_header("Content-Range", span)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except (OSError, ValueError):
                pass  # the agent left, or this server plays dead

    return Handler


@contextmanager
def servers(*made: LabServer) -> Iterator[tuple[LabServer, ...]]:
    try:
        yield made
    finally:
        for server in made:
            server.close()


def settings(tmp_path: Path, *made: LabServer, board: Board = BOARD) -> AgentSettings:
    state_dir = tmp_path / "state"
    state_dir.mkdir(parents=True, exist_ok=True)
    (tmp_path / "trust").mkdir(exist_ok=True)
    (tmp_path / "trust" / ROOT_FILE).write_bytes(IDENTITIES.root)
    return AgentSettings(
        cluster=ClusterSettings(
            name=CLUSTER,
            interfaces=("127.0.0.1",),
            multicast=None,
            unicast=tuple(server.address for server in made),
            trust=tmp_path / "trust",
            certificate=tmp_path / "certificate.pem",
            key=tmp_path / "key.pem",
        ),
        board=board,
        root=tmp_path / "root",
        state_dir=state_dir,
        relay_enabled=False,
        relay_listen=None,
    )


def run_once(tmp_path: Path, *made: LabServer, board: Board = BOARD) -> None:
    """`--once` against servers that plan what they hold; raises what the program would end with."""
    run_boards_once({tmp_path: board}, *made)


def run_boards_once(boards: dict[Path, Board], *made: LabServer) -> None:
    """`--once` of one process that stands for several boards, each below its own directory."""

    async def main() -> None:
        for server in made:
            await server.open()
        try:
            known = [settings(tmp_path, *made, board=board) for tmp_path, board in boards.items()]
            credentials = [IDENTITIES.board(one.id, one.location.chassis, one.location.slot) for one in boards.values()]
            agent = Agent(known, credentials, {"PATH": "/usr/bin:/bin"})
            await agent.run(asyncio.Event(), once=True)
        finally:
            for server in made:
                server.control.close()

    asyncio.run(main())


def plan(generation: int, *software: Software, on: tuple[LabServer, ...]) -> None:
    """The servers hold `software` and plan it for every board; the plan and the versions are signed."""
    for server in on:
        for one in software:
            server.hold(one)
    sign(generation, *(one.target for one in software), on=on)


def sign(generation: int, *targets: Target, on: tuple[LabServer, ...], software: bool = True) -> None:
    """The servers give out one and the same signed plan of these versions for every board, newer than any before.

    Without `software` nobody signs the versions themselves.
    """
    boards = ("fpga0", "fpga1", "bmc", *(f"c{chassis}s{slot}" for chassis in range(1, 4) for slot in range(1, 10)))
    everything = Plan(generation, 0, targets, dict.fromkeys(boards, tuple(range(len(targets)))))
    shards = shards_of(everything)
    signed = SIGNATURES.sign(targets if software else (), shards)
    for server in on:
        server.plan = BoardPlan(generation, {target.group: target for target in targets})
        server.signed = signed
        server.shards = {f"{digest_of(data)}.{path.rpartition('/')[2]}": data for path, data in shards.items()}
