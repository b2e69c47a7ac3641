"""The health check that gates confirm: a command's exit code, an HTTP answer or an accepted TCP connection.

Rules:

* The deadline bounds the whole check. A command runs once; HTTP and TCP are tried again until the deadline, because a
  service that was just restarted needs its time.
* A command is a program of the version (relative to it, run in it); a bare word that is no file of the version is
  looked up in PATH, and an absolute path is the board's own program.
* Healthy is: exit code 0; a 2xx status (redirects are not followed); a connection.
* Whatever goes wrong is a reason, never an exception.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import urllib3

from boardwright.agent.commands import run_command
from boardwright.errors import MalformedError
from boardwright.model.software import HealthSpec, check_path

_PAUSE = 0.2  # seconds between tries: quick enough for a deployment of seconds, not a busy loop
_TRY = 3.0  # seconds for one try at most, so that one that hangs leaves time for others


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
        check_path(program.removeprefix("/"))
    except MalformedError as error:
        return Health(f"health check {program!r} is not a path in the version: {error}")
    inside = tree / program  # an absolute path stays what it is
    first = str(inside) if "/" in program or inside.exists() else program
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
        with urllib3.PoolManager(retries=False) as pool:
            answer = pool.request("GET", url, timeout=timeout, redirect=False, preload_content=False)
            status = answer.status
            answer.close()
    except (urllib3.exceptions.HTTPError, ValueError, OSError) as error:
        return f"health check {url} failed: {_short(error)}"
    return "" if 200 <= status < 300 else f"health check {url} answered {status}"


def _tcp(address: str, timeout: float) -> str:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout).close()
    except (OSError, ValueError, OverflowError) as error:
        return f"health check of {address} failed: {_short(error)}"
    return ""


def _short(error: BaseException) -> str:
    """The innermost cause in a few words; urllib3 wraps the system's error several times."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        cause = getattr(cause, "reason", None) if isinstance(getattr(cause, "reason", None), BaseException) else None
    return str(error)
