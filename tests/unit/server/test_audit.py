"""What the active records by itself, in rounds."""

from pathlib import Path

import pytest

from boardwright.model.audit import Action
from boardwright.server.alarms import Alarms
from boardwright.server.audit import Audit
from boardwright.server.clocks import Clocks
from boardwright.server.members import Members
from boardwright.state.active import ActiveRole
from boardwright.state.kv import EngineError, Transaction
from boardwright.state.memory_kv import MemoryKV
from boardwright.trust.revocation import Revocations, sign_revocations
from tests.tls import LAB
from tests.unit.server.builders import act, audit_records


class Torn(MemoryKV):
    """An engine that does not answer while it is `down`."""

    down = False

    def commit(self, transaction: Transaction) -> int:
        if self.down:
            raise EngineError("no quorum")
        return super().commit(transaction)


class Place:
    def __init__(self, folder: Path) -> None:
        self.kv = Torn()
        self.members = Members(folder, LAB.server("c1s1"), dict)
        self.alarms = Alarms("c1s1", lambda: 0.0)
        self.role = ActiveRole(self.kv, "c1s1")
        self.role.tick()
        self.audit = self.server(folder)

    def server(self, folder: Path) -> Audit:
        clocks = Clocks("c1s1", lambda: 1000.0, lambda: 0.0, self.alarms)
        return Audit(folder, self.members, self.kv, self.role, clocks, self.alarms)

    def revoke(self, number: int, *keys: str) -> None:
        said = Revocations(LAB.cluster, number, frozenset(keys))
        assert self.members.gossip.take(sign_revocations(said, LAB.issuer.key))

    def told(self) -> list[tuple[str, str, str, int]]:
        return [(one.action, one.outcome, one.subject, one.count) for one in audit_records(self.kv)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_each_newer_list_of_revoked_keys_is_one_record_whichever_server_is_active(place: Place, tmp_path: Path) -> None:
    place.audit.round()
    assert place.told() == []
    place.revoke(1, "1" * 64)
    for _ in range(3):
        place.audit.round()
    place.server(tmp_path).round()
    place.revoke(2, "1" * 64, "2" * 64)
    place.server(tmp_path).round()
    place.audit.round()
    assert place.told() == [("revoke", "done", "list 1", 1), ("revoke", "done", "list 2", 1)]
    first = audit_records(place.kv)[0]
    assert (first.who, first.at, first.details) == ("authority", 1000.0, {"keys": "1", "named": "1" * 12})


def test_refusals_wait_for_an_engine_that_does_not_answer(place: Place) -> None:
    place.kv.down = True
    for _ in range(3):
        place.audit.refusals.note(act(Action.DEPLOY).on("POST /v1/deployments"))
        place.audit.round()
    place.kv.down = False
    place.audit.round()
    assert place.told() == [("deploy", "refused", "POST /v1/deployments", 3)]


def test_a_server_that_is_not_the_active_records_nothing(place: Place) -> None:
    place.role.release()
    place.revoke(1, "1" * 64)
    place.audit.refusals.note(act())
    place.audit.round()
    assert place.told() == []
    assert place.audit.refusals.due() == []  # nor later, should it become the active again
