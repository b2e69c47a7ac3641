"""Real servers: processes on loopback addresses of their own, real multicast, embedded state on one host."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import urllib3

from boardwright.model.api import Health, ServerList, SignedMetadata
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.report import BoardReport, GroupReport
from boardwright.model.software import PIECE_SIZE, BlobRef, FileEntry, Manifest, Target, digest_of, encode_manifest
from boardwright.trust.credentials import Credentials
from boardwright.trust.identity import Role
from tests.identities import Identities

PATIENCE = 20.0  # seconds for anything that has to happen; two busy cores are slow


def until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Poll until `condition` is true; fail naming `what`."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        time.sleep(0.02)


class ServerProcess:
    """One `boardwright-server` with a folder and an address of its own."""

    def __init__(self, folder: Path, host: str, api_port: int, blob_port: int, identities: Identities) -> None:
        self.folder = folder
        self.identities = identities
        self.id = folder.name
        self.api = f"https://{host}:{api_port}"
        self.blobs = f"https://{host}:{blob_port}"
        self.host = host
        self.lines = identities.lines(identities.person(Role.ADMIN))
        self._http = self.lines.manager()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stderr=log)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "boardwright.server.program", "--config", str(self.folder / "server.toml")]

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(10)

    def call(
        self, method: str, path: str, body: object = None, *, redirect: bool = True, who: Credentials | None = None
    ) -> urllib3.BaseHTTPResponse:
        """By an admin, or by `who`."""
        data = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        http = self._http if who is None else self.identities.lines(who).manager()
        return http.request(method, self.api + path, body=data, redirect=redirect, retries=False, timeout=10)

    def blob(self, sha256: str) -> urllib3.BaseHTTPResponse:
        return self._http.request("GET", f"{self.blobs}/v1/blobs/{sha256}", retries=False, timeout=5)

    def get(self, path: str, kind: type) -> object:
        answer = self.call("GET", path)
        assert answer.status == 200, answer.data
        return msgspec.json.decode(answer.data, type=kind)

    def health(self) -> Health | None:
        try:
            return msgspec.json.decode(self.call("GET", "/v1/health").data, type=Health)
        except urllib3.exceptions.HTTPError:
            return None

    @property
    def resident(self) -> int:
        """Peak resident memory in bytes."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024


class ServerCluster:
    """Servers c<chassis>s<slot> that share a state file; addresses 127.x.<chassis>.<slot>."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._network = random.SystemRandom().randrange(2, 255)
        self.port = _free_port(f"127.{self._network}.0.1")
        self.servers: list[ServerProcess] = []
        self.identities = Identities("test")
        self.members: dict[tuple[str, Location], Credentials] = {}  # a board has one key

    def add(self, chassis: int, slot: int, *, start: bool = True, engine: str = "") -> ServerProcess:
        host = f"127.{self._network}.{chassis}.{slot}"
        folder = self.folder / f"c{chassis}s{slot}"
        folder.mkdir()
        self.identities.write(folder, Board(folder.name, Location(str(chassis), str(slot)), "rp", server=True))
        server = ServerProcess(folder, host, _free_port(host), _free_port(host), self.identities)
        (folder / "server.toml").write_text(
            f"""
            [cluster]
            name = "test"
            trust = "trust"
            interface = "{host}"
            multicast = "239.255.66.87:{self.port}"
            [board]
            id = "{server.id}"
            chassis = "{chassis}"
            slot = "{slot}"
            [server]
            listen = "{server.api.removeprefix("https://")}"
            blob_listen = "{server.blobs.removeprefix("https://")}"
            data_dir = "data"
            [state]
            engine = "{engine or f"sqlite:{self.folder}/state.db"}"
            """
        )
        self.servers.append(server)
        if start:
            server.start()
            until(server.health, f"{server.id} answers")
        return server

    def board_address(self, place: Location) -> str:
        return f"127.{self._network}.{place.chassis}.{place.slot}"

    def report(self, server: ServerProcess, board: Board, sequence: int = 1, **groups: GroupReport) -> None:
        """What an agent would post."""
        place = board.location
        made = self.identities.board(board.id, place.chassis, place.slot)
        who = self.members.setdefault((board.id, place), made)
        answer = server.call("POST", "/v1/reports", [BoardReport(board, 0, sequence, groups)], who=who)
        assert answer.status == 202, answer.data

    def introduce(self, *boards: Board) -> None:
        """Make the cluster know these boards."""
        active = self.active()
        for board in boards:
            self.report(active, board)
        known = {board.id for board in boards}
        until(lambda: known <= set(self.planned_boards()), f"{known} are in the inventory")

    def planned_boards(self) -> list[str]:
        mirror = self.active().folder / "data" / "mirror.json"
        # A server that has just started has copied nothing yet.
        return list(msgspec.json.decode(mirror.read_bytes()).get("boards", {})) if mirror.exists() else []

    def active(self) -> ServerProcess:
        """The one that takes changes, waited for."""
        found: list[ServerProcess] = []

        def is_there() -> bool:
            found[:] = [server for server in self.servers if (health := server.health()) and health.role == "active"]
            return len(found) == 1

        until(is_there, "exactly one server is active")
        return found[0]

    def standby(self) -> ServerProcess:
        active = self.active()
        return next(server for server in self.servers if server is not active and server.health())

    def everywhere(self, software: "Software") -> None:
        """Wait until every server holds the version."""
        active = self.active()
        name = f"{software.manifest.group} {software.manifest.version} *"

        def held() -> bool:
            servers = active.get("/v1/servers", ServerList).servers
            return len(servers) == len(self.servers) and all(name in server.versions for server in servers)

        until(held, f"{name} is everywhere", patience=60)

    def stop(self) -> None:
        for server in self.servers:
            if server.process is not None and server.process.poll() is None:
                server.process.kill()
                server.process.wait(10)


class Software:
    """A version made of files with random content, and how it is published."""

    def __init__(self, group: str, version: str, sizes: tuple[int, ...] = (3_000_000, 5_000)) -> None:
        self.contents = [os.urandom(size) for size in sizes]
        blobs = tuple(blob_ref(content) for content in self.contents)
        files = tuple(
            FileEntry(f"file{index}", 0o644, blob.size, blob.sha256, index) for index, blob in enumerate(blobs)
        )
        self.manifest = Manifest(1, group, version, files=files, blobs=blobs)
        self.encoded = encode_manifest(self.manifest)
        self.digest = digest_of(self.encoded)

    def publish(self, server: ServerProcess) -> urllib3.BaseHTTPResponse:
        for content in self.contents:
            assert server.call("PUT", f"/v1/blobs/{digest_of(content)}", content).status == 201
        return self.sign(server)

    def sign(self, server: ServerProcess) -> urllib3.BaseHTTPResponse:
        """The last step of publishing: the manifest, and what the operator signs for it."""
        assert server.call("PUT", f"/v1/blobs/{self.digest}", self.encoded).status == 201
        known = server.get("/v1/trust", SignedMetadata)
        assert isinstance(known, SignedMetadata)
        target = Target(self.manifest.group, self.manifest.version, self.manifest.variant, self.digest)
        return server.call("POST", "/v1/versions", server.identities.publication(known, target, len(self.encoded)))


def blob_ref(content: bytes) -> BlobRef:
    pieces = [digest_of(content[start : start + PIECE_SIZE]) for start in range(0, len(content), PIECE_SIZE)]
    return BlobRef(digest_of(content), len(content), b"".join(bytes.fromhex(piece) for piece in pieces))


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
