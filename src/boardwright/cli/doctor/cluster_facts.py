"""What was found out about a cluster from outside: each server's own diagnosis, and what the active knows (pure)."""

import msgspec

from boardwright.cli.doctor.node_facts import Trouble
from boardwright.model.api import BoardStatus
from boardwright.model.diagnosis import Diagnosis


class ServerSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A server at `api`; `diagnosis` is None if `trouble` came instead. `ahead`: its clock less this computer's."""

    id: str
    api: str
    diagnosis: Diagnosis | None = None
    trouble: Trouble | None = None
    ahead: float = 0.0


class ClusterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`now` is this computer's clock. What only the active knows is None if nobody is, or it did not say."""

    cluster: str
    now: float
    servers: tuple[ServerSeen, ...] = ()
    boards: tuple[BoardStatus, ...] | None = None
    joiners: int | None = None

    @property
    def answers(self) -> tuple[Diagnosis, ...]:
        """What the servers that answered say of themselves."""
        return tuple(one.diagnosis for one in self.servers if one.diagnosis is not None)
