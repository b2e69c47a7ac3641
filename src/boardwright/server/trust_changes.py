"""The operator changes who may sign what: a new root, new delegations.

Rules:

* The change is signed by the operator, away from the cluster; the active takes it as TUF lets a client take it, signs
  plans, snapshot and timestamp over it, and commits all of it at once.
* What an active may not sign afterwards, because its own key is what was dropped, it refuses: another server must be
  active first.
"""

from boardwright.errors import RefusedError, UsageError
from boardwright.model.api import TrustChange
from boardwright.model.audit import Act
from boardwright.server.audit_log import AuditedCommit
from boardwright.server.facts import read_facts
from boardwright.server.mirror import Mirror
from boardwright.server.publishing import SEEN_WITHIN
from boardwright.server.signing import Signing, read_signed
from boardwright.state.kv import KV, Transaction
from boardwright.trust.online import SignedRoles


class TrustChanges:
    """Commits by `commit` (see ``audit_log``)."""

    def __init__(self, kv: KV, commit: AuditedCommit, mirror: Mirror, signing: Signing) -> None:
        self._kv = kv
        self._commit = commit
        self._mirror = mirror
        self._signing = signing

    def change(self, change: TrustChange, act: Act) -> SignedRoles:
        """What is signed after the change. UntrustedError, ConflictError (somebody was first), RefusedError."""
        if change.root is None and change.targets is None:
            raise UsageError("nothing is changed", hint="send the next root, the next targets role, or both")
        state = read_signed(self._kv)
        after = self._signing.begun(state.signed)
        if change.root is not None:
            after = after.with_root(change.root)
        if change.targets is not None:
            after = after.with_targets(change.targets)
        if self._signing.key not in after.signing_keys:
            raise RefusedError(
                "this change drops the key of the server that is active, which would have to sign it",
                hint="stop that server; another takes over within seconds, then say it again",
            )
        made = self._signing.signed(state, after, Transaction({}, {}), read_facts(self._kv).plan)
        what = [name for name, data in (("root", change.root), ("targets", change.targets)) if data is not None]
        done = act.on(" and ".join(what), root=len(after.roots), signers=len(after.signing_keys))
        self._mirror.wait_for(self._commit(made, done), SEEN_WITHIN)
        return read_signed(self._kv).signed
