"""What of a report is believed because a certificate says it."""

import msgspec
import pytest

from boardwright.errors import ForbiddenError
from boardwright.model.location import Location
from boardwright.server.vouching import vouched
from boardwright.trust.identity import Identity, Role
from tests.unit.server.builders import board, report

SENDER = Identity("core1", "c1s3", Role.BOARD, Location("1", "3"), 1, "a" * 64)


def test_the_key_is_that_of_the_session() -> None:
    liar = msgspec.structs.replace(board(), key="b" * 64)
    for said in (board(), liar):
        (one,) = vouched([report(said, 1)], SENDER)
        assert one.board == msgspec.structs.replace(board(), key="a" * 64)


def test_the_place_is_the_certificate_s_and_another_one_is_said() -> None:
    elsewhere = msgspec.structs.replace(board(), location=Location("2", "7"))
    (one,) = vouched([report(elsewhere, 1)], SENDER)
    assert one.board.location == Location("1", "3")
    assert one.conflict == "location-conflict: it says 2/7, its certificate 1/3"
    own = msgspec.structs.replace(report(elsewhere, 1), conflict="location-conflict: its own words")
    assert vouched([own], SENDER)[0].conflict == "location-conflict: its own words"


def test_a_board_that_sits_where_it_should_has_no_conflict_of_the_server_s_making() -> None:
    assert vouched([report(board(), 1)], SENDER)[0].conflict == ""


def test_nobody_reports_for_another_board() -> None:
    with pytest.raises(ForbiddenError, match="c1s3 may not report for c1s4"):
        vouched([report(board(), 1), report(board("c1s4"), 1)], SENDER)
