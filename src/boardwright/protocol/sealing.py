"""What is signed of a message, and what signing and believing need (pure).

Rules:

* A signature covers the major version, the kind and the body exactly as they travel, behind a purpose of its own: what
  is signed for a datagram can be taken for nothing else.
* Whose word it is, and where that one sits, is in the certificate beside it and nowhere in the body.
"""

from typing import Protocol

from boardwright.protocol.messages import MAJOR, Kind

_PURPOSE = b"boardwright message\0"
MAX_SIGNATURE = 72  # bytes of a P-256 signature in DER; most have 70 or 71


class Seal(Protocol):
    """Who signs: `certificate` is DER, ``sign`` answers a signature of at most ``MAX_SIGNATURE`` bytes."""

    @property
    def certificate(self) -> bytes: ...

    def sign(self, data: bytes) -> bytes: ...


def statement(kind: Kind, body: bytes) -> bytes:
    """What the sender of a message signs."""
    return _PURPOSE + bytes((MAJOR, kind)) + body
