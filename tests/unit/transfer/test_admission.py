"""Slots of a server: how many boards at once, and when a slot is free again."""

from boardwright.transfer.admission import LAPSE, SHORTEST, STEADY, Admission
from tests.unit.transfer.blobs import Clock


def admission(bound: int) -> tuple[Admission, Clock]:
    clock = Clock()
    return Admission(bound, clock=clock), clock


def test_a_board_with_a_slot_gets_range_after_range() -> None:
    slots, _ = admission(1)
    assert all(slots.admit("a") for _ in range(100))
    assert slots.load == 1000


def test_a_full_server_turns_others_away() -> None:
    slots, _ = admission(2)
    assert slots.admit("a")
    assert slots.admit("b")
    assert not slots.admit("c")
    assert slots.admit("a")


def test_a_slot_lapses_a_few_seconds_after_the_last_range() -> None:
    slots, clock = admission(1)
    slots.admit("a")
    clock.sleep(LAPSE - 0.1)
    assert not slots.admit("b")
    assert slots.admit("a")
    clock.sleep(LAPSE - 0.1)
    assert not slots.admit("b")
    clock.sleep(0.2)
    assert slots.admit("b")
    assert slots.clients == ("b",)


def test_the_load_is_the_used_share_in_thousandths() -> None:
    slots, clock = admission(64)
    assert slots.load == 0
    for number in range(16):
        slots.admit(f"b{number}")
    assert slots.load == 250
    clock.sleep(LAPSE)
    assert slots.load == 0


def test_the_slot_of_a_quick_board_is_free_soon_after_its_last_range() -> None:
    slots, clock = admission(1)
    for _ in range(STEADY):
        slots.admit("a")
        clock.sleep(0.01)
    clock.sleep(SHORTEST)
    assert slots.admit("b")


def test_a_board_that_pauses_keeps_its_slot_for_as_long_as_its_pauses_go() -> None:
    slots, clock = admission(1)
    for _ in range(STEADY):
        slots.admit("a")
        clock.sleep(0.4)
    clock.sleep(1.0)
    assert not slots.admit("b")
    clock.sleep(0.3)
    assert slots.admit("b")


def test_a_board_that_has_just_begun_keeps_its_slot_for_the_whole_time() -> None:
    slots, clock = admission(1)
    slots.admit("a")
    slots.admit("a")
    clock.sleep(LAPSE - 0.1)
    assert not slots.admit("b")
