"""The active signs what it commits: plans, snapshot and timestamp, in the very transaction that makes them true.

Rules:

* The state holds every root and the newest of every other role, byte for byte as signed; servers give boards what their
  own copy of it says. What the state lacks at the very beginning comes from the folder that ``init`` made.
* Nothing is committed that this server's key may not sign (``UntrustedError``): the operator has dropped it, or has not
  signed for it yet.
* The time that is signed is the one that ``clocks`` finds right: a signed time in the future would poison every board's
  idea of now. Before there is a judgement what was signed last is signed again, and nothing is renewed.
* When the operator has dropped an online key, nothing of what it may have said of time and of lasting counts any more.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from boardwright.errors import BoardwrightError, RefusedError, UsageError
from boardwright.model.api import TrustChange
from boardwright.model.plan import Plan
from boardwright.server.clocks import Clocks
from boardwright.state.kv import KV, Transaction
from boardwright.state.records import TRUST, TRUST_ROLES, TRUST_ROOTS, root_key
from boardwright.trust.credentials import load_key
from boardwright.trust.names import ONLINE_KEY, PLANS, ROOT_FILE, TARGETS_FILE
from boardwright.trust.offline import MAX_METADATA, SigningKey, signer_of
from boardwright.trust.online import SignedRoles
from boardwright.trust.shards import shards_of

LOOK_EVERY = 60.0  # seconds; what is due is due for a day
_HINT = "copy the folder that `boardwright init` made, as a whole"


class OnlineKey(NamedTuple):
    """A server's own key, and what its cluster begins with."""

    signer: SigningKey
    first: SignedRoles


class SignedState(msgspec.Struct, frozen=True):
    """The signed roles as the state has them, with the revisions that a change must compare."""

    signed: SignedRoles
    revisions: dict[str, int]


class Signing:
    """`key` is what ``load_online_key`` found in this server's folder."""

    def __init__(self, key: OnlineKey, clocks: Clocks) -> None:
        self._signer = key.signer
        self._first = key.first
        self._clocks = clocks
        self._looked = float("-inf")

    @property
    def key(self) -> str:
        """The id of this server's online key."""
        return self._signer.public_key.keyid

    def begun(self, signed: SignedRoles) -> SignedRoles:
        """The same, or what a cluster begins with if there is nothing yet."""
        return signed if signed.roots else self._first

    def change(self, kv: KV, other: Transaction, plan: Plan | None = None) -> Transaction:
        """`other` with what must be signed beside it; `plan`: the one that it commits. UntrustedError."""
        state = read_signed(kv)
        return self.signed(state, state.signed, other, plan)

    def signed(self, state: SignedState, after: SignedRoles, other: Transaction, plan: Plan | None) -> Transaction:
        """`other` with `after` (what `state` becomes by somebody's signature) signed and put, too."""
        after = self.begun(after)
        if plan is None and PLANS not in after.roles:
            plan = Plan()
        dropped = state.signed.signing_keys - after.signing_keys
        now = self._judged(after)
        if now is None:
            now = (None if dropped else after.time) or self._clocks.own
        made = after.signed(None if plan is None else shards_of(plan), self._signer, now, anew=bool(dropped))
        puts = changed(state.signed, made)
        compares = {key: state.revisions.get(key, 0) for key in puts}
        return Transaction({**compares, **other.compares}, {**puts, **other.puts})

    def restored(self, known: Sequence[SignedRoles], change: TrustChange, plan: Plan) -> SignedRoles:
        """The newest of everything `known`, changed by what the operator has signed, and signed anew for `plan`.

        The version numbers of what is signed are above every one that was ever given out: as many as seconds since the
        epoch, because no cluster signs once a second. UntrustedError, ConflictError, RefusedError (another's key).
        """
        after = self.begun(SignedRoles.newest(known))
        before = after.signing_keys
        if change.root is not None:
            after = after.with_root(change.root)
        if change.targets is not None:
            after = after.with_targets(change.targets)
        if self.key not in after.signing_keys:
            raise RefusedError(
                "the server that is active may not sign for the cluster in this backup",
                hint="its folder must lie beside the operator's, as `init` made it: then restore lets it sign",
            )
        dropped = bool(before - after.signing_keys)
        now = self._judged(after) or self._clocks.own
        return after.signed(shards_of(plan), self._signer, now, anew=dropped, least=int(now))

    @property
    def now(self) -> float:
        """Seconds since the epoch as this server, alone, has them."""
        return self._clocks.own

    def renewal(self, kv: KV, plan: Callable[[], Plan], *, look: bool = False) -> Transaction | None:
        """What signs everything anew, if it is time to, or if nothing was signed yet; `plan` brings the committed one.

        It looks every ``LOOK_EVERY`` seconds, whenever it is told to `look`, and soon again if no clock is judged yet.
        """
        if not look and abs(self._clocks.own - self._looked) < LOOK_EVERY:
            return None
        state = read_signed(kv)
        now = self._judged(self.begun(state.signed))
        if now is None:
            self._looked = float("-inf")
            return None
        self._looked = self._clocks.own
        if state.signed.roots and not state.signed.due(now):
            return None
        return self.signed(state, state.signed, Transaction({}, {}), plan())

    def _judged(self, signed: SignedRoles) -> float | None:
        return self._clocks.judged(alone=len(signed.signing_keys) <= 1)


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


def load_online_key(folder: Path, trust: Path) -> OnlineKey:
    """The online key in `folder` and what a new cluster begins with in `trust`; raises UsageError."""
    signer = signer_of(load_key(folder / ONLINE_KEY))
    try:
        first = SignedRoles().with_root(_read(trust / ROOT_FILE)).with_targets(_read(trust / TARGETS_FILE))
    except UsageError:
        raise
    except BoardwrightError as error:
        raise UsageError(f"{trust} has no root and targets that fit together: {error}", hint=_HINT) from error
    return OnlineKey(signer, first)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_METADATA + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}", hint=_HINT) from error
    if len(data) > MAX_METADATA:
        raise UsageError(f"{path} has more than {MAX_METADATA} bytes", hint=_HINT)
    return data
