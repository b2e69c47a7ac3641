"""Who wants in: what a joiner sends and hears, and what an operator sees of it.

Bytes are base64 in JSON; keys and certificates are DER, secrets and signatures raw. What is signed says
``trust.joining``.
"""

import msgspec


class Joining(msgspec.Struct, frozen=True):
    """What somebody without a certificate asks for, signed by the key that it wants certified.

    `role` is '' if the token says it, `secret` that of the token, b'' without one. `chassis`, `slot`, `type` and
    `groups` are a board's; a person has none. `public_key` is a SubjectPublicKeyInfo.
    """

    id: str
    public_key: bytes
    role: str = ""
    chassis: str = ""
    slot: str = ""
    type: str = ""
    groups: tuple[str, ...] = ()
    secret: bytes = b""
    proof: bytes = b""


class JoinAnswer(msgspec.Struct, frozen=True):
    """`chain` is the certificate, and the enroller's behind it if one signed; empty: it waits, `reason` says for what.

    `servers` are URLs of the cluster's API, for a person's folder.
    """

    chain: tuple[bytes, ...] = ()
    reason: str = ""
    servers: tuple[str, ...] = ()


class ClusterAuthority(msgspec.Struct, frozen=True):
    """What anybody may know of a cluster: its authority's certificate, the first root of its metadata and targets.

    Who joins compares the first two with the digests in its token; the root has signed the third.
    """

    cluster: str
    certificate: bytes
    root: bytes
    targets: bytes


class Joiner(msgspec.Struct, frozen=True):
    """Somebody who waits, or was approved; `key` is the digest of its public key, `asked` seconds since the epoch.

    `token` is the digest of its join token, '' without one; `host` the address that asked; `chain` as in JoinAnswer.
    """

    id: str
    role: str
    chassis: str
    slot: str
    key: str
    public_key: bytes
    host: str
    asked: float
    reason: str
    token: str = ""
    type: str = ""
    groups: tuple[str, ...] = ()
    chain: tuple[bytes, ...] = ()


class JoinerList(msgspec.Struct, frozen=True):
    """The one who asked first comes first."""

    joiners: tuple[Joiner, ...]


class Approval(msgspec.Struct, frozen=True):
    """The certificate that the operator signed with the authority's key."""

    certificate: bytes


class NewToken(msgspec.Struct, frozen=True):
    """A join token as the cluster is told of it: `digest` of its secret, good for `seconds` and `uses` joins."""

    digest: str
    role: str
    seconds: float
    uses: int


class TokenStatus(msgspec.Struct, frozen=True):
    """A join token as it stands; `until` in seconds since the epoch, `uses` that are left."""

    digest: str
    role: str
    until: float
    uses: int


class TokenList(msgspec.Struct, frozen=True):
    """The one that ends first comes first."""

    tokens: tuple[TokenStatus, ...]
