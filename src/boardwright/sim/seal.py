"""Certificates and signatures of the simulated network: as long as real ones, and true because nobody lies here."""

import msgspec

from boardwright.model.location import Location
from boardwright.protocol.codec import Received
from boardwright.protocol.messages import Announcement, Offer, Request
from boardwright.protocol.sealing import MAX_SIGNATURE

CERTIFICATE_BYTES = 350  # what a real one has; how many groups fit into an offer depends on it


class SimSeal:
    """The seal of one simulated server."""

    def __init__(self, server: str, location: Location) -> None:
        said = msgspec.json.encode([server, location.chassis, location.slot])
        self.certificate = said.ljust(CERTIFICATE_BYTES)

    def sign(self, data: bytes) -> bytes:
        del data
        return bytes(MAX_SIGNATURE)


def placed(received: Received) -> Request | Offer | Announcement:
    """The message with its sender's id and place."""
    message = received.message
    if isinstance(message, Request):
        return message
    server, chassis, slot = msgspec.json.decode(received.certificate, type=tuple[str, str, str])
    if isinstance(message, Announcement):
        return msgspec.structs.replace(message, server=server)
    return msgspec.structs.replace(message, server=server, chassis=chassis, slot=slot)
