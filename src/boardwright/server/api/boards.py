"""GET /v1/boards: every board of the inventory and every board that was heard, with what it says."""

import difflib

from litestar import get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from boardwright.model.api import BoardList
from boardwright.model.report import Explanation
from boardwright.model.software import MAX_NAME
from boardwright.server.board_reports import BoardReports
from boardwright.server.board_status import board_status, board_statuses
from boardwright.server.mirror import Mirror


def _unknown(board: str, mirror: Mirror) -> NotFoundException:
    close = difflib.get_close_matches(board[:MAX_NAME], mirror.state.boards, n=1)
    meant = f", did you mean {close[0]!r}?" if close else ""
    return NotFoundException(f"no board {board[:MAX_NAME]!r} is known{meant}")


def routes(mirror: Mirror, board_reports: BoardReports) -> list[HTTPRouteHandler]:
    @get("/v1/boards", sync_to_thread=True)
    def boards() -> BoardList:
        return BoardList(board_statuses(mirror.state, board_reports.views()))

    @get("/v1/boards/{board:str}", sync_to_thread=False)
    def one_board(board: FromPath[str]) -> BoardList:
        status = board_status(board, mirror.state, board_reports.view(board))
        if status is None:
            raise _unknown(board, mirror)
        return BoardList((status,))

    @get("/v1/boards/{board:str}/explanations", sync_to_thread=False)
    def explanations(board: FromPath[str]) -> list[Explanation]:
        if board_status(board, mirror.state, board_reports.view(board)) is None:
            raise _unknown(board, mirror)
        return list(board_reports.explanations(board))

    return [boards, one_board, explanations]
