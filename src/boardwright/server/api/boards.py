"""GET /v1/boards: every board of the inventory and every board that was heard, with what it says."""

from litestar import get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler

from boardwright.model.api import BoardList
from boardwright.model.report import Explanation
from boardwright.server.board_reports import BoardReports
from boardwright.server.board_status import board_status, board_statuses
from boardwright.server.mirror import Mirror


def routes(mirror: Mirror, board_reports: BoardReports) -> list[HTTPRouteHandler]:
    @get("/v1/boards", sync_to_thread=True)
    def boards() -> BoardList:
        return BoardList(board_statuses(mirror.state, board_reports.views()))

    @get("/v1/boards/{board:str}", sync_to_thread=False)
    def one_board(board: str) -> BoardList:
        status = board_status(board, mirror.state, board_reports.view(board))
        if status is None:
            raise NotFoundException(f"no board {board!r} is known")
        return BoardList((status,))

    @get("/v1/boards/{board:str}/explanations", sync_to_thread=False)
    def explanations(board: str) -> list[Explanation]:
        if board_status(board, mirror.state, board_reports.view(board)) is None:
            raise NotFoundException(f"no board {board!r} is known")
        return list(board_reports.explanations(board))

    return [boards, one_board, explanations]
