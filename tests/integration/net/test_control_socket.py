"""The control network on loopback: several programs of one host, each on its own 127.x.y.1 address."""

import asyncio
import random
import socket
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

import pytest

from boardwright.errors import RefusedError, UsageError
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.plan import BoardPlan
from boardwright.model.software import Target
from boardwright.net.interfaces import missing, present, resolve
from boardwright.net.multicast import Address, ControlSocket, multicast_works
from boardwright.protocol.codec import MAX_DATAGRAM, Received, decode, encode_announcement, encode_offers
from boardwright.protocol.messages import Announcement, GroupQuery, Holding, Offer, Request
from boardwright.protocol.offerer import Catalogued, ServerFacts, answer
from boardwright.protocol.requester import Requester
from boardwright.protocol.timing import RequestTiming
from boardwright.sim.seal import SimSeal, placed

GROUP = "239.255.66.87"
DIGEST = bytes(range(32))
PLAN = BoardPlan(3, {"platform": Target("platform", "1.0", "*", DIGEST.hex())})


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Ear:
    """Collects datagrams; `until` waits for a condition over them."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, Address]] = []
        self._changed = asyncio.Event()

    def __call__(self, data: bytes, sender: Address) -> None:
        self.heard.append((data, sender))
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def run(body: Callable[[ExitStack], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        with ExitStack() as cleanup:
            await body(cleanup)

    asyncio.run(whole())


async def opened(cleanup: ExitStack, ear: Ear, interface: str, **options: Any) -> ControlSocket:
    control = await ControlSocket.open(interfaces=(interface,), on_datagram=ear, **options)
    cleanup.callback(control.close)
    return control


@pytest.fixture
def group() -> Address:
    """A multicast group with a free port; skips where loopback has no multicast."""
    if not asyncio.run(multicast_works("lo", (GROUP, 0), 1.0)):
        pytest.skip("needs multicast on loopback")
    return GROUP, free_port()


def test_what_one_sends_to_the_group_every_listener_on_the_host_hears(group: Address) -> None:
    async def body(cleanup: ExitStack) -> None:
        ears = [Ear() for _ in range(4)]
        for number, ear in enumerate(ears, 1):
            await opened(cleanup, ear, f"127.77.{number}.1", multicast=group, listen_multicast=True)
        sender = await opened(cleanup, Ear(), "127.77.9.1", multicast=group)
        sender.send_group(b"hello")
        for ear in ears:
            await ear.until(lambda ear=ear: bool(ear.heard))  # type: ignore[misc]
            assert [data for data, _ in ear.heard] == [b"hello"]
            assert ear.heard[0][1] == sender.addresses[0]

    run(body)


def test_a_named_interface_and_an_address_on_it_meet_in_the_same_group(group: Address) -> None:
    async def body(cleanup: ExitStack) -> None:
        ear = Ear()
        await opened(cleanup, ear, "lo", multicast=group, listen_multicast=True)
        sender = await opened(cleanup, Ear(), "127.77.9.1", multicast=group)
        sender.send_group(b"hello")
        await ear.until(lambda: bool(ear.heard))

    run(body)


def test_with_several_interfaces_a_request_leaves_by_each_and_answers_come_back_to_each(group: Address) -> None:
    async def body(cleanup: ExitStack) -> None:
        ear, back = Ear(), Ear()
        listener = await opened(cleanup, ear, "127.77.1.1", multicast=group, listen_multicast=True)
        sender = await ControlSocket.open(
            interfaces=("127.77.8.1", "127.77.9.1"), multicast=group, listen_multicast=True, on_datagram=back
        )
        cleanup.callback(sender.close)
        sender.send_group(b"hello")
        await ear.until(lambda: len(ear.heard) == 2)
        assert {address for _, address in ear.heard} == set(sender.addresses)
        for address in sender.addresses:
            listener.send_to(b"answer", address)
        await back.until(lambda: [data for data, _ in back.heard].count(b"answer") == 2)
        sender.send_to(b"one way is enough", listener.addresses[0])
        await ear.until(lambda: len(ear.heard) == 3)

    run(body)


def test_who_does_not_listen_to_the_group_hears_nothing_of_it(group: Address) -> None:
    async def body(cleanup: ExitStack) -> None:
        ear, deaf = Ear(), Ear()
        await opened(cleanup, ear, "127.77.1.1", multicast=group, listen_multicast=True)
        quiet = await opened(cleanup, deaf, "127.77.2.1", multicast=group)
        sender = await opened(cleanup, Ear(), "127.77.9.1", multicast=group)
        sender.send_group(b"to all")
        sender.send_to(b"to you", quiet.addresses[0])
        await deaf.until(lambda: bool(deaf.heard))
        await ear.until(lambda: bool(ear.heard))
        assert [data for data, _ in deaf.heard] == [b"to you"]

    run(body)


def test_without_multicast_the_unicast_list_gets_every_request() -> None:
    async def body(cleanup: ExitStack) -> None:
        ears = [Ear(), Ear()]
        port = free_port()
        servers = [
            await opened(cleanup, ear, f"127.77.{number}.1", multicast=None, bind=(f"127.77.{number}.1", port))
            for number, ear in enumerate(ears, 1)
        ]
        unicast = tuple(server.addresses[0] for server in servers)
        board = await opened(cleanup, Ear(), "127.77.9.1", multicast=None, unicast=unicast)
        board.send_group(b"request")
        for ear in ears:
            await ear.until(lambda ear=ear: bool(ear.heard))  # type: ignore[misc]
            assert ear.heard == [(b"request", board.addresses[0])]

    run(body)


def test_a_server_is_reached_at_its_own_address_although_others_share_the_group_port(group: Address) -> None:
    async def body(cleanup: ExitStack) -> None:
        ears = [Ear(), Ear()]
        for number, ear in enumerate(ears, 1):
            own = (f"127.77.{number}.1", group[1])
            await opened(cleanup, ear, own[0], multicast=group, listen_multicast=True, bind=own)
        board = await opened(cleanup, Ear(), "127.77.9.1", multicast=None)
        board.send_to(b"for the second", ("127.77.2.1", group[1]))
        await ears[1].until(lambda: bool(ears[1].heard))
        assert not ears[0].heard

    run(body)


def test_a_second_server_on_the_same_address_is_refused() -> None:
    async def body(cleanup: ExitStack) -> None:
        own = ("127.77.1.1", free_port())
        await opened(cleanup, Ear(), own[0], multicast=None, bind=own)
        with pytest.raises(RefusedError, match=r"127\.77\.1\.1"):
            await opened(cleanup, Ear(), own[0], multicast=None, bind=own)

    run(body)


def test_an_interface_that_does_not_exist_is_named_in_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"there is no interface 'nosuch0'"):
        asyncio.run(ControlSocket.open(interfaces=("nosuch0",), multicast=None, on_datagram=Ear()))
    assert "neither" in str(missing("a-name-longer-than-linux-takes", socket.AF_INET))
    assert "192.0.2.77" in str(missing("192.0.2.77", socket.AF_INET))
    for interface, address in (("lo", "127.0.0.1"), ("127.1.2.1", "127.1.2.1"), ("nosuch0", None), ("192.0.2.7", None)):
        place = resolve(interface, socket.AF_INET, present())
        assert (place.address if place else None) == address


def test_an_interface_that_does_not_exist_is_waited_for_if_another_one_works() -> None:
    async def body(cleanup: ExitStack) -> None:
        control = await ControlSocket.open(
            interfaces=("nosuch0", "127.77.1.1"), multicast=None, on_datagram=Ear(), bind=("127.77.1.1", 0)
        )
        cleanup.callback(control.close)
        assert [host for host, _ in control.addresses] == ["127.77.1.1"]

    run(body)


def test_ipv6_reaches_as_ipv4_does() -> None:
    if not any(place.address == "::1" for place in present()):
        pytest.skip("this host has no IPv6")

    async def body(cleanup: ExitStack) -> None:
        ear = Ear()
        server = await opened(cleanup, ear, "::1", multicast=None, bind=("::1", 0))
        board = await opened(cleanup, Ear(), "lo", multicast=None, unicast=server.addresses)
        board.send_group(b"request")
        await ear.until(lambda: bool(ear.heard))
        assert ear.heard == [(b"request", board.addresses[0])]
        assert board.address_towards(server.addresses[0]) == "::1"

    run(body)


def test_what_the_kernel_had_no_room_for_is_counted() -> None:
    async def body(cleanup: ExitStack) -> None:
        control = await opened(cleanup, Ear(), "127.77.1.1", multicast=None)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
            for _ in range(20_000):  # nobody takes them: this loop does not give the other one its turn
                mouth.sendto(bytes(1200), control.addresses[0])
        assert control.overflowed() > 0
        control.close()
        assert control.overflowed() > 0

    run(body)


def test_an_unreachable_destination_is_counted_and_nothing_is_raised() -> None:
    async def body(cleanup: ExitStack) -> None:
        control = await opened(cleanup, Ear(), "127.77.1.1", multicast=None, unicast=(("192.0.2.1", 9),))
        control.send_group(b"into the void")
        control.close()
        control.close()
        control.send_to(b"too late", ("127.77.1.1", 9))
        assert control.traffic.sent + control.traffic.unsent == 2
        assert control.traffic.unsent >= 1

    run(body)


def test_a_receiver_that_closes_the_socket_in_the_middle_of_a_burst_ends_it_cleanly() -> None:
    async def body(cleanup: ExitStack) -> None:
        heard = asyncio.Event()

        def close(data: bytes, sender: Address) -> None:
            control.close()
            heard.set()

        control = await ControlSocket.open(interfaces=("127.77.1.1",), multicast=None, on_datagram=close)
        sender = await opened(cleanup, Ear(), "127.77.9.1", multicast=None)
        for _ in range(5):
            sender.send_to(b"burst", control.addresses[0])
        async with asyncio.timeout(10):
            await heard.wait()
        assert control.traffic.received == 1

    run(body)


def test_a_datagram_that_is_too_large_is_recognised_as_such() -> None:
    async def body(cleanup: ExitStack) -> None:
        ear = Ear()
        control = await opened(cleanup, ear, "127.77.1.1", multicast=None)
        sender = await opened(cleanup, Ear(), "127.77.9.1", multicast=None)
        sender.send_to(bytes(9000), control.addresses[0])
        await ear.until(lambda: bool(ear.heard))
        assert len(ear.heard[0][0]) > MAX_DATAGRAM

    run(body)


class Responder:
    """A server's answer on a real socket: decode, offer, send back."""

    def __init__(self, name: str, location: Location) -> None:
        self.facts = ServerFacts("lab", name, location, f"https://{name}:1", f"https://{name}:2")
        self.control: ControlSocket | None = None
        self.seal = SimSeal(name, location)

    def __call__(self, data: bytes, sender: Address) -> None:
        received = decode(data, "lab")
        assert self.control is not None
        if isinstance(received, Received) and isinstance(received.message, Request):
            offer = answer(received.message, self.facts, PLAN, {DIGEST: Catalogued("1.0", Holding.ALL)}, 0)
            assert offer is not None
            for datagram in encode_offers(offer, self.seal, len(data)):
                self.control.send_to(datagram, sender)


@pytest.mark.parametrize("way", ["multicast", "unicast"])
def test_m1_m2_a_board_asks_the_network_and_two_servers_offer(way: str, request: pytest.FixtureRequest) -> None:
    """M1, M2: the request carries the groups, each server answers from its own address how to get the files."""
    group: Address = request.getfixturevalue("group") if way == "multicast" else (GROUP, free_port())

    async def body(cleanup: ExitStack) -> None:
        for chassis in ("1", "2"):
            responder = Responder(f"c{chassis}s1", Location(chassis, "1"))
            own = f"127.77.{chassis}.1"
            responder.control = await ControlSocket.open(
                interfaces=(own,),
                multicast=group,
                listen_multicast=way == "multicast",
                bind=(own, group[1]),
                on_datagram=responder,
            )
            cleanup.callback(responder.control.close)
        requester = Requester(
            cluster="lab",
            board=Board("c1s3", Location("1", "3"), "lc"),
            queries=(GroupQuery("platform"),),
            generation=0,
            known_servers=frozenset({"c1s1", "c2s1"}),
            timing=RequestTiming(),
            rng=random.Random(1),
            now=0.0,
        )
        ear = Ear()
        unicast = (("127.77.1.1", group[1]), ("127.77.2.1", group[1])) if way == "unicast" else ()
        multicast = group if way == "multicast" else None
        board = await opened(cleanup, ear, "127.77.9.1", multicast=multicast, unicast=unicast)
        for datagram in requester.datagrams(0.0):
            board.send_group(datagram)
        await ear.until(lambda: len(ear.heard) >= 2)
        for data, sender in ear.heard:
            received = decode(data, "lab")
            assert isinstance(received, Received)
            offer = placed(received)
            assert isinstance(offer, Offer)
            assert sender == (f"127.77.{offer.chassis}.1", group[1])
            assert requester.hear(offer, 0.01)
        assert {offer.blobs for offer in requester.offers} == {"https://c1s1:2", "https://c2s1:2"}
        assert requester.decided(0.01)

    run(body)


def test_an_announcement_reaches_every_board(group: Address) -> None:
    async def body(cleanup: ExitStack) -> None:
        ears = [Ear() for _ in range(3)]
        for number, ear in enumerate(ears, 1):
            await opened(cleanup, ear, f"127.77.{number}.1", multicast=group, listen_multicast=True)
        server = await opened(cleanup, Ear(), "127.77.9.1", multicast=group)
        server.send_group(encode_announcement(Announcement("lab", "", 7), SimSeal("c1s1", Location("1", "1"))))
        for ear in ears:
            await ear.until(lambda ear=ear: bool(ear.heard))  # type: ignore[misc]
            received = decode(ear.heard[0][0], "lab")
            assert isinstance(received, Received)
            assert placed(received) == Announcement("lab", "c1s1", 7)

    run(body)
