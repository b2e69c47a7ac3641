"""URLs that a board can reach: a server that listens on every address names the one that faces the sender.

A control board may sit on several networks that do not reach each other (two backplanes). With ``listen`` on
``0.0.0.0`` or ``::`` its offers name, for each board, the address of the network that the board asked on.
"""

from collections.abc import Callable

import msgspec

from boardwright.net.multicast import Address
from boardwright.net.udp import written
from boardwright.protocol.offerer import ServerFacts

WILDCARDS = ("0.0.0.0", "::")


def facing(facts: ServerFacts, host: str, *, api: bool, blobs: bool) -> ServerFacts:
    """The facts with `host` in the URLs that are to name it."""
    return msgspec.structs.replace(
        facts, api=_at(facts.api, host) if api else facts.api, blobs=_at(facts.blobs, host) if blobs else facts.blobs
    )


def facts_for(
    listen: Address, blob_listen: Address, towards: Callable[[Address], str]
) -> Callable[[ServerFacts, Address], ServerFacts]:
    """What to tell a sender, by `towards`, which says the own address that faces it."""
    api, blobs = listen[0] in WILDCARDS, blob_listen[0] in WILDCARDS
    if not api and not blobs:
        return lambda facts, sender: facts

    def facing_sender(facts: ServerFacts, sender: Address) -> ServerFacts:
        host = towards(sender)
        # A link-local address means nothing without the scope, which is another one on the board.
        return facing(facts, host, api=api, blobs=blobs) if host and "%" not in host else facts

    return facing_sender


def _at(url: str, host: str) -> str:
    return f"https://{written((host, int(url.rpartition(':')[2])))}"
