"""The messages of the control network (design section 3).

Rules:

* Three kinds: version request (board -> multicast group and unicast list), offer (server or relay -> the
  requester), announcement of a new plan generation (server -> multicast group).
* Unknown fields are ignored; an unknown major version is counted and answered with nothing.
* A datagram is at most ``MAX_DATAGRAM`` bytes. A request is padded to exactly that, and all answers of one
  server to it together are not larger, so that nobody can use a server as an amplifier (the rule of QUIC's
  Initial, RFC 9000 section 14.1).
* Field names are short on the wire, because three or four groups must fit into one offer beside a P-256
  certificate and signature.
"""

import enum

import msgspec

MAJOR = 1
MAX_DATAGRAM = 1200
MAX_GROUPS = 32  # what one request may name; more than any board has


class Kind(enum.IntEnum):
    REQUEST = 1
    OFFER = 2
    ANNOUNCEMENT = 3


class Holding(enum.IntEnum):
    """What the sender of an offer has of a version."""

    ALL = 0
    PART = 1  # then `pieces` says what
    PREPARING = 2
    NONE = 3  # the sender knows the version by the plan but cannot serve it


class GroupQuery(msgspec.Struct, frozen=True, omit_defaults=True, rename={"group": "g", "running": "r", "want": "w"}):
    """One group in a request: its name, the version that runs, and the manifest digest (32 bytes) already wanted."""

    group: str
    running: str | None = None
    want: bytes | None = None


class Request(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={
        "cluster": "c",
        "nonce": "n",
        "board": "b",
        "chassis": "ch",
        "slot": "sl",
        "board_type": "t",
        "generation": "ge",
        "groups": "q",
        "padding": "p",
    },
):
    """A version request (M1): who and where I am, which groups I need, which versions I run.

    `nonce` is 16 random bytes, new for every request and kept over its repetitions.
    """

    cluster: str
    nonce: bytes
    board: str
    chassis: str
    slot: str
    board_type: str
    generation: int = 0
    groups: tuple[GroupQuery, ...] = ()
    padding: bytes = b""


class GroupOffer(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={
        "group": "g",
        "version": "v",
        "manifest": "m",
        "holding": "h",
        "pieces": "p",
        "planned": "pl",
        "copied": "c",
    },
):
    """What the sender has of one version: `manifest` is its digest (32 bytes).

    `planned` is true for the version that the sender's plan names for the board, false for one that the
    board asked for by ``want``. `pieces` (for PART) is a bitmap over the version's pieces, blob after blob.
    `copied` (for PREPARING) counts the bytes copied so far, None: the copying has not begun.
    """

    group: str
    version: str
    manifest: bytes
    holding: Holding = Holding.ALL
    planned: bool = True
    pieces: bytes = b""
    copied: int | None = None


class Offer(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={
        "cluster": "c",
        "nonce": "n",
        "server": "s",
        "chassis": "ch",
        "slot": "sl",
        "relay": "r",
        "load": "l",
        "generation": "ge",
        "api": "a",
        "blobs": "u",
        "groups": "o",
        "revocations": "rv",
    },
):
    """An offer (M2, M4): where I sit, how loaded I am, which version you should run, how to get it from me.

    `load` is the used share of the admission bound in thousandths; 1000 and more means full. `api` and `blobs`
    are base URLs without a slash at the end. `server`, `chassis` and `slot` do not travel: the receiver has them from
    the sender's certificate. `revocations` is the number of the list of revoked keys that the sender has.
    """

    cluster: str
    nonce: bytes
    server: str = ""
    chassis: str = ""
    slot: str = ""
    generation: int = 0
    api: str = ""
    blobs: str = ""
    load: int = 0
    relay: bool = False
    groups: tuple[GroupOffer, ...] = ()
    revocations: int = 0


class Announcement(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={"cluster": "c", "server": "s", "generation": "ge", "revocations": "rv"},
):
    """A new plan generation, or list of revoked keys, is there: ask at once (with jitter).

    `server` does not travel, as in offers.
    """

    cluster: str
    server: str = ""
    generation: int = 0
    revocations: int = 0
