"""Which staged group of a board may take over now (pure but for what the hands know of versions).

Rules:

* One group at a time, in the order that requirements between groups ask for (``agent.order``).
* Every other staged group hears why it waits.
* On a board that does not know where it sits (``agent.place``), none may, whatever the order.
"""

from collections.abc import Mapping
from typing import Protocol

from boardwright.agent import deployment as d
from boardwright.agent.deployment import Deployment, Event
from boardwright.agent.order import Release, order
from boardwright.model.software import Target

_BUSY = (d.Activating, d.Probing, d.RollingBack)


class Versions(Protocol):
    """What is known of the versions on the board."""

    def release(self, target: Target) -> Release: ...
    def activation_limit(self, target: Target) -> float: ...


def permissions(groups: Mapping[str, Deployment], versions: Versions, conflict: str = "") -> list[tuple[str, Event]]:
    """One event for each staged group: it may take over, or why not yet; `conflict`: why none on this board may."""
    staged = {group: one.phase.target for group, one in groups.items() if isinstance(one.phase, d.Staged)}
    if not staged:
        return []
    if conflict:
        return [(group, d.Held(target.manifest, conflict)) for group, target in staged.items()]
    busy = next((one for one in groups.values() if isinstance(one.phase, _BUSY)), None)
    running = {group: versions.release(one.running) for group, one in groups.items() if one.running is not None}
    found = order(running, {group: versions.release(target) for group, target in staged.items()})
    events: list[tuple[str, Event]] = []
    for group, target in staged.items():
        if group in found.reasons:
            events.append((group, d.Held(target.manifest, found.reasons[group])))
        elif busy is not None or group != found.sequence[0]:
            before = busy.group if busy is not None else found.sequence[0]
            events.append((group, d.Held(target.manifest, f"waits for its turn after {before}")))
        else:
            events.append((group, d.Permitted(target.manifest, versions.activation_limit(target))))
    return events
