"""Joining at real servers: the calls, the redirect of a standby, and what survives the active."""

import msgspec
from msgspec.structs import replace

from boardwright.model.admission import ClusterAuthority, JoinAnswer, Joining, NewToken, TokenList
from boardwright.model.api import Alarm, AlarmList, BoardList
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.report import BoardReport
from boardwright.trust.identity import Authority, Role
from boardwright.trust.issuing import new_key
from boardwright.trust.joining import proved, secret_digest
from tests.integration.server.processes import ServerCluster, ServerProcess, until

SECRET = b"s" * 32


def test_a_token_made_at_one_server_is_good_at_every_active_for_its_uses_and_a_standby_says_where(
    cluster: ServerCluster,
) -> None:
    cluster.add(1, 1)
    cluster.add(2, 1)
    active, standby = cluster.active(), cluster.standby()
    token = NewToken(secret_digest(SECRET), "board", 600.0, 2)
    assert active.call("POST", "/v1/tokens", token).status == 201
    told = standby.get("/v1/authority", ClusterAuthority)
    assert isinstance(told, ClusterAuthority)
    authority, key = Authority(told.certificate, "test"), new_key()
    asked = proved(Joining("c1s9", b"", "", "1", "9", "lc", ("platform",), SECRET), "test", key)
    assert standby.call("POST", "/v1/joins", asked, redirect=False).status == 307
    answer = active.call("POST", "/v1/joins", asked)
    assert answer.status == 200
    said = authority.verify(*msgspec.json.decode(answer.data, type=JoinAnswer).chain).identity
    assert (said.id, said.role) == ("c1s9", Role.BOARD)
    active.kill()
    until(lambda: (health := standby.health()) and health.role == "active", "the other one takes over")
    (left,) = standby.get("/v1/tokens", TokenList).tokens  # type: ignore[attr-defined]
    assert left.uses == 1
    thief = proved(Joining("thief", b"", "", "1", "9", "lc", (), SECRET), "test", new_key())
    waits = standby.call("POST", "/v1/joins", thief)
    assert waits.status == 202
    assert "slot 1/9 is that of c1s9" in msgspec.json.decode(waits.data, type=JoinAnswer).reason


def test_a_second_key_for_a_slot_is_an_alarm_at_the_first_report_under_it(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    there, thief = Board("c1s3", Location("1", "3"), "lc"), Board("b9", Location("1", "3"), "lc")
    cluster.introduce(there)
    cluster.report(server, there, 2)
    assert server.get("/v1/alarms", AlarmList) == AlarmList(())
    cluster.report(server, thief)
    until(lambda: alarms(server), "the alarm is there")
    (alarm,) = alarms(server)
    assert (alarm.kind, alarm.subject) == ("slot-conflict", "1/3")
    assert "slot 1/3 is that of c1s3" in alarm.sentence


def test_where_a_board_sits_is_what_its_certificate_says(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    cluster.active()
    liar = Board("c1s3", Location("2", "7"), "lc")
    who = cluster.identities.board("c1s3", "1", "3")
    assert server.call("POST", "/v1/reports", [BoardReport(liar, 0, 1)], who=who).status == 202
    assert server.call("POST", "/v1/reports", [BoardReport(replace(liar, id="c1s4"), 0, 1)], who=who).status == 403
    (one,) = server.get("/v1/boards", BoardList).boards  # type: ignore[attr-defined]
    assert (one.id, one.chassis, one.slot) == ("c1s3", "1", "3")
    assert one.conflict == "location-conflict: it says 2/7, its certificate 1/3"


def alarms(server: ServerProcess) -> tuple[Alarm, ...]:
    found = server.get("/v1/alarms", AlarmList)
    assert isinstance(found, AlarmList)
    return found.alarms


def test_what_is_no_request_to_join_is_refused_with_a_sentence(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    cluster.active()
    for path, body in (
        ("/v1/joins", {"id": "x"}),
        ("/v1/joins", {"id": "x", "public_key": "AAAA"}),
        ("/v1/joins", {"id": "x", "public_key": "A" * 10_000}),
        ("/v1/joins/x/approval", {"certificate": "AAAA"}),
        ("/v1/tokens", {"digest": "x", "role": "admin", "seconds": 1e999, "uses": 1}),
    ):
        assert 400 <= server.call("POST", path, body).status < 500, path
    for path in ("/v1/joins/x", "/v1/tokens/%0a", "/v1/tokens/" + "0" * 64):
        assert 400 <= server.call("DELETE", path).status < 500, path
