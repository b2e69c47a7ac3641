"""The audit log of real servers: a record for each call that changes something, by the one who made it."""

import msgspec
import urllib3

from boardwright.model.admission import Approval, Joining, NewToken
from boardwright.model.api import DeploymentRequest, SignedMetadata, SwitchoverRequest, TrustChange
from boardwright.model.audit import Action, AuditPage, AuditRecord, Head, followed
from boardwright.model.location import Location
from boardwright.model.report import BoardReport, DeploymentState, GroupReport
from boardwright.model.software import Target
from boardwright.server.api.acts import ACTIONS
from boardwright.trust.identity import Role
from boardwright.trust.issuing import new_key
from boardwright.trust.joining import proved, secret_digest
from tests.integration.server.asker import board
from tests.integration.server.processes import ServerCluster, ServerProcess, Software, until


def page(server: ServerProcess, query: str = "") -> AuditPage:
    found = server.get(f"/v1/audit{query}", AuditPage)
    assert isinstance(found, AuditPage)
    return found


def records(server: ServerProcess) -> list[AuditRecord]:
    return [record for _, record in followed((line.encode() for line in page(server).records), Head())]


class Everything:
    """Every call that changes something, made once; it notes what each should leave in the log."""

    def __init__(self, cluster: ServerCluster) -> None:
        self.cluster = cluster
        self.active = cluster.active()
        self.expected: list[tuple[str, str, str]] = []

    def call(self, method: str, template: str, body: object, subject: str, who: str = "somebody", **names: str) -> None:
        answer = self.active.call(method, template.format(**names), body)
        assert answer.status in (200, 201, 202), answer.data
        self.note(method, template, subject, who)

    def note(self, method: str, template: str, subject: str, who: str = "somebody") -> None:
        self.expected.append((ACTIONS[method, template].value, subject, who))

    def software(self) -> None:
        identities = self.cluster.identities
        known = self.active.get("/v1/trust", SignedMetadata)
        assert isinstance(known, SignedMetadata)
        made = identities.publication(known, Target("routing", "1", "*", "ab" * 32), 1)
        self.call("POST", "/v1/trust", TrustChange(targets=made.targets), "targets")
        software, line_board = Software("platform", "1.0", (1000,)), board(1, 3)
        assert software.publish(self.active).status == 201
        self.note("POST", "/v1/versions", "platform 1.0 *")
        assert software.sign(self.active).status == 200  # the same again changes nothing
        self.cluster.introduce(line_board)
        request = DeploymentRequest("platform", "1.0", dry_run=True)
        assert self.active.call("POST", "/v1/deployments", request).status == 200  # nor does this
        self.call("POST", "/v1/deployments", DeploymentRequest("platform", "1.0"), "platform 1.0")
        failed = GroupReport(wanted="1.0", state=DeploymentState.FAILED, reason="it was sick")
        who = identities.board("c1s3", "1", "3")
        self.cluster.members.setdefault(("c1s3", Location("1", "3")), who)
        who = self.cluster.members["c1s3", Location("1", "3")]
        self.active.call("POST", "/v1/reports", [BoardReport(line_board, 1, 5, {"platform": failed})], who=who)
        self.call("POST", "/v1/boards/{board}/retry", None, "c1s3", board="c1s3")

    def people(self) -> None:
        for number, secret in ((9, b"s" * 32), (8, b"t" * 32)):
            digest = secret_digest(secret)
            self.call("POST", "/v1/tokens", NewToken(digest, "board", 600.0, 2), digest)
            asked = proved(
                Joining(f"c1s{number}", b"", "", "1", str(number), "lc", ("platform",), secret), "test", new_key()
            )
            self.call("POST", "/v1/joins", asked, f"c1s{number}", f"c1s{number}")
            assert self.active.call("POST", "/v1/joins", asked).status == 200  # an answer that was lost
            self.call("DELETE", "/v1/tokens/{digest}", None, digest, digest=digest)
        for name, let_in in (("c1s7", True), ("c1s6", False)):
            key, place = new_key(), Location("1", name[-1])
            asked = proved(Joining(name, b"", "board", place.chassis, place.slot, "lc", ("platform",)), "test", key)
            self.call("POST", "/v1/joins", asked, name, name)
            certificate = self.cluster.identities.issuer.issue(name, Role.BOARD, place, key.public_key())
            waits = next(one for one in self.waiting() if one["id"] == name)
            if let_in:
                path = "/v1/joins/{key}/approval"
                self.call("POST", path, Approval(certificate), name, key=str(waits["key"]))
            else:
                self.call("DELETE", "/v1/joins/{key}", None, name, key=str(waits["key"]))

    def handing_over(self) -> None:
        """To the other server; from then on that is the active."""
        successor = self.cluster.standby()
        asked = SwitchoverRequest(successor.id)
        until(lambda: self.active.call("POST", "/v1/switchover", asked).status == 200, "the standby takes the role")
        self.note("POST", "/v1/switchover", successor.id)
        self.before, self.active = self.active, successor

    def waiting(self) -> list[dict[str, object]]:
        found: dict[str, list[dict[str, object]]] = msgspec.json.decode(self.active.call("GET", "/v1/joins").data)
        return found["joiners"]


def test_every_call_that_changes_something_is_one_record_by_its_caller_at_every_server(cluster: ServerCluster) -> None:
    cluster.add(1, 1)
    cluster.add(2, 1)
    every = Everything(cluster)
    every.software()
    every.people()
    every.handing_over()
    asked = {action for action, _, _ in every.expected}
    elsewhere = {Action.RESTORE, Action.UPGRADE, Action.UPGRADE_ABORT}  # they have tests of their own
    assert asked == {action.value for action in ACTIONS.values()} - {action.value for action in elsewhere}
    found = records(every.active)
    assert [(record.action, record.subject, record.who) for record in found] == every.expected
    assert {(record.outcome, record.server) for record in found} == {("done", every.before.id)}
    assert all(record.address.startswith("127.") and len(record.key) == 64 for record in found)
    standby = cluster.standby()
    until(lambda: page(standby).head == page(every.active).head, "the standby has copied all")
    assert records(standby) == found
    assert page(standby, "?after=3&limit=2").records == page(every.active).records[3:5]
    _refusals_at(every, standby)


def _refusals_at(every: Everything, standby: ServerProcess) -> None:
    """Whom a standby is asked by is refused, and recorded, by the active."""
    identities, before = every.cluster.identities, len(records(every.active))
    viewer, thief = identities.person(Role.VIEWER, "screen"), identities.board("c1s3", "1", "3")

    def refused(server: ServerProcess, method: str, path: str, who: object = viewer) -> None:
        http = identities.lines(who).manager()  # type: ignore[arg-type]
        answer = http.request(method, server.api + path, body=b"{}", retries=urllib3.Retry(3, raise_on_status=False))
        assert answer.status == 403, (answer.status, answer.data)

    for _ in range(20):
        refused(standby, "POST", "/v1/deployments")
    refused(standby, "POST", "/v1/tokens", thief)
    refused(every.active, "GET", "/v1/boards", thief)
    assert standby.call("GET", "/v1/audit", who=viewer).status == 403
    until(lambda: len(records(every.active)) >= before + 3, "the refusals are recorded")
    found = {(record.who, record.action): record for record in records(every.active)[before:]}
    assert set(found) == {("screen", "deploy"), ("c1s3", "token-create"), ("c1s3", "call")}
    assert {record.outcome for record in found.values()} == {"refused"}
    assert found["screen", "deploy"].subject == "POST /v1/deployments"
    assert "screen is viewer and may not" in found["screen", "deploy"].details["why"]
