"""What /v1/openapi.json says of every call beside its own answer: the ways in which it is refused.

Rules:

* Every refusal is a ``Problem``, with one of the statuses below and with no other 4xx or 5xx.
* A call that answers more than one good status names the others itself.
"""

from collections.abc import Iterable, Sequence

from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec

from boardwright.model.api import Problem

REFUSALS = {
    400: "the request is not of the documented form",
    401: "who calls has no session, or none that is good here (any more)",
    403: "the caller's role does not allow the call",
    404: "what the path names is not there",
    405: "the path does not take this method",
    409: "what is there does not go with the change, or the caller means another cluster",
    413: "the body is too long, or what it announces does not fit on the disk or into the quota",
    422: "the values go together in no way that can be done",
    429: "this address asks for sessions, or to join, too often; later it may again",
    503: "no server is active, the engine does not answer, or this server is full",
    507: "the disk of the server became full on the way",
}
_ELSEWHERE = {307: ResponseSpec(None, description="ask the active, at this address", media_type="text/plain")}
_REFUSED = {status: ResponseSpec(Problem, generate_examples=False, description=why) for status, why in REFUSALS.items()}


def documented(handlers: Iterable[HTTPRouteHandler], *, active: bool) -> Sequence[HTTPRouteHandler]:
    """The same handlers, their refusals named; `active`: a standby sends the caller on."""
    known = list(handlers)
    for handler in known:
        handler.responses = {**_REFUSED, **(_ELSEWHERE if active else {}), **(handler.responses or {})}
    return known
