"""Rounds of asking where relays answer, too: they are no servers."""

import random

import msgspec

from boardwright.agent.asking import Asking
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.protocol.messages import GroupQuery, Offer
from boardwright.protocol.timing import RequestTiming

BOARD = Board("c1s3", Location("1", "3"), "lc-100g", ("platform",))
TIMING = RequestTiming()


def asked() -> Asking:
    asking = Asking(BOARD, "core1", known={}, period=300.0, timing=TIMING, rng=random.Random(1), now=0.0)
    assert asking.datagrams(1.0, 1, lambda: (GroupQuery("platform", None, bytes(32)),))
    return asking


def offer(asking: Asking, server: str, *, relay: bool) -> Offer:
    return Offer("core1", next(iter(asking.nonces)), server, "1", "4", api="" if relay else "https://a", relay=relay)


class TestARoundThatOnlyRelaysAnswer:
    def test_lasts_as_long_as_one_that_nobody_answers_and_the_next_follows_at_once(self) -> None:
        asking = asked()
        assert asking.hear(offer(asking, "c1s4", relay=True), 1.0)
        assert not asking.take(1.0 + TIMING.give_up - 0.1)
        assert asking.take(1.0 + TIMING.give_up)
        assert asking.next_wakeup() == 1.0 + TIMING.give_up
        assert asking.apis == {}

    def test_is_over_soon_after_a_server_answered(self) -> None:
        asking = asked()
        assert asking.hear(offer(asking, "c1s4", relay=True), 1.0)
        assert asking.hear(offer(asking, "c1s1", relay=False), 1.2)
        assert asking.take(1.2 + TIMING.window)
        assert asking.next_wakeup() > 100.0
        assert asking.apis == {"c1s1": "https://a"}

    def test_a_relay_is_no_server_whatever_it_calls_itself(self) -> None:
        asking = asked()
        lie = msgspec.structs.replace(offer(asking, "c1s4", relay=True), api="https://b")
        assert asking.hear(lie, 1.0)
        assert asking.apis == {}
