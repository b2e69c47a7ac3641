"""Who answers a call that only the active may: this server, or a redirect to the one that is.

A standby answers 307 (RFC 9110 section 15.4.8: same method, same body) to the same path on the active, or 503
while there is no active. The active stands in the lease record; its URL in its server record.

Whoever names a cluster and reached a server of another one is refused, whatever the call.

What a caller whose call is stopped goes on sending is read and dropped, up to ``DRAINED`` bytes: the line is closed
under who is not listened to, and the answer is lost with it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from litestar import Response
from litestar.response import Redirect

from boardwright.model.api import CLUSTER_HEADER, Problem
from boardwright.server.api.problems import AnyRequest, problem
from boardwright.state.active import RESTORE_HINT
from boardwright.state.records import ServerRecord


class Standing(Protocol):
    """Which role this server has, and who is the active as far as it knows."""

    @property
    def is_active(self) -> bool: ...

    @property
    def epoch(self) -> int: ...

    @property
    def engine(self) -> str:
        """'' if changes are taken, else why not."""
        ...

    def active(self) -> ServerRecord | None: ...


Gate = Callable[[AnyRequest], Response[Problem] | Redirect | None]
AsyncGate = Callable[[AnyRequest], Awaitable[Response[Problem] | Redirect | None]]
_HINTS = {
    False: "one takes over within seconds; try again",
    True: "boards go on getting what is committed; changes go on by themselves within seconds after the engine "
    "answers again",
}
RESTORE = "/v1/restore"
DRAINED = 16 * 1024 * 1024  # bytes; packs and most files are shorter, and they are dropped as they come
DRAIN_TIME = 5.0  # seconds


def active_only(standing: Standing, own_id: str) -> Gate:
    """A ``before_request`` hook that lets a call through on the active alone."""

    def gate(request: AnyRequest) -> Response[Problem] | Redirect | None:
        if standing.is_active:
            return None
        active = standing.active()
        if active is None or active.id == own_id or not active.api:
            why = f": {standing.engine}" if standing.engine else ""
            return problem(503, f"no server is active now{why}", _HINTS[bool(standing.engine)], exit_code=4)
        query = request.url.query
        return Redirect(f"{active.api}{request.url.path}{'?' if query else ''}{query}", status_code=307)

    return gate


def while_believed(gate: Gate, doubt: Callable[[], str]) -> Gate:
    """The same gate; while the active does not believe the state (`doubt` says why) it lets no change through but
    a restore, which ends that."""

    def inner(request: AnyRequest) -> Response[Problem] | Redirect | None:
        answer = gate(request)
        if answer is not None or request.method == "GET" or request.url.path == RESTORE:
            return answer
        why = doubt()
        return problem(409, f"nothing is changed now: {why}", RESTORE_HINT, exit_code=3) if why else None

    return inner


def own_cluster_only(cluster: str) -> Gate:
    """A ``before_request`` hook that refuses a caller who means another cluster."""

    def gate(request: AnyRequest) -> Response[Problem] | None:
        meant = request.headers.get(CLUSTER_HEADER)
        if meant is None or meant == cluster:
            return None
        hint = "name the folder of the cluster you mean by --operator, or correct the servers in its operator.toml"
        return problem(
            409, f"this server belongs to the cluster {cluster!r}, not to {meant[:200]!r}", hint, exit_code=3
        )

    return gate


def all_of(*gates: Gate) -> AsyncGate:
    """One hook out of several: the first that answers stops the call."""

    async def gate(request: AnyRequest) -> Response[Problem] | Redirect | None:
        answer = next((answer for one in gates if (answer := one(request)) is not None), None)
        if answer is not None:
            await _drain(request)
        return answer

    return gate


async def _drain(request: AnyRequest) -> None:
    left = DRAINED
    try:
        async with asyncio.timeout(DRAIN_TIME):
            async for chunk in request.stream():
                left -= len(chunk)
                if left <= 0:
                    return
    except TimeoutError:
        return  # whoever sends so slowly gets the answer now, or not at all
