"""Where a demo runs: its boards' addresses, and how two demos keep out of each other's way."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from boardwright.cli.demo import place
from boardwright.cli.demo.place import PORT_ROWS, Place, Shape
from boardwright.errors import UsageError


@pytest.fixture(autouse=True)
def no_multicast(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: object) -> bool:
        await asyncio.sleep(0)
        return False

    monkeypatch.setattr(place, "multicast_works", silent)


@contextmanager
def at(shape: Shape) -> Iterator[Place]:
    held = Place(shape)
    try:
        yield held
    finally:
        held.leave()


def test_control_boards_sit_in_the_first_slots_each_at_its_own_address() -> None:
    boards = Shape(2, 1, 2).layout(run=7)
    assert [(board.id, board.type, board.address, board.server) for board in boards] == [
        ("c1s1", "rp", "127.1.1.7", True),
        ("c1s2", "lc", "127.1.2.7", False),
        ("c1s3", "lc", "127.1.3.7", False),
        ("c2s1", "rp", "127.2.1.7", True),
        ("c2s2", "lc", "127.2.2.7", False),
        ("c2s3", "lc", "127.2.3.7", False),
    ]


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (Shape(0, 1, 1), "--chassis 0"),
        (Shape(1, 0, 1), "--control-boards 0"),
        (Shape(1, 1, -1), "--boards -1"),
        (Shape(300, 1, 1), "--chassis 300"),
        (Shape(1, 200, 200), "a chassis of 400 slots"),
    ],
)
def test_a_cluster_that_cannot_be_addressed_is_wrong_usage(shape: Shape, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        shape.check()


def test_two_demos_at_once_have_other_addresses_and_other_names() -> None:
    with at(Shape(1, 1, 0)) as one, at(Shape(1, 1, 0)) as two:
        assert one.run != two.run
        assert one.name != two.name
        assert {board.address for board in one.boards}.isdisjoint(board.address for board in two.boards)


def test_a_number_is_free_again_when_its_demo_has_left() -> None:
    with at(Shape(1, 1, 0)) as one:
        run = one.run
    with at(Shape(1, 1, 0)) as again:
        assert again.run == run


def test_a_port_that_somebody_listens_on_sends_the_demo_to_another_row() -> None:
    with at(Shape(1, 1, 0)) as before:
        address, row = before.boards[0].address, before.port
    with socket.create_server((address, row + 2)), at(Shape(1, 1, 0)) as after:
        assert after.port in PORT_ROWS
        assert after.port != row


def test_whether_multicast_works_is_found_out() -> None:
    with at(Shape(1, 1, 0)) as found:
        assert not found.multicast
