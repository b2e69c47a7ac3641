"""A planned change of the active: which standby may be the next, and handing the role over to it.

Rules:

* The next active must answer, be healthy and know the plan that this one knows; what keeps a server from it is a named
  reason. Without a name the one that holds most versions is taken, of equals the first by id.
* A standby that is only a moment behind, because it has not said yet that it knows the newest plan, is waited for.
* The change that is under way is finished first; later ones find the new active (503, or a redirect to it).
* The handover and its record in the audit log are one transaction.
* The answer says who took the role, and comes when that is known. A call that is repeated changes nothing: it names
  the epoch that its caller saw.
"""

import enum
from collections.abc import Callable, Sequence

from boardwright import log
from boardwright.errors import FailedError, RefusedError
from boardwright.model.api import ServerList, ServerStatus, Switchover, SwitchoverRequest
from boardwright.model.audit import Act
from boardwright.server.arbitration import Verdict
from boardwright.server.audit_log import Recorded
from boardwright.server.peers import SILENT
from boardwright.state.active import ActiveRole
from boardwright.state.lease import DeposedError

HEALTHY = "healthy"
CATCH_UP = 2.0  # seconds; a server says twice a second how it is
TAKES = 3.0  # seconds; a named successor takes the role in milliseconds, any other after one second
PAUSE = 0.05  # seconds between two looks
_log = log.get("server.switchover")


class Unfit(enum.StrEnum):
    """Why a server cannot be the active now."""

    SILENT = "silent"
    UNHEALTHY = "unhealthy"
    BEHIND = "behind"
    NOT_CHOSEN = "not chosen by the hardware"


def unfit(one: ServerStatus, generation: int) -> Unfit | None:
    """What keeps this standby from the role of an active that knows the plan `generation`."""
    if one.health == SILENT:
        return Unfit.SILENT
    if one.health != HEALTHY:
        return Unfit.UNHEALTHY
    if one.arbitration == Verdict.NO:
        return Unfit.NOT_CHOSEN
    return Unfit.BEHIND if one.generation < generation else None


def choose(standbys: Sequence[ServerStatus], generation: int) -> str | dict[str, Unfit]:
    """The id of the next active of these; if none is fit, why not, by id."""
    reasons = {one.id: unfit(one, generation) for one in standbys}
    fit = [one for one in standbys if reasons[one.id] is None]
    if fit:
        return min(fit, key=lambda one: (-len(one.versions), one.id)).id
    return {server: reason for server, reason in reasons.items() if reason is not None}


class Switching:
    """Of the server `own`; `record` is the audit log's. `clock` is monotonic seconds, `pause` waits so many."""

    def __init__(
        self,
        own: str,
        role: ActiveRole,
        record: Recorded,
        listing: Callable[[], ServerList],
        clock: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:
        self._own = own
        self._role = role
        self._record = record
        self._listing = listing
        self._clock = clock
        self._pause = pause

    def switch(self, request: SwitchoverRequest, act: Act) -> Switchover:
        """Raises RefusedError with the reason, DeposedError, EngineError, FailedError if nobody takes the role."""
        held = self._role.held
        if held is None:
            raise DeposedError(f"server {self._own} is not the active")
        if request.server == self._own or request.epoch not in (0, held.epoch):
            return Switchover(self._own, held.epoch, self._own)
        successor = self._successor(request.server)
        revision = self._record(
            act.on(successor, epoch=held.epoch), lambda record: self._role.hand_over(successor, record)
        )
        _log.info("handed over", to=successor, epoch=held.epoch)
        record = self._role.next_holder(revision, TAKES)
        if record is None:
            hint = "`boardwright status` says which servers answer"
            raise FailedError(f"nobody took the active role within {TAKES:g} s, though {successor} was to", hint=hint)
        return Switchover(record.holder, record.epoch, self._own)

    def _successor(self, wanted: str) -> str:
        deadline = self._clock() + CATCH_UP
        while True:
            found = self._choose(wanted)
            if isinstance(found, str):
                return found
            if Unfit.BEHIND not in found.values() or self._clock() >= deadline:
                raise _refused(found, wanted)
            self._pause(PAUSE)

    def _choose(self, wanted: str) -> str | dict[str, Unfit]:
        servers = self._listing().servers
        if wanted and wanted not in {one.id for one in servers}:
            known = ", ".join(one.id for one in servers)
            raise RefusedError(f"no server {wanted[:200]!r} belongs to this cluster", hint=f"its servers are {known}")
        generation = max((one.generation for one in servers if one.id == self._own), default=0)
        return choose([one for one in servers if one.id != self._own and wanted in ("", one.id)], generation)


def _refused(reasons: dict[str, Unfit], wanted: str) -> RefusedError:
    if not reasons:
        hint = "a second control board with a server is needed; `boardwright servers` lists those there are"
        return RefusedError("this cluster has no other server that could be the active", hint=hint)
    named = ", ".join(f"{server} is {reason}" for server, reason in reasons.items())
    sentence = named if wanted else f"no other server can be the active now: {named}"
    return RefusedError(sentence, hint="`boardwright servers` shows each server's health and generation")
