"""Every error answers with a ``Problem``: the error's own words, the hint, and what a command should end with."""

from typing import Any

from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException

from boardwright import log
from boardwright.errors import (
    BoardwrightError,
    ConflictError,
    ForbiddenError,
    MalformedError,
    RefusedError,
    UnreachableError,
    UsageError,
)
from boardwright.model.api import Problem
from boardwright.server.callers import CrowdedError
from boardwright.state.kv import EngineError
from boardwright.state.lease import DeposedError
from boardwright.transfer.space import HINT, NoSpaceError, is_full

_log = log.get("server.api")
AnyRequest = Request[Any, Any, Any]
_USAGE = 2  # exit code of wrong usage: what was sent is wrong, whoever sent it
_NO_ANSWER = 4  # the same call may succeed later, or at another server
_EXIT_CODE: dict[type[BoardwrightError], int] = {
    MalformedError: _USAGE,
    DeposedError: _NO_ANSWER,
    EngineError: _NO_ANSWER,
}

_LATER = "1"  # seconds; budgets come back within it
_NO_ROUTE = {
    "Not Found": "there is nothing at {path}",
    "Method Not Allowed": "{path} does not take {method}",
}

# The first that fits; HTTP semantics by RFC 9110 section 15.5 and 15.6.
_STATUS: tuple[tuple[type[BoardwrightError], int], ...] = (
    (DeposedError, 503),
    (CrowdedError, 429),
    (UsageError, 400),
    (ForbiddenError, 403),
    (RefusedError, 409),
    (ConflictError, 409),
    (UnreachableError, 503),
    (EngineError, 503),
    (MalformedError, 422),
    (NoSpaceError, 413),
    (BoardwrightError, 422),
)


def problem(status: int, error: str, hint: str | None = None, exit_code: int = 1) -> Response[Problem]:
    """An answer that says why a call was not done."""
    later = {"retry-after": _LATER} if status == 429 else None
    return Response(Problem(error, hint, exit_code), status_code=status, media_type=MediaType.JSON, headers=later)


def on_boardwright_error(_request: AnyRequest, error: BoardwrightError) -> Response[Problem]:
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    exit_code = _EXIT_CODE.get(type(error), error.exit_code)
    causes = "".join(f": {cause}" for cause in _causes(error))
    return problem(status, f"{error}{causes}", error.hint, exit_code)


def on_http_error(request: AnyRequest, error: HTTPException) -> Response[Problem]:
    extra = error.extra if isinstance(error.extra, list) else []
    details = "; ".join(str(item.get("message", item)) if isinstance(item, dict) else str(item) for item in extra)
    exit_code = _USAGE if 400 <= error.status_code < 500 and error.status_code != 404 else 1
    # Litestar's own words for a path or method that no route has are just the status' name.
    sentence = _NO_ROUTE.get(error.detail, "{detail}").format(
        detail=error.detail, method=request.method, path=request.url.path[:200]
    )
    return problem(error.status_code, f"{sentence}{': ' if details else ''}{details}", None, exit_code)


def on_unexpected_error(request: AnyRequest, error: Exception) -> Response[Problem]:
    if isinstance(error, OSError) and error.errno is not None:
        _log.error("the disk did not take it", method=request.method, path=request.url.path, error=str(error))
        status, hint = (507, HINT) if is_full(error) else (500, "look at the disk of the server's data_dir")
        return problem(status, f"the server's disk did not take it: {error.strerror}", hint)
    _log.error("call failed", method=request.method, path=request.url.path, exc_info=error)
    return problem(500, f"the server failed at {request.method} {request.url.path}", "its log says more")


def _causes(error: BaseException) -> list[str]:
    causes: list[str] = []
    while (cause := error.__cause__) is not None and len(causes) < 5:
        causes.append(str(cause) or type(cause).__name__)
        error = cause
    return causes
