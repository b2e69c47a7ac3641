"""Which key belongs to which board and slot."""

from pathlib import Path

import pytest

from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.server.mirror import Mirror, MirrorState
from boardwright.server.slots import Slots

PLACE, OWN, OTHER = Location("1", "3"), "a" * 64, "b" * 64


class Bench:
    def __init__(self, folder: Path) -> None:
        self.mirror = Mirror(folder / "mirror.json")
        self.revoked: frozenset[str] = frozenset()
        self.slots = Slots(self.mirror, lambda: self.revoked)

    def knows(self, *boards: Board) -> None:
        self.mirror.state = MirrorState(boards={board.id: board for board in boards})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.knows(Board("c1s3", PLACE, "lc", key=OWN))
    return bench


def test_a_board_with_its_own_key_in_its_own_slot_quarrels_with_nobody(bench: Bench) -> None:
    assert bench.slots.quarrel("c1s3", PLACE, OWN) == ""


def test_a_second_key_for_the_slot_names_both(bench: Bench) -> None:
    quarrel = bench.slots.quarrel("thief", PLACE, OTHER)
    assert quarrel == "slot 1/3 is that of c1s3 (key aaaaaaaaaaaa), not of thief (bbbbbbbbbbbb)"


def test_a_second_key_for_the_board_names_both_wherever_it_sits(bench: Bench) -> None:
    quarrel = bench.slots.quarrel("c1s3", Location("2", "5"), OTHER)
    assert quarrel == "c1s3 is known with another key (aaaaaaaaaaaa) than bbbbbbbbbbbb"


def test_a_key_that_is_revoked_occupies_nothing(bench: Bench) -> None:
    bench.revoked = frozenset({OWN})
    assert bench.slots.quarrel("thief", PLACE, OTHER) == bench.slots.taken("thief", PLACE, OTHER) == ""
    assert bench.slots.key_of("c1s3", OTHER) == OTHER


def test_the_first_key_that_a_board_proved_itself_with_is_kept(bench: Bench) -> None:
    bench.knows(Board("c1s3", PLACE, "lc", key=OWN), Board("c1s4", Location("1", "4"), "lc"))
    assert bench.slots.key_of("c1s3", OTHER) == OWN
    assert bench.slots.key_of("c1s4", OTHER) == OTHER
    assert bench.slots.key_of("new", OTHER) == OTHER


def test_a_listed_board_that_never_proved_itself_is_no_quarrel_but_its_slot_is_not_free(bench: Bench) -> None:
    bench.knows(Board("c1s3", PLACE, "lc"))
    assert bench.slots.quarrel("thief", PLACE, OTHER) == bench.slots.quarrel("c1s3", PLACE, OTHER) == ""
    assert bench.slots.taken("thief", PLACE, OTHER) == "slot 1/3 is that of c1s3"


def test_the_boards_are_looked_at_as_they_are_now(bench: Bench) -> None:
    assert bench.slots.quarrel("thief", PLACE, OTHER)
    bench.knows()
    assert bench.slots.quarrel("thief", PLACE, OTHER) == ""
