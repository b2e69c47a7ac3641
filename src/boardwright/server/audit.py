"""The audit log at one server: the commit that records, the copy on its disk, and what is recorded by itself.

Rules:

* Refusals and newer lists of revoked keys are recorded by the active in rounds of its own: the first come from many
  threads and are summed up, the second from anybody, signed by the authority, whether or not the engine answers.
* Trouble is logged once; nothing here may end the loop.
"""

import threading
import time
from pathlib import Path

from boardwright import log
from boardwright.errors import BoardwrightError
from boardwright.model.audit import Act, Action, Actor
from boardwright.server.alarms import Alarms
from boardwright.server.audit_copy import AuditCopy
from boardwright.server.audit_log import AuditLog
from boardwright.server.clocks import Clocks
from boardwright.server.members import Members
from boardwright.server.refusals import Refusals
from boardwright.state.active import ActiveRole
from boardwright.state.kv import KV

FOLDER = "audit"  # in the server's data_dir
EVERY = 1.0  # seconds between rounds
NAMED_KEYS = 20  # of a list of revoked keys, by their first digits
_log = log.get("server.audit")


class Audit:
    """`role` fences what is written, `clocks` say when; `data_dir` is the server's."""

    def __init__(
        self, data_dir: Path, members: Members, kv: KV, role: ActiveRole, clocks: Clocks, alarms: Alarms
    ) -> None:
        identity = members.credentials.identity
        self._actor = Actor(identity.id, identity.role.value, identity.key)
        self._revoked = members.revoked
        self._role = role
        self._trouble = ""
        self._log = AuditLog(kv, role.commit, identity.id, lambda: clocks.judged(alone=True) or clocks.own)
        self.commit = self._log.commit
        self.recorded = self._log.recorded
        self.copy = AuditCopy(data_dir / FOLDER, identity.id, alarms)
        self.refusals = Refusals(time.monotonic)

    def own(self, action: Action) -> Act:
        """What this server does by itself."""
        return Act(self._actor, action)

    def run(self, stop: threading.Event) -> None:
        """Rounds until `stop`."""
        while not stop.wait(EVERY):
            self.round()

    def round(self) -> None:
        """Record what is due, if this server is the active."""
        self.copy.look()
        if self._role.held is None:
            self.refusals.drop()
            return
        try:
            for act, count in self.refusals.due():
                self._log.refused(act, count)
                self.refusals.recorded(act, count)
            self._record_revoked()
        except BoardwrightError as error:
            if str(error) != self._trouble:
                _log.error("not recorded in the audit log", error=str(error), cause=error.__cause__)
            self._trouble = str(error)
        else:
            self._trouble = ""

    def _record_revoked(self) -> None:
        number, keys = self._revoked.number, sorted(self._revoked.keys())
        if number:
            named = ", ".join(key[:12] for key in keys[:NAMED_KEYS])
            act = Act(Actor("authority", "authority"), Action.REVOKE).on(f"list {number}", keys=len(keys), named=named)
            self._log.revoked(number, act)
