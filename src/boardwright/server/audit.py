"""The audit log at one server: what the parts that change something are handed of it."""

from boardwright.model.audit import Act, Action, Actor
from boardwright.server.audit_log import AuditLog
from boardwright.server.clocks import Clocks
from boardwright.state.active import ActiveRole
from boardwright.state.kv import KV
from boardwright.trust.identity import Identity


class Audit:
    """`role` fences what is written, `clocks` say when."""

    def __init__(self, identity: Identity, kv: KV, role: ActiveRole, clocks: Clocks) -> None:
        self._actor = Actor(identity.id, identity.role.value, identity.key)
        self._log = AuditLog(kv, role.commit, identity.id, lambda: clocks.judged(alone=True) or clocks.own)
        self.commit = self._log.commit

    def own(self, action: Action) -> Act:
        """What this server does by itself."""
        return Act(self._actor, action)
