"""How a board or an operator proves itself to one host, and the token that it gets for it.

Rules:

* The host gives a nonce; the caller signs (host id, nonce) with the key of its certificate and gets a token. The host's
  id is signed with it, so nothing that a relay or a stolen board hears can be used at another host.
* Neither nonces nor tokens are kept: both carry a MAC under a secret that the process makes at its start, so nobody can
  fill a table, and a restart ends every session.
* A nonce is good for ``NONCE_LIFE`` seconds, a token for ``TOKEN_LIFE``; who is revoked loses his at once, because the
  key rides in the token, and that of who enrolled it.
* `now` is monotonic seconds of the host: no clock is needed.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Identity, Verified

NONCE_LIFE = 30.0  # seconds; a round trip takes milliseconds, a suspended board some seconds
TOKEN_LIFE = 3600.0  # seconds; a new one costs two round trips and a signature
MAX_TOKEN = 2048  # characters
_MAC = 32  # bytes of HMAC-SHA256
_PURPOSE = b"boardwright session\0"  # what is signed here can be taken for nothing else


class Session(msgspec.Struct, frozen=True):
    """Whom a token belongs to; `until` in monotonic seconds of the host."""

    identity: Identity
    until: float


class _Nonce(msgspec.Struct, frozen=True, array_like=True):
    until: float
    salt: bytes


def proof(host: str, nonce: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The caller's signature for the host with this id and its nonce."""
    return key.sign(_statement(host, nonce), ec.ECDSA(hashes.SHA256()))


class Sessions:
    """The host's side; `secret` are 32 random bytes that nobody else has."""

    def __init__(self, host: str, secret: bytes) -> None:
        self._host = host
        self._secret = secret

    def nonce(self, now: float, salt: bytes) -> bytes:
        """A nonce for whoever asks; `salt` are 16 random bytes."""
        return self._sealed("nonce", msgspec.msgpack.encode(_Nonce(now + NONCE_LIFE, salt)))

    def open(self, caller: Verified, nonce: bytes, signature: bytes, now: float) -> str:
        """The token of a caller that proved itself; raises UntrustedError."""
        try:
            given = msgspec.msgpack.decode(self._unsealed(nonce, "nonce"), type=_Nonce)
        except msgspec.MsgspecError as error:
            raise UntrustedError("this is no nonce") from error
        if now > given.until:
            raise UntrustedError("the nonce is too old, ask for another")
        caller.check(signature, _statement(self._host, nonce))
        session = Session(caller.identity, now + TOKEN_LIFE)
        return urlsafe_b64encode(self._sealed("token", msgspec.msgpack.encode(session))).decode()

    def read(self, token: str, now: float, revoked: frozenset[str] = frozenset()) -> Session:
        """Whom the token belongs to; raises UntrustedError if it is not from here, is over, or its key is revoked."""
        if len(token) > MAX_TOKEN:
            raise UntrustedError(f"a token has {len(token)} characters, at most {MAX_TOKEN} are read")
        try:
            session = msgspec.msgpack.decode(self._unsealed(_bytes(token), "token"), type=Session)
        except msgspec.MsgspecError as error:
            raise UntrustedError("this is no token") from error
        if now > session.until:
            raise UntrustedError(f"the session of {session.identity.id} is over")
        session.identity.check_revoked(revoked)
        return session

    def _sealed(self, what: str, data: bytes) -> bytes:
        # The purpose goes into the MAC: a nonce, which anybody gets, must never pass for a token.
        return hmac.digest(self._secret, what.encode() + b"\0" + data, hashlib.sha256) + data

    def _unsealed(self, sealed: bytes, what: str) -> bytes:
        data = sealed[_MAC:]
        if not hmac.compare_digest(sealed, self._sealed(what, data)):
            raise UntrustedError(f"the {what} is not from this host, or from before it was restarted")
        return data


def _statement(host: str, nonce: bytes) -> bytes:
    name = host.encode()
    return _PURPOSE + len(name).to_bytes(2, "big") + name + nonce


def _bytes(token: str) -> bytes:
    try:
        return urlsafe_b64decode(token.encode("ascii"))
    except ValueError as error:
        raise UntrustedError("this is no token") from error
