"""Join tokens: how somebody who has no certificate yet gets one (design section 4).

Rules:

* A token is one word that an operator hands over: the cluster, the digest of its authority's key, so that the joiner
  knows whom it talks to before it sends anything, that of the first root of its metadata, and a secret. One without a
  secret (``public``) lets nobody in: who joins by it knows whom it talks to and waits for the operator.
* The cluster keeps only the digest of the secret, with the role that the token gives, until when it is good and how
  often. Who reads the state learns no token.
* Who joins signs what it asks for with the key that it wants certified: nobody gets a certificate for another's key.
* `now` is seconds since the epoch, of the server.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from boardwright.errors import MalformedError, RefusedError, UsageError
from boardwright.model.admission import Joining
from boardwright.model.software import check_name
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Role, check_signature

PREFIX = "bwj1."  # says what the word is to whoever finds it; 1 is the version of its form
SECRET = 32  # bytes of randomness
MAX_TOKEN = 512  # characters
MAX_LIFE = 30 * 86_400.0  # seconds; who needs longer makes another
MAX_USES = 10_000  # a whole cluster
ANOTHER = "ask the operator for another one"
MAX_KEY = 200  # bytes of a public key; a P-256 key has 91
_DIGEST = 64  # hex digits
_HEX = frozenset("0123456789abcdef")
_PURPOSE = b"boardwright joining\0"  # what is signed here can be taken for nothing else


# Who can be let in by a token; an authority and an enroller are made by `init` alone.
GIVEN = (Role.SERVER, Role.BOARD, Role.VIEWER, Role.OPERATOR, Role.ADMIN)
GIVEN_NAMES = ", ".join(role.value for role in GIVEN)


class JoinToken(msgspec.Struct, frozen=True, array_like=True):
    """What the word carries; `authority` is the digest of the authority's key (``identity.key_digest``).

    `root` is the SHA-256 (hex) of the cluster's first ``root.json``; who has no `secret` waits.
    """

    cluster: str
    authority: str
    root: str
    secret: bytes

    @property
    def public(self) -> bool:
        """Whether it lets nobody in."""
        return not self.secret


class JoinRecord(msgspec.Struct, frozen=True):
    """What the cluster keeps of a token; `until` in seconds since the epoch, `uses` that are left."""

    digest: str
    role: Role
    until: float
    uses: int


def given_role(word: str) -> Role:
    """The role of this name that somebody can be let in with; raises UsageError."""
    role = next((role for role in GIVEN if role.value == word), None)
    if role is None:
        raise UsageError(f"{word[:80]!r} is not a role that somebody can join in", hint=f"one of {GIVEN_NAMES}")
    return role


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
    if len(token.secret) not in (0, SECRET) or not is_digest(token.authority) or not is_digest(token.root):
        raise UsageError("this join token is damaged", hint="copy the token as a whole")
    return token


def record_of(digest: str, role: Role, now: float, life: float, uses: int) -> JoinRecord:
    """What the cluster keeps of a token with this `secret_digest`; raises UsageError for bounds that cannot be."""
    if not is_digest(digest):
        raise UsageError("this is not the digest of a join token")
    if not 0 < life <= MAX_LIFE:
        raise UsageError(f"a token cannot be good for {life:g} s", hint=f"at most {MAX_LIFE / 86_400:g} days")
    if not 0 < uses <= MAX_USES:
        raise UsageError(f"a token cannot be used {uses} times", hint=f"1 to {MAX_USES}")
    if role not in GIVEN:
        raise UsageError(f"a token cannot make anybody {role.value}", hint=f"one of {GIVEN_NAMES}")
    return JoinRecord(digest, role, now + life, uses)


def use(record: JoinRecord, secret: bytes, now: float) -> JoinRecord:
    """The record after one use; raises RefusedError if the token is not this one, is over, or is used up."""
    if not hmac.compare_digest(record.digest, secret_digest(secret)):
        raise RefusedError("this join token is not known here")
    if now > record.until:
        raise RefusedError("this join token is over", hint=ANOTHER)
    if record.uses < 1:
        raise RefusedError("this join token is used up", hint=ANOTHER)
    return msgspec.structs.replace(record, uses=record.uses - 1)


def public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """The key as SubjectPublicKeyInfo, DER."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def read_public_key(data: bytes) -> ec.EllipticCurvePublicKey:
    """A P-256 key from DER; raises UntrustedError."""
    if len(data) > MAX_KEY:
        raise UntrustedError(f"a public key has {len(data)} bytes, at most {MAX_KEY} are read")
    try:
        key = serialization.load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UntrustedError("a public key is none") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UntrustedError("a public key is no P-256 key")
    return key


def proved(joining: Joining, cluster: str, key: ec.EllipticCurvePrivateKey) -> Joining:
    """The same, for `key` and signed by it."""
    whole = msgspec.structs.replace(joining, public_key=public_bytes(key.public_key()), proof=b"")
    proof = key.sign(_statement(whole, cluster), ec.ECDSA(hashes.SHA256()))
    return msgspec.structs.replace(whole, proof=proof)


def check_proof(joining: Joining, cluster: str) -> ec.EllipticCurvePublicKey:
    """The key that asks to be certified in `cluster`; raises UntrustedError unless it signed just that."""
    key = read_public_key(joining.public_key)
    check_signature(key, joining.proof, _statement(joining, cluster))
    return key


def _statement(joining: Joining, cluster: str) -> bytes:
    fields = msgspec.structs.astuple(msgspec.structs.replace(joining, proof=b""))
    return _PURPOSE + msgspec.msgpack.encode((cluster, *fields))


def is_digest(text: str) -> bool:
    """Whether this can be the digest of a token or a key."""
    return len(text) == _DIGEST and _HEX.issuperset(text)


def secret_digest(secret: bytes) -> str:
    """SHA-256 in hex, by which the cluster knows a token."""
    return hashlib.sha256(secret).hexdigest()
