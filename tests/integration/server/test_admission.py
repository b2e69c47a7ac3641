"""Joining at real servers: the calls, the redirect of a standby, and what survives the active."""

import msgspec

from boardwright.model.admission import ClusterAuthority, JoinAnswer, Joining, NewToken, TokenList
from boardwright.trust.identity import Authority, Role
from boardwright.trust.issuing import new_key
from boardwright.trust.joining import proved, secret_digest
from tests.integration.server.processes import ServerCluster, until

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
