"""The active signs what it commits: plans, snapshot and timestamp, in the very transaction that makes them true.

Rules:

* The state holds every root and the newest of every other role, byte for byte as signed; servers give boards what their
  own copy of it says. What the state lacks at the very beginning comes from the folder that ``init`` made.
* Nothing is committed that this server's key may not sign (``UntrustedError``): the operator has dropped it, or has not
  signed for it yet.
* The time that is signed is this server's clock, unless that is more than a day past the median of its peers' clocks: a
  signed time in the future would poison every board's idea of now.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from boardwright.errors import BoardwrightError, FailedError, UsageError
from boardwright.model.plan import Plan
from boardwright.state.kv import KV, Transaction
from boardwright.state.records import TRUST, TRUST_ROLES, TRUST_ROOTS, root_key
from boardwright.trust.credentials import load_key
from boardwright.trust.names import ONLINE_KEY, PLANS, ROOT_FILE, TARGETS_FILE
from boardwright.trust.offline import MAX_METADATA, SigningKey, signer_of
from boardwright.trust.online import SignedRoles, median
from boardwright.trust.shards import shards_of

AHEAD = 86_400.0  # seconds past the median of the peers' clocks that are signed at most
LOOK_EVERY = 60.0  # seconds; what is due is due for a day
_HINT = "copy the folder that `boardwright init` made, as a whole"


class SignedState(msgspec.Struct, frozen=True):
    """The signed roles as the state has them, with the revisions that a change must compare."""

    signed: SignedRoles
    revisions: dict[str, int]


class Signing:
    """`signer` is this server's online key, `first` what a cluster begins with, `wall` seconds since the epoch.

    `peers` answers the clocks of the other servers that were heard lately, in seconds since the epoch.
    """

    def __init__(
        self,
        signer: SigningKey,
        first: SignedRoles,
        wall: Callable[[], float],
        peers: Callable[[], tuple[float, ...]] = lambda: (),
    ) -> None:
        self._signer = signer
        self._first = first
        self._wall = wall
        self._peers = peers
        self._looked = float("-inf")

    @property
    def key(self) -> str:
        """The id of this server's online key."""
        return self._signer.public_key.keyid

    def begun(self, signed: SignedRoles) -> SignedRoles:
        """The same, or what a cluster begins with if there is nothing yet."""
        return signed if signed.roots else self._first

    def change(self, kv: KV, other: Transaction, plan: Plan | None = None) -> Transaction:
        """`other` with what must be signed beside it; `plan`: the one that it commits. UntrustedError, FailedError."""
        state = read_signed(kv)
        return self.signed(state, state.signed, other, plan)

    def signed(self, state: SignedState, after: SignedRoles, other: Transaction, plan: Plan | None) -> Transaction:
        """`other` with `after` (what `state` becomes by somebody's signature) signed and put, too."""
        after = self.begun(after)
        if plan is None and PLANS not in after.roles:
            plan = Plan()
        made = after.signed(None if plan is None else shards_of(plan), self._signer, self._now())
        puts = changed(state.signed, made)
        compares = {key: state.revisions.get(key, 0) for key in puts}
        return Transaction({**compares, **other.compares}, {**puts, **other.puts})

    def renewal(self, kv: KV, plan: Callable[[], Plan], *, look: bool = False) -> Transaction | None:
        """What signs everything anew, if it is time to, or if nothing was signed yet; `plan` brings the committed one.

        It looks every ``LOOK_EVERY`` seconds, and whenever it is told to `look`.
        """
        now = self._wall()
        if not look and abs(now - self._looked) < LOOK_EVERY:
            return None
        state = read_signed(kv)
        self._looked = now
        if state.signed.roots and not state.signed.due(now):
            return None
        return self.signed(state, state.signed, Transaction({}, {}), plan())

    def _now(self) -> float:
        now, others = self._wall(), self._peers()
        middle = median((*others, now)) if others else None
        if middle is not None and now > middle + AHEAD:
            raise FailedError(
                f"this server's clock is {(now - middle) / 3600:.0f} hours ahead of its peers', nothing is signed",
                hint="set the clock of this control board",
            )
        return now


def read_signed(kv: KV) -> SignedState:
    """What the state has of signed metadata; EngineError."""
    entries = kv.range(TRUST).entries
    return SignedState(
        signed_of({entry.key: entry.value for entry in entries}), {entry.key: entry.revision for entry in entries}
    )


def signed_of(values: Mapping[str, bytes]) -> SignedRoles:
    """The signed roles in records by their keys; it is not looked who signed them."""
    roots = tuple(values[key] for key in sorted(values) if key.startswith(TRUST_ROOTS))
    roles = {key.removeprefix(TRUST_ROLES): data for key, data in values.items() if key.startswith(TRUST_ROLES)}
    return SignedRoles(roots, roles)


def changed(before: SignedRoles, after: SignedRoles) -> dict[str, bytes | None]:
    """The records that make `after` out of `before`."""
    puts: dict[str, bytes | None] = {
        root_key(version): data for version, data in enumerate(after.roots, start=1) if version > len(before.roots)
    }
    puts |= {f"{TRUST_ROLES}{name}": data for name, data in after.roles.items() if before.roles.get(name) != data}
    return puts


def load_signing(folder: Path, trust: Path, wall: Callable[[], float]) -> Signing:
    """The online key in `folder` and what a new cluster begins with in `trust`; raises UsageError."""
    signer = signer_of(load_key(folder / ONLINE_KEY))
    try:
        first = SignedRoles().with_root(_read(trust / ROOT_FILE)).with_targets(_read(trust / TARGETS_FILE))
    except UsageError:
        raise
    except BoardwrightError as error:
        raise UsageError(f"{trust} has no root and targets that fit together: {error}", hint=_HINT) from error
    return Signing(signer, first, wall)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_METADATA + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}", hint=_HINT) from error
    if len(data) > MAX_METADATA:
        raise UsageError(f"{path} has more than {MAX_METADATA} bytes", hint=_HINT)
    return data
