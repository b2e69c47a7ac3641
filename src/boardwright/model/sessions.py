"""How a caller proves itself to one server: the bodies of the two session calls (``trust.sessions`` says why).

``GET /v1/session/nonce`` answers a Nonce, ``POST /v1/session`` takes a Proof and answers a Token, which goes with every
other call as ``Authorization: Bearer TOKEN``. Both ports of a server answer them, and a token of one is good at the
other. Bytes are base64 in JSON.
"""

import msgspec

NONCE_PATH = "/v1/session/nonce"
SESSION_PATH = "/v1/session"
SCHEME = "Bearer "  # RFC 6750 section 2.1
MAX_PROOF = 8 * 1024  # bytes; two certificates, a nonce and a signature have less than three thousand


class Nonce(msgspec.Struct, frozen=True):
    nonce: bytes


class Proof(msgspec.Struct, frozen=True):
    """`chain` is the caller's certificate (DER) and, if there is one, its enroller's behind it."""

    chain: tuple[bytes, ...]
    nonce: bytes
    signature: bytes


class Token(msgspec.Struct, frozen=True):
    """`seconds` is how long it is good, at this server only."""

    token: str
    seconds: float
