"""Which calls change something, and what the audit log calls that: the table beside ``ACCESS``.

Rules:

* Every call that is no GET has an entry in ``ACTIONS`` or, with the reason, in ``UNRECORDED``.
* A route hands ``act_of(request)`` on; what it was done to says the part that does it, in the commit.
"""

from typing import Any

from litestar.connection import ASGIConnection

from boardwright.model.audit import Act, Action, Actor
from boardwright.model.sessions import SESSION_PATH
from boardwright.server.api.callers import caller_of, template_of
from boardwright.server.refusals import Refusals
from boardwright.trust.identity import Identity

Call = tuple[str, str]

ACTIONS: dict[Call, Action] = {
    ("POST", "/v1/boards/{board}/retry"): Action.RETRY,
    ("POST", "/v1/versions"): Action.PUBLISH,
    ("POST", "/v1/deployments"): Action.DEPLOY,
    ("POST", "/v1/trust"): Action.TRUST_CHANGE,
    ("POST", "/v1/joins"): Action.JOIN,
    ("POST", "/v1/joins/{key}/approval"): Action.APPROVE,
    ("DELETE", "/v1/joins/{key}"): Action.DISMISS,
    ("POST", "/v1/tokens"): Action.TOKEN_CREATE,
    ("POST", "/v1/restore"): Action.RESTORE,
    ("DELETE", "/v1/tokens/{digest}"): Action.TOKEN_DROP,
    ("POST", "/v1/switchover"): Action.SWITCHOVER,
    ("POST", "/v1/upgrade"): Action.UPGRADE,
    ("POST", "/v1/upgrade/abort"): Action.UPGRADE_ABORT,
}
UNRECORDED: dict[Call, str] = {
    ("POST", SESSION_PATH): "who proves itself has changed nothing yet",
    ("POST", "/v1/revocations"): "signed by the authority, from anybody; the active records the list that it takes",
    ("POST", "/v1/reports"): "what boards say of themselves, many times a second",
    ("POST", "/v1/servers/status"): "what servers say of themselves, twice a second",
    ("POST", "/v1/blobs/{sha256}/verify"): "a question; the blob is hashed, whoever asks",
    ("POST", "/v1/blobs/missing"): "a question",
    ("POST", "/v1/blobs/room"): "a question; versions that are retired for it are recorded by the active",
    ("PUT", "/v1/blobs/{sha256}"): "bytes that nobody names yet; what names them is recorded",
}


def act_of(request: ASGIConnection[Any, Any, Any, Any]) -> Act:
    """Who calls, and which act that is; ForbiddenError for a call that anybody may make."""
    return Act(actor_of(request, caller_of(request)), action_of(request))


def actor_of(request: ASGIConnection[Any, Any, Any, Any], caller: Identity) -> Actor:
    """The caller with the address that the call came from."""
    host = "" if request.client is None else request.client.host
    return Actor(caller.id, caller.role.value, caller.key, host)


class NotedRefusals:
    """Tells `refusals` what was refused, in the words of the audit log."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals

    def unproven(self) -> None:
        self._refusals.unproven()

    def note(self, request: ASGIConnection[Any, Any, Any, Any], caller: Identity, why: str) -> None:
        act = Act(actor_of(request, caller), action_of(request))
        self._refusals.note(act.on(f"{request.scope.get('method', '')} {request.url.path}", why=why))


def action_of(request: ASGIConnection[Any, Any, Any, Any]) -> Action:
    """What the audit log calls this call."""
    return ACTIONS.get((str(request.scope.get("method", "")), template_of(request)), Action.CALL)
