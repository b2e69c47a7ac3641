"""URLs that a board can reach: a server that listens on every address names the one that faces the sender.

A control board may sit on several networks that do not reach each other (two backplanes). With ``listen`` on
``0.0.0.0`` its offers name, for each board, the address of the network that the board asked on.
"""

from collections.abc import Callable

import msgspec

from boardwright.net.multicast import Address
from boardwright.protocol.offerer import ServerFacts

WILDCARD = "0.0.0.0"


def facing(facts: ServerFacts, host: str, *, api: bool, blobs: bool) -> ServerFacts:
    """The facts with `host` in the URLs that are to name it."""
    return msgspec.structs.replace(
        facts, api=_at(facts.api, host) if api else facts.api, blobs=_at(facts.blobs, host) if blobs else facts.blobs
    )


def facts_for(
    listen: Address, blob_listen: Address, towards: Callable[[Address], str]
) -> Callable[[ServerFacts, Address], ServerFacts]:
    """What to tell a sender, by `towards`, which says the own address that faces it."""
    api, blobs = listen[0] == WILDCARD, blob_listen[0] == WILDCARD
    if not api and not blobs:
        return lambda facts, sender: facts
    return lambda facts, sender: facing(facts, towards(sender), api=api, blobs=blobs)


def _at(url: str, host: str) -> str:
    return f"http://{host}:{url.rpartition(':')[2]}"
