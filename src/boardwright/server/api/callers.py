"""Who may call what: one table for the whole API.

Rules:

* Every route has an entry; one without is refused, whoever asks.
* Boards say what they are and ask what they need, each for itself; a server may do all that a board may.
* People read (viewer), change what boards run (operator), and change who belongs (admin); each may do what the one
  before it may.
"""

from typing import Any, Protocol, cast

from litestar import Response
from litestar.connection import ASGIConnection

from boardwright.errors import ForbiddenError
from boardwright.model.api import Problem
from boardwright.model.sessions import NONCE_PATH, SESSION_PATH
from boardwright.server.api.gate import Gate
from boardwright.server.api.problems import AnyRequest, problem
from boardwright.server.callers import MEMBERS, PEOPLE, Callers
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Identity, Role

Roles = frozenset[Role]
ANYBODY: Roles = frozenset()
SERVERS = frozenset({Role.SERVER})
BOARDS = frozenset({Role.BOARD}) | SERVERS
VIEWERS = PEOPLE
OPERATORS = frozenset({Role.OPERATOR, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})

ACCESS: dict[tuple[str, str], Roles] = {
    ("GET", "/v1/health"): ANYBODY,
    ("GET", "/metrics"): ANYBODY,
    ("GET", NONCE_PATH): ANYBODY,
    ("POST", SESSION_PATH): ANYBODY,
    ("GET", "/v1/authority"): ANYBODY,
    ("GET", "/v1/revocations"): ANYBODY,
    ("POST", "/v1/revocations"): ANYBODY,
    ("POST", "/v1/joins"): ANYBODY,
    ("GET", "/v1/plan/boards/{board}"): MEMBERS,
    ("GET", "/v1/metadata/{name}"): MEMBERS,
    ("GET", "/v1/metadata/targets/plans/{name}"): MEMBERS,
    ("POST", "/v1/blobs/{sha256}/verify"): BOARDS | OPERATORS,
    ("POST", "/v1/reports"): BOARDS,
    ("POST", "/v1/servers/status"): SERVERS,
    ("GET", "/v1/boards"): VIEWERS,
    ("GET", "/v1/boards/{board}"): VIEWERS,
    ("GET", "/v1/boards/{board}/explanations"): VIEWERS,
    ("GET", "/v1/servers"): VIEWERS,
    ("GET", "/v1/alarms"): VIEWERS,
    ("GET", "/v1/diagnosis"): VIEWERS,
    ("GET", "/v1/software"): VIEWERS,
    ("GET", "/v1/software/{group}"): VIEWERS,
    ("GET", "/v1/rollouts"): VIEWERS,
    ("GET", "/v1/rollouts/{rollout}"): VIEWERS,
    ("GET", "/v1/trust"): VIEWERS,
    ("GET", "/v1/joins"): VIEWERS,
    ("GET", "/v1/audit"): OPERATORS,  # it names people and addresses: not for the screen on the wall, which is a viewer
    ("POST", "/v1/boards/{board}/retry"): OPERATORS,
    ("POST", "/v1/blobs/missing"): OPERATORS,
    ("POST", "/v1/blobs/room"): OPERATORS,
    ("PUT", "/v1/blobs/{sha256}"): OPERATORS,
    ("POST", "/v1/versions"): OPERATORS,
    ("POST", "/v1/deployments"): OPERATORS,
    ("POST", "/v1/switchover"): OPERATORS,
    ("GET", "/v1/upgrade"): PEOPLE,
    ("POST", "/v1/upgrade"): OPERATORS,
    ("POST", "/v1/upgrade/abort"): OPERATORS,
    ("POST", "/v1/trust"): ADMINS,
    ("POST", "/v1/joins/{key}/approval"): ADMINS,
    ("DELETE", "/v1/joins/{key}"): ADMINS,
    ("POST", "/v1/tokens"): ADMINS,
    ("GET", "/v1/backup"): ADMINS,
    ("POST", "/v1/restore"): ADMINS,
    ("GET", "/v1/tokens"): ADMINS,
    ("DELETE", "/v1/tokens/{digest}"): ADMINS,
}
_CALLER = "boardwright_caller"  # in the scope of a request whose caller was let through


class Refused(Protocol):
    """Who hears of calls that are refused."""

    def unproven(self) -> None:
        """The caller has not said who it is, or could not prove it."""
        ...

    def note(self, request: ASGIConnection[Any, Any, Any, Any], caller: Identity, why: str) -> None: ...


def members_only(callers: Callers, refused: Refused) -> Gate:
    """A ``before_request`` hook that lets a call through if the caller proved itself and its role allows the call."""

    def gate(request: AnyRequest) -> Response[Problem] | None:
        roles = ACCESS.get((request.method, template_of(request)))
        if roles is None:
            return problem(403, f"nobody may call {request.method} {request.url.path[:200]}", None, exit_code=3)
        if roles == ANYBODY:
            return None
        try:
            caller = callers.caller(request.headers.get("authorization"))
        except UntrustedError as error:
            refused.unproven()
            return problem(401, str(error), None, exit_code=3)
        if caller.role not in roles:
            hint = f"that is for {', '.join(sorted(role.value for role in roles))}"
            why = f"{caller.id} is {caller.role.value} and may not {_sentence(request)}"
            refused.note(request, caller, why)
            return problem(403, why, hint, exit_code=3)
        cast(dict[str, Any], request.scope)[_CALLER] = caller
        return None

    return gate


def template_of(request: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The path of the route, its parameters without their types."""
    template = str(request.scope.get("path_template", ""))
    return template.replace(":str", "")


def caller_of(request: ASGIConnection[Any, Any, Any, Any]) -> Identity:
    """Who made this call; ForbiddenError for a call that anybody may make, whose callers nobody asks who they are."""
    found = known_caller(request)
    if found is None:
        raise ForbiddenError("who calls is not known here")
    return found


def known_caller(request: ASGIConnection[Any, Any, Any, Any]) -> Identity | None:
    """Who made this call, None if nobody was asked, or could not prove it."""
    found = cast(dict[str, Any], request.scope).get(_CALLER)
    return found if isinstance(found, Identity) else None


def own_only(caller: Identity, board: str) -> None:
    """Raise ForbiddenError if a board means another one than itself; people and servers may."""
    if caller.role is Role.BOARD and caller.id != board:
        raise ForbiddenError(f"{caller.id} may not ask or speak for {board[:200]}")


def _sentence(request: AnyRequest) -> str:
    return f"{request.method} {request.url.path[:200]}"
