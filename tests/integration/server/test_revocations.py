"""Revoked keys at real servers: who hears of them, and who remembers."""

from boardwright.trust.revocation import Revocations, sign_revocations
from tests.integration.server.processes import ServerCluster, ServerProcess, until

ONE = "1" * 64


def numbers(server: ServerProcess) -> str:
    return server.call("GET", "/v1/revocations").headers["Boardwright-Revocations"]


def test_a_list_given_to_one_server_is_at_all_and_outlives_them(cluster: ServerCluster) -> None:
    first, second = cluster.add(1, 1), cluster.add(2, 1)
    cluster.active()
    until(lambda: len(first.get("/v1/servers", dict)["servers"]) == 2, "both are registered")  # type: ignore[index]
    said = Revocations("test", 1, frozenset({ONE}))
    data = sign_revocations(said, cluster.identities.issuer.key)
    assert cluster.standby().call("POST", "/v1/revocations", data).status == 204
    until(lambda: numbers(first) == numbers(second) == "1", "both have it")
    first.kill()
    second.kill()
    second.start()
    until(second.health, "it answers again")
    assert second.call("GET", "/v1/revocations").data == data


def test_a_list_that_nobody_signed_is_refused_with_a_sentence(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    answer = server.call("POST", "/v1/revocations", b"lies")
    assert answer.status == 422
    assert b"revoked keys" in answer.data
    assert numbers(server) == "0"
