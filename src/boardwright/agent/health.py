"""The health check that gates confirm: a command's exit code, an HTTP answer or an accepted TCP connection.

Rules:

* The deadline bounds the whole check. A command runs once; HTTP and TCP are tried again until the deadline, because a
  service that was just restarted needs its time.
* A command is a program of the version (relative to it, run in it); a bare word that is no file of the version is
  looked up in PATH, and an absolute path is the board's own program.
* Healthy is: exit code 0; a 2xx status (redirects are not followed, the body is not read); a connection.
* HTTPS certificates are not verified: the probe asks whether the board's own service is up, not who it is (as the
  kubelet does).
* Whatever goes wrong is a reason, never an exception.
"""

import contextlib
import errno
import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import msgspec

from boardwright.agent.commands import located, plain, run_command
from boardwright.errors import MalformedError
from boardwright.model.software import HealthSpec

_PAUSE = 0.2  # seconds between tries: quick enough for a deployment of seconds, not a busy loop
_TRY = 3.0  # seconds for one try at most, so that one that hangs leaves time for others
_WORDS = 200  # characters of what a service said that is no HTTP


class Health(msgspec.Struct, frozen=True):
    """`reason` is empty if healthy; `log` is the tail of the command's output."""

    reason: str = ""
    log: str = ""


def check_health(spec: HealthSpec | None, tree: Path, env: Mapping[str, str], stop: threading.Event) -> Health:
    """Check the version in `tree`; no `spec` is healthy."""
    if spec is None:
        return Health()
    deadline = time.monotonic() + spec.timeout
    if spec.command:
        health = _command(spec, tree, env, stop)
        if health.reason:
            return health
    if spec.http:
        health = _until(deadline, stop, lambda left: _http(spec.http, left))
        if health.reason:
            return health
    if spec.tcp:
        return _until(deadline, stop, lambda left: _tcp(spec.tcp, left))
    return Health()


def _command(spec: HealthSpec, tree: Path, env: Mapping[str, str], stop: threading.Event) -> Health:
    program = spec.command[0]
    try:
        first = located(program, tree)
    except MalformedError as error:
        return Health(f"health check {program!r} is not a path in the version: {error}")
    result = run_command([first, *spec.command[1:]], cwd=tree, env=env, timeout=spec.timeout, stop=stop)
    return Health(f"health check {' '.join(spec.command)} {result.problem}", result.tail) if not result.ok else Health()


def _until(deadline: float, stop: threading.Event, probe: Callable[[float], str]) -> Health:
    reason = ""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return Health(reason or "health check had no time")
        reason = probe(min(left, _TRY))
        if not reason:
            return Health()
        if stop.wait(min(_PAUSE, max(0.0, deadline - time.monotonic()))):
            return Health("health check was stopped")


def _http(url: str, timeout: float) -> str:
    try:
        status = _status(url, timeout)
    except (http.client.HTTPException, ValueError, OSError) as error:
        return f"health check {url} failed: {_short(error)}"
    return "" if 200 <= status < 300 else f"health check {url} answered {status}"


def _status(url: str, timeout: float) -> int:
    """The status that a GET is answered with, within `timeout` seconds for everything; raises OSError, HTTPException.

    Time-outs of sockets count from byte to byte, so a server that sends one a second could hold a client for hours:
    a timer shuts the connection down.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{parts.scheme or 'nothing'} is neither http nor https")
    secure, host = parts.scheme == "https", parts.hostname or ""
    port = parts.port or (443 if secure else 80)
    ended = threading.Event()
    with socket.create_connection((host, port), timeout) as connection:
        with connection.dup() as guard:  # the same connection under a number that wrapping does not take away

            def end() -> None:
                ended.set()
                try:
                    guard.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it is over already

            timer = threading.Timer(timeout, end)
            timer.start()
            try:
                status = _asked(connection, host, parts, secure)
            except (OSError, http.client.HTTPException):
                if not ended.is_set():
                    raise
            finally:
                timer.cancel()
                timer.join()
            if ended.is_set():  # what was cut off may look like a whole answer
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            return status


def _asked(connection: socket.socket, host: str, parts: SplitResult, secure: bool) -> int:
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = context.wrap_socket(connection, server_hostname=host)
    client = http.client.HTTPConnection(parts.netloc.rpartition("@")[2])
    client.sock = connection
    with contextlib.closing(client):
        path = parts.path or "/"
        client.request("GET", f"{path}?{parts.query}" if parts.query else path, headers={"Connection": "close"})
        with client.getresponse() as answer:
            return answer.status


def _tcp(address: str, timeout: float) -> str:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout).close()
    except (OSError, ValueError, OverflowError) as error:
        return f"health check of {address} failed: {_short(error)}"
    return ""


def _short(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return plain(" ".join(str(error).split()))[:_WORDS] or type(error).__name__
