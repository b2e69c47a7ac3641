"""Reports find their way: to the next server if one does not take them, and only the newest of a board."""

import threading
from collections.abc import Sequence

import msgspec

from boardwright.agent.reporter import Postman
from boardwright.errors import UnreachableError
from boardwright.model.api import ReportsTaken
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.report import BoardReport, Explanation

BOARD = Board("c1s3", Location("1", "3"), "lc-100g")


class Client:
    """Servers by URL; `down` take nothing."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.taken: list[tuple[str, tuple[BoardReport, ...]]] = []
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def report(self, api: str, reports: Sequence[BoardReport]) -> ReportsTaken:
        self.gate.wait(10)
        self.asked.append(api)
        if api in self.down:
            raise UnreachableError(f"{api} cannot be reached")
        self.taken.append((api, tuple(reports)))
        return ReportsTaken(7, {"c1s3": 2})


def report(sequence: int, board: Board = BOARD) -> BoardReport:
    return BoardReport(board, 1, sequence)


def apis() -> Sequence[str]:
    return ("a", "b")


def test_a_report_goes_to_one_server() -> None:
    client = Client()
    postman = Postman(lambda board: client)  # type: ignore[arg-type]
    postman.post(report(1), apis)
    postman.close(5)
    assert client.taken == [("a", (report(1),))]


def test_what_the_server_knows_beside_is_told() -> None:
    told: list[ReportsTaken] = []
    postman = Postman(lambda board: Client(), told.append)  # type: ignore[arg-type]
    postman.post(report(1), apis)
    postman.close(5)
    assert told == [ReportsTaken(7, {"c1s3": 2})]


def test_a_server_that_does_not_take_it_is_left_for_the_next_which_is_then_kept() -> None:
    client = Client()
    client.down = {"a"}
    postman = Postman(lambda board: client)  # type: ignore[arg-type]
    postman.post(report(1), apis)
    while not client.taken:
        threading.Event().wait(0.001)
    client.down = set()
    postman.post(report(2), apis)
    postman.close(5)
    assert [api for api, _ in client.taken] == ["b", "b"]


def test_only_the_newest_report_of_a_board_is_delivered_with_the_explanations_of_the_others() -> None:
    client = Client()
    client.gate.clear()
    explanation = Explanation("platform", "a" * 64, (), "the nearest", 12.0)
    postman = Postman(lambda board: client)  # type: ignore[arg-type]
    postman.post(report(1), apis)
    postman.post(msgspec.structs.replace(report(2), explanations=(explanation,)), apis)
    postman.post(report(3), apis)
    client.gate.set()
    postman.close(5)
    delivered = client.taken[-1][1]
    assert [one.sequence for one in delivered] == [3]
    assert delivered[0].explanations == (explanation,)


def test_what_nobody_takes_waits_for_the_next_report() -> None:
    client = Client()
    client.down = {"a", "b"}
    postman = Postman(lambda board: client)  # type: ignore[arg-type]
    other = Board("c1s4", Location("1", "4"), "lc-100g")
    postman.post(report(1, other), apis)
    while len(client.asked) < 2:
        threading.Event().wait(0.001)
    client.down = set()
    postman.post(report(2), apis)
    postman.close(5)
    assert sorted(one.board.id for _, taken in client.taken for one in taken) == ["c1s3", "c1s4"]
