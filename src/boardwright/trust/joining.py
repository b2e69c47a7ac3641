"""Join tokens: how somebody who has no certificate yet gets one (design section 4).

Rules:

* A token is one word that an operator hands over: the cluster, the digest of its authority's key, so that the joiner
  knows whom it talks to before it sends anything, and a secret.
* The cluster keeps only the digest of the secret, with the role that the token gives, until when it is good and how
  often. Who reads the state learns no token.
* `now` is seconds since the epoch, of the server.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec

from boardwright.errors import MalformedError, RefusedError, UsageError
from boardwright.model.software import check_name
from boardwright.trust.identity import Role

PREFIX = "bwj1."  # says what the word is to whoever finds it; 1 is the version of its form
SECRET = 32  # bytes of randomness
MAX_TOKEN = 512  # characters
MAX_LIFE = 30 * 86_400.0  # seconds; who needs longer makes another
MAX_USES = 10_000  # a whole cluster
ANOTHER = "ask the operator for another one"
_DIGEST = 64  # hex digits


class JoinToken(msgspec.Struct, frozen=True, array_like=True):
    """What the word carries; `authority` is the digest of the authority's key (``identity.key_digest``)."""

    cluster: str
    authority: str
    secret: bytes


class JoinRecord(msgspec.Struct, frozen=True):
    """What the cluster keeps of a token; `until` in seconds since the epoch, `uses` that are left."""

    digest: str
    role: Role
    until: float
    uses: int


def write_token(token: JoinToken) -> str:
    """The word."""
    return PREFIX + urlsafe_b64encode(msgspec.msgpack.encode(token)).decode().rstrip("=")


def read_token(word: str) -> JoinToken:
    """The token in `word`; raises UsageError, which never repeats the word: it may be a good one, mistyped."""
    word = word.strip()
    if not word.startswith(PREFIX) or len(word) > MAX_TOKEN:
        raise UsageError("this is no join token", hint=f"a token begins with {PREFIX} and is copied as a whole")
    try:
        data = word.removeprefix(PREFIX).encode("ascii")
        token = msgspec.msgpack.decode(urlsafe_b64decode(data + b"=" * (-len(data) % 4)), type=JoinToken)
        check_name("cluster", token.cluster)
    except (ValueError, msgspec.MsgspecError, MalformedError) as error:
        raise UsageError("this join token is damaged", hint="copy the token as a whole") from error
    if len(token.secret) != SECRET or len(token.authority) != _DIGEST:
        raise UsageError("this join token is damaged", hint="copy the token as a whole")
    return token


def record_of(token: JoinToken, role: Role, now: float, life: float, uses: int) -> JoinRecord:
    """What the cluster keeps; raises UsageError for bounds that cannot be."""
    if not 0 < life <= MAX_LIFE:
        raise UsageError(f"a token cannot be good for {life:g} s", hint=f"at most {MAX_LIFE / 86_400:g} days")
    if not 0 < uses <= MAX_USES:
        raise UsageError(f"a token cannot be used {uses} times", hint=f"1 to {MAX_USES}")
    return JoinRecord(_digest(token.secret), role, now + life, uses)


def use(record: JoinRecord, secret: bytes, now: float) -> JoinRecord:
    """The record after one use; raises RefusedError if the token is not this one, is over, or is used up."""
    if not hmac.compare_digest(record.digest, _digest(secret)):
        raise RefusedError("this join token is not known here")
    if now > record.until:
        raise RefusedError("this join token is over", hint=ANOTHER)
    if record.uses < 1:
        raise RefusedError("this join token is used up", hint=ANOTHER)
    return msgspec.structs.replace(record, uses=record.uses - 1)


def _digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()
