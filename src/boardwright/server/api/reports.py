"""POST /v1/reports: boards report to any server, servers pass on to the active.

The answer says how new this server's plan is, so that a board that missed the announcement asks within a heartbeat,
which boards the operator let try again what they failed at, and which list of revoked keys is the newest: nothing else
tells them.
"""

from collections.abc import Callable
from typing import Annotated, Any

from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, QueryParameter

from boardwright.errors import ForbiddenError
from boardwright.model.api import ReportsTaken
from boardwright.model.report import BoardReport
from boardwright.server.api.callers import caller_of
from boardwright.server.board_reports import BoardReports
from boardwright.server.claims import Claims
from boardwright.server.mirror import Mirror
from boardwright.server.vouching import vouched
from boardwright.trust.identity import Role

MAX_BODY = 8 * 1024 * 1024  # a batch of 250 reports with the longest explanations and logs that are kept


def routes(
    board_reports: BoardReports, claims: Claims, mirror: Mirror, revocations: Callable[[], int]
) -> list[HTTPRouteHandler]:
    @post("/v1/reports", status_code=202, request_max_body_size=MAX_BODY, sync_to_thread=False)
    def reports(
        request: Request[Any, Any, Any],
        data: JSONBody[list[BoardReport]],
        passed_on: Annotated[bool, QueryParameter(name="passed-on")] = False,
    ) -> ReportsTaken:
        """`passed-on`: another server sent them, so that they are not passed on again."""
        caller = caller_of(request)
        if passed_on and caller.role is not Role.SERVER:
            raise ForbiddenError(f"{caller.id} is {caller.role.value}: only servers pass on what others reported")
        if not passed_on:
            data = vouched(data, caller)
        board_reports.take(data, passed_on=passed_on)
        host = "" if passed_on or request.client is None else request.client.host
        for report in data:
            if board_reports.knows(report.board.id):
                claims.report(report.board, host, report.conflict)
        state = mirror.state
        counts = {report.board.id: state.retry_of(report.board.id) for report in data}
        retries = {report.board.id: count for report in data if report.retry < (count := counts[report.board.id])}
        return ReportsTaken(state.plan.generation, retries, revocations())

    return [reports]
