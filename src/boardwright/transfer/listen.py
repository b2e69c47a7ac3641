"""A port with an application behind it, in the running event loop.

Rules:

* TLS 1.3 and nothing else, with the certificate and key of the board.
* One program per port: Granian binds with SO_REUSEPORT, so a second server would start silently and get half of the
  connections. A lock file per address, held with flock, and a probe that binds without SO_REUSEPORT refuse it. A
  lock left by a crash is free again.
* Port 0 asks for any free port; `address` says which.
* `start` returns when connections are accepted; `stop` lets running answers end for a bounded time.
* Signals stay with the program.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import Any, Literal

import msgspec
from granian.constants import Interfaces, SSLProtocols
from granian.server.embed import Server

from boardwright.errors import FailedError, RefusedError

START_TIMEOUT = 10.0  # seconds; it takes some 10 ms
STOP_TIMEOUT = 3.0  # seconds for running answers; a board resumes at another server anyway
_INTERFACES = {"rsgi": Interfaces.RSGI, "asgi": Interfaces.ASGI}


class KeyFiles(msgspec.Struct, frozen=True):
    """Where the certificate and the key lie that a listener shows (PEM; the key PKCS #8)."""

    certificate: Path
    key: Path


class Listener:
    """`app` on `address`; locks lie in `lock_dir`, which is made if it is missing."""

    def __init__(
        self,
        app: Any,
        address: tuple[str, int],
        interface: Literal["rsgi", "asgi"],
        lock_dir: Path,
        keys: KeyFiles,
    ) -> None:
        self._keys = keys
        self.address = address
        self._app = app
        self._interface = interface
        self._lock_dir = lock_dir
        self._lock: int | None = None
        self._server: Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Base URL without a slash at the end."""
        host, port = self.address
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    async def start(self) -> None:
        """Listen; raises RefusedError if somebody listens there already, FailedError if it cannot be bound."""
        host, port = self.address
        self.address = (host, _probe(host, port))
        self._lock = _take_lock(self._lock_dir, self.address)
        try:
            self._server = Server(
                self._app,
                address=host,
                port=self.address[1],
                interface=_INTERFACES[self._interface],
                log_enabled=False,
                websockets=False,
                ssl_cert=self._keys.certificate,
                ssl_key=self._keys.key,
                ssl_protocol_min=SSLProtocols.tls13,
            )
            self._task = asyncio.get_running_loop().create_task(self._server.serve())
            await self._until_it_accepts()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop listening; answers under way get a bounded time."""
        server, task, lock = self._server, self._task, self._lock
        self._server = self._task = self._lock = None
        try:
            if server is not None and task is not None:
                server.stop()  # type: ignore[no-untyped-call]  # Granian leaves it bare
                _, pending = await asyncio.wait([task], timeout=STOP_TIMEOUT)
                for one in pending:
                    one.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.gather(task, return_exceptions=True)
        finally:
            if lock is not None:
                os.close(lock)

    async def _until_it_accepts(self) -> None:
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT
        while True:
            if self._task is not None and self._task.done():
                raise FailedError(f"listening on {self.url} ended at once") from self._task.exception()
            try:
                _, writer = await asyncio.open_connection(*self.address)
            except OSError as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise FailedError(f"listening on {self.url} did not begin in {START_TIMEOUT:g} s") from error
                await asyncio.sleep(0.005)
            else:
                writer.close()
                return


def _probe(host: str, port: int) -> int:
    """The port that can be bound alone; raises RefusedError or FailedError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a dead server are no obstacle
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                hint = "this host has no such address" if error.errno == errno.EADDRNOTAVAIL else None
                raise FailedError(f"{host} port {port} cannot be listened on", hint=hint) from error
            raise RefusedError(
                f"{host} port {port} is in use", hint="another server runs there; stop it or choose another port"
            ) from error
        bound: int = probe.getsockname()[1]
        return bound


def _take_lock(directory: Path, address: tuple[str, int]) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    name = f"listen-{address[0].replace(':', '_')}-{address[1]}.lock"
    lock = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise RefusedError(
            f"{address[0]} port {address[1]} is claimed by another program through {directory / name}",
            hint="another server runs there; stop it or choose another port",
        ) from error
    return lock
