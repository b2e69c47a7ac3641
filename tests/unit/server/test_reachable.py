"""Offers name addresses that the sender of the request can reach."""

from boardwright.model.location import Location
from boardwright.protocol.offerer import ServerFacts
from boardwright.server.reachable import facts_for

FACTS = ServerFacts("test", "c1s1", Location("1", "1"), "https://10.1.0.1:6688", "https://10.1.0.1:6689")
SENDER = ("10.2.0.3", 40000)


def towards(address: tuple[str, int]) -> str:
    return {"10.1": "10.1.0.1", "10.2": "10.2.0.1"}[address[0][:4]]


def test_a_server_with_an_address_names_it_to_everybody() -> None:
    tell = facts_for(("10.1.0.1", 6688), ("10.1.0.1", 6689), towards)
    assert tell(FACTS, SENDER) == FACTS


def test_a_server_that_listens_everywhere_names_the_address_that_faces_the_sender() -> None:
    told = facts_for(("0.0.0.0", 6688), ("0.0.0.0", 6689), towards)(FACTS, SENDER)
    assert (told.api, told.blobs) == ("https://10.2.0.1:6688", "https://10.2.0.1:6689")


def test_only_what_listens_everywhere_is_named_anew() -> None:
    told = facts_for(("10.1.0.1", 6688), ("0.0.0.0", 6689), towards)(FACTS, SENDER)
    assert (told.api, told.blobs) == ("https://10.1.0.1:6688", "https://10.2.0.1:6689")
