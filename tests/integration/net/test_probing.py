"""Asking only to hear who answers: by the group and by addresses apart, and whom the asker believes."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from boardwright.model.location import Location
from boardwright.net.multicast import Address, ControlSocket, multicast_works
from boardwright.net.probing import ASKER, Echo, Question, who_answers
from boardwright.protocol.codec import Received, decode, encode_offers
from boardwright.protocol.messages import Offer, Request
from boardwright.protocol.sealing import Seal
from boardwright.trust.witness import Witness
from tests.identities import Identities

IDENTITIES = Identities("lab")
NEAR, FAR = IDENTITIES.server("c1s1", "1", "1"), IDENTITIES.server("c2s1", "2", "1")
ENOUGH = 20.0  # seconds of patience where everybody answers


@pytest.fixture
def group() -> Address:
    if not asyncio.run(multicast_works("lo", ("239.255.66.91", 0), 1.0)):
        pytest.skip("needs multicast on loopback")
    return "239.255.66.91", random.randint(20_000, 60_000)


def asked(
    group: Address, *seals: Seal, listen: bool = True, requests: list[Request] | None = None, patience: float = ENOUGH
) -> tuple[Echo, Echo]:
    """What is heard by the group and by addresses if servers with these seals are there; `listen`: in the group."""

    def server(seal: Seal, sockets: list[ControlSocket]) -> Callable[[bytes, Address], None]:
        def hear(data: bytes, sender: Address) -> None:
            received = decode(data, "lab")
            if isinstance(received, Received) and isinstance(received.message, Request):
                if requests is not None:
                    requests.append(received.message)
                offer = Offer("lab", received.message.nonce, api="https://127.0.0.1:1")
                sockets[0].send_to(encode_offers(offer, seal)[0], sender)

        return hear

    async def body() -> tuple[Echo, Echo]:
        with ExitStack() as cleanup:
            ends = []
            for seal in seals:
                sockets: list[ControlSocket] = []
                made = await ControlSocket.open(
                    interfaces=("127.0.0.1",),
                    multicast=group,
                    listen_multicast=listen,
                    on_datagram=server(seal, sockets),
                )
                sockets.append(made)
                cleanup.callback(made.close)
                ends += made.addresses
            expected = frozenset({"c1s1", "c2s1"}) if patience == ENOUGH else frozenset()

            def question(**way: object) -> Question:
                return Question(
                    cluster="lab",
                    location=Location("1", "3"),
                    interfaces=("127.0.0.1",),
                    expected=expected,
                    patience=patience,
                    **way,  # type: ignore[arg-type]
                )

            by_group, by_address = await asyncio.gather(
                who_answers(question(multicast=group), Witness(IDENTITIES.authority, time.monotonic())),
                who_answers(question(unicast=tuple(ends)), Witness(IDENTITIES.authority, time.monotonic())),
            )
            return by_group, by_address

    return asyncio.run(body())


def test_it_ends_as_soon_as_everybody_has_answered_and_nobody_takes_it_for_a_board(group: Address) -> None:
    requests: list[Request] = []
    began = time.monotonic()
    by_group, by_address = asked(group, NEAR, FAR, requests=requests)
    assert time.monotonic() - began < ENOUGH / 2
    assert {one.server: one.location for one in by_group.answers.values()} == {
        "c1s1": Location("1", "1"),
        "c2s1": Location("2", "1"),
    }
    assert by_group.looped
    assert by_address.answers.keys() == {"c1s1", "c2s1"}
    assert {(one.board, one.board_type, one.groups) for one in requests} == {(ASKER, "", ())}


def test_who_does_not_hear_the_group_answers_by_its_address_only(group: Address) -> None:
    by_group, by_address = asked(group, NEAR, FAR, listen=False, patience=0.5)
    assert (by_group.answers, by_group.looped) == ({}, True)
    assert by_address.answers.keys() == {"c1s1", "c2s1"}


def test_who_is_no_server_of_the_cluster_is_counted_and_not_believed(group: Address) -> None:
    stranger, board = Identities("lab").server("c1s1", "1", "1"), IDENTITIES.board("c1s9")
    by_group, _ = asked(group, stranger, board, patience=0.5)
    assert by_group.answers == {}
    assert {"untrusted", "no-server"} <= by_group.ignored.keys()


def test_an_interface_that_is_not_there_is_a_sentence() -> None:
    question = Question(
        cluster="lab", location=Location("1", "3"), interfaces=("nope0",), multicast=("239.255.66.91", 6687)
    )
    assert "nope0" in asyncio.run(who_answers(question, Witness(IDENTITIES.authority, 0.0))).trouble
