"""Revoked keys at real servers: who hears of them, who remembers, and what it changes at once."""

import asyncio
from pathlib import Path

import pytest

from boardwright.errors import RefusedError
from boardwright.model.api import BoardList
from boardwright.protocol.messages import Announcement
from boardwright.trust.revocation import Revocations, sign_revocations
from tests.integration.server.asker import announcements, board
from tests.integration.server.processes import ServerCluster, ServerProcess, until

ONE, OTHER = "1" * 64, "2" * 64
SECONDS = 10.0  # "within seconds", on a machine that has other things to do


def number(server: ServerProcess) -> str:
    return server.call("GET", "/v1/health").headers["Boardwright-Revocations"]


def signed(cluster: ServerCluster, number: int, *keys: str) -> bytes:
    return sign_revocations(Revocations("test", number, frozenset(keys)), cluster.identities.issuer.key)


def own_key(server: ServerProcess) -> str:
    """The digest of the key with which this server proves itself."""
    pool = server.lines.manager(retries=False).connection_from_url(server.api)
    line = pool._get_conn()
    line.connect()
    found = server.lines.server(line.certificate)  # type: ignore[attr-defined]  # a line of ours
    line.close()
    assert found is not None
    return found.key


def without_engine(cluster: ServerCluster) -> None:
    """Take the state away from servers that know each other, and start them again."""
    for server in cluster.servers:
        server.kill()
    for file in cluster.folder.glob("state.db*"):
        file.unlink()
    (cluster.folder / "state.db").mkdir()  # no engine can open this
    for server in cluster.servers:
        server.start()
    for server in cluster.servers:
        until(lambda server=server: (health := server.health()) and health.engine, f"{server.id} is without an engine")  # type: ignore[misc]


@pytest.fixture
def pair(cluster: ServerCluster) -> tuple[ServerProcess, ServerProcess]:
    """Two servers that know each other by what is on their disks."""
    first, second = cluster.add(1, 1), cluster.add(2, 1)

    def knows(server: ServerProcess) -> bool:
        mirror: Path = server.folder / "data" / "mirror.json"
        return mirror.exists() and all(one.api.encode() in mirror.read_bytes() for one in (first, second))

    until(lambda: knows(first) and knows(second), "both know both")
    return first, second


def test_a_revocation_needs_no_engine_and_is_everywhere_within_seconds(
    cluster: ServerCluster, pair: tuple[ServerProcess, ServerProcess]
) -> None:
    first, second = pair
    without_engine(cluster)
    stolen = cluster.identities.board("c1s9")
    line = cluster.identities.lines(stolen).manager(retries=False).connection_from_url(second.api)
    assert line.urlopen("POST", "/v1/reports", body=b"[]").status == 202

    data = signed(cluster, 1, stolen.identity.key)
    assert first.call("POST", "/v1/revocations", data).status == 204
    until(lambda: number(first) == number(second) == "1", "both have it", SECONDS)
    with pytest.raises(RefusedError, match="the key of c1s9 is revoked"):  # on the line that is up, by its token
        line.urlopen("POST", "/v1/reports", body=b"[]")

    for lie in (b"lies", signed(cluster, 1, ONE), signed(cluster, 2, OTHER), bytes(2 * 1024 * 1024)):
        answer = second.call("POST", "/v1/revocations", lie)
        assert answer.status in (413, 422)
        assert b"Traceback" not in answer.data
    second.call("POST", "/v1/revocations", signed(cluster, 3, stolen.identity.key, ONE))
    assert second.call("POST", "/v1/revocations", data).status == 422  # a replay
    until(lambda: number(first) == number(second) == "3", "both have the newest", SECONDS)

    second.kill()
    second.start()
    until(second.health, "it answers again")
    assert number(second) == "3"


def test_boards_hear_of_it_from_every_server_and_the_slot_is_free_for_another_key(
    cluster: ServerCluster, pair: tuple[ServerProcess, ServerProcess]
) -> None:
    first, _ = pair
    line_board = board(1, 9)
    cluster.introduce(line_board)
    ((_, old),) = cluster.members.items()
    heard: list[Announcement] = []

    async def revoke_and_listen() -> None:
        ready = asyncio.Event()
        listening = asyncio.create_task(announcements(cluster, 2, heard, ready))
        await ready.wait()
        await asyncio.to_thread(first.call, "POST", "/v1/revocations", signed(cluster, 1, old.identity.key))
        await listening

    asyncio.run(revoke_and_listen())
    assert {(one.server, one.revocations) for one in heard} == {("c1s1", 1), ("c2s1", 1)}

    cluster.members.clear()
    cluster.report(cluster.active(), line_board, 2)  # the card that took its place
    (new,) = cluster.members.values()

    def key() -> str | None:
        listed = cluster.active().get("/v1/boards/c1s9", BoardList)
        assert isinstance(listed, BoardList)
        return listed.boards[0].key

    until(lambda: key() == new.identity.key, "the new key is the board's")


def test_a_server_that_was_away_hears_of_it_and_one_that_is_revoked_ends_and_stays_away(
    cluster: ServerCluster, pair: tuple[ServerProcess, ServerProcess]
) -> None:
    first, second = pair
    second.kill()
    assert first.call("POST", "/v1/revocations", signed(cluster, 1, ONE)).status == 204
    second.start()
    until(second.health, "it answers again")
    until(lambda: number(second) == "1", "it has caught up", SECONDS)

    key = own_key(second)
    assert first.call("POST", "/v1/revocations", signed(cluster, 2, ONE, key)).status == 204
    process = second.process
    assert process is not None
    until(lambda: process.poll() is not None, "it has ended", SECONDS)
    assert process.returncode == 3
    second.start()
    assert second.process is not None
    assert second.process.wait(30) == 3
    assert b"the key of c2s1 is revoked" in (second.folder / "log").read_bytes()
    until(lambda: (health := first.health()) and health.role == "active", "the other one is active")
