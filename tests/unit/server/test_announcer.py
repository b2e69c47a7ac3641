"""Telling boards of a new plan, with and without multicast."""

import asyncio

import pytest

from boardwright.model.location import Location
from boardwright.net.multicast import Address
from boardwright.protocol.codec import Received, decode
from boardwright.protocol.messages import Announcement
from boardwright.server import announcer as module
from boardwright.server.announcer import Announcer
from boardwright.sim.seal import SimSeal, placed


class Network:
    def __init__(self) -> None:
        self.group: list[bytes] = []
        self.told: list[Address] = []

    def send_group(self, data: bytes) -> None:
        self.group.append(data)

    def send_to(self, data: bytes, address: Address) -> None:
        self.told.append(address)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPREAD", 0.0)


def announced(network: Network, *, multicast: bool, boards: int = 3) -> None:
    async def announce() -> None:
        announcer = Announcer("test", SimSeal("c1s1", Location("1", "1")), network, multicast=multicast)
        for board in range(boards):
            announcer.remember(f"b{board}", ("10.0.0.1", board))
        announcer.remember("b0", ("10.0.0.2", 0))
        announcer.announce(7, 3)
        await asyncio.gather(*announcer._tasks)

    asyncio.run(announce())


def test_the_group_hears_it_once_and_nobody_is_told_apart() -> None:
    network = Network()
    announced(network, multicast=True)
    received = decode(network.group[0], "test")
    assert isinstance(received, Received)
    assert placed(received) == Announcement("test", "c1s1", 7, 3)
    assert network.told == []


def test_without_multicast_every_board_that_asked_is_told_where_it_last_asked_from() -> None:
    network = Network()
    announced(network, multicast=False, boards=250)
    assert len(network.told) == 250
    assert ("10.0.0.2", 0) in network.told
    assert ("10.0.0.1", 0) not in network.told


def test_the_table_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ADDRESSES", 10)
    network = Network()
    announced(network, multicast=False, boards=50)
    assert len(network.told) == 10


def test_ending_cancels_what_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPREAD", 60.0)
    network = Network()

    async def announce_and_end() -> None:
        announcer = Announcer("test", SimSeal("c1s1", Location("1", "1")), network, multicast=True)
        announcer.announce(7)
        announcer.close()
        await asyncio.gather(*announcer._tasks, return_exceptions=True)

    asyncio.run(announce_and_end())
    assert network.group == []
