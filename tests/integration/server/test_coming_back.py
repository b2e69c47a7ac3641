"""Servers that come back: with an empty disk, or after a long time, they hear what is true before they offer it."""

import shutil
from pathlib import Path

from boardwright.model.api import DeploymentRequest, Health
from boardwright.model.inventory import Board
from boardwright.protocol.messages import Holding, Offer
from tests.etcd_members import members
from tests.integration.server.asker import ask, board
from tests.integration.server.processes import ServerCluster, ServerProcess, Software, until
from tests.integration.server.test_replication import limited

PAYLOAD = 6_000_000  # bytes; two seconds under the cap
SLOW = 'per_board = "3MB/s"'


def deploy(server: ServerProcess, version: str) -> None:
    answer = server.call("POST", "/v1/deployments", DeploymentRequest("platform", version))
    assert answer.status == 200, answer.data


def offer_of(server: ServerProcess, cluster: ServerCluster, asker: Board, want: Software | None = None) -> Offer:
    """Its first answer from now on, however long it takes to start."""
    heard: dict[str, Offer] = {}

    def answers() -> bool:
        heard.update(ask(cluster, asker, [server.id], want=bytes.fromhex(want.digest) if want else None))
        return server.id in heard

    until(answers, f"{server.id} answers")
    return heard[server.id]


def test_a_server_whose_disk_was_emptied_says_preparing_until_it_holds_everything_again(cluster: ServerCluster) -> None:
    other, emptied = cluster.add(1, 1, start=False), cluster.add(1, 2, start=False)
    limited(other, SLOW)
    for server in (other, emptied):
        server.start()
    line_board = board(1, 3)
    cluster.introduce(line_board)
    software = Software("platform", "1.0", (PAYLOAD,))
    assert software.publish(cluster.active()).status == 201
    deploy(cluster.active(), "1.0")
    cluster.everywhere(software)
    emptied.kill()
    shutil.rmtree(emptied.folder / "data")
    emptied.start()

    said: list[Holding] = []
    waits: set[str] = set()

    def offers_it() -> bool:
        said.extend(group.holding for group in offer_of(emptied, cluster, line_board).groups)
        health = emptied.health()
        waits.update(health.waits if isinstance(health, Health) else ())
        return Holding.ALL in said

    until(offers_it, "the emptied server offers the version again")
    assert set(said) == {Holding.PREPARING, Holding.ALL}
    assert "offers of platform 1.0: still being copied to this server" in waits
    for blob, content in zip(software.manifest.blobs, software.contents, strict=True):
        assert emptied.blob(blob.sha256).data == content
    who = cluster.members[line_board.id, line_board.location]
    for path in ("/v1/metadata/timestamp.json", f"/v1/plan/boards/{line_board.id}"):
        assert emptied.call("GET", path, who=who).data == other.call("GET", path, who=who).data


def test_a_server_that_was_away_offers_nothing_of_what_it_knew_before_it_has_heard_what_is_true(
    cluster: ServerCluster, tmp_path: Path
) -> None:
    with members(tmp_path / "etcd") as etcd:
        active, away = (cluster.add(chassis, 1, engine=etcd.engine) for chassis in (1, 2))
        until(lambda: (health := active.health()) and health.role == "active", "the first server is active")
        line_board = board(2, 3)
        cluster.introduce(line_board)
        old, new = Software("platform", "1.0"), Software("platform", "2.0")
        assert old.publish(active).status == 201
        deploy(active, "1.0")
        cluster.everywhere(old)
        away.kill()
        assert new.publish(active).status == 201
        deploy(active, "2.0")
        etcd.halt(etcd.hosts[0])
        away.start()

        heard = [offer_of(away, cluster, line_board, want=old)]
        assert heard[0].generation == 0
        assert all(group.holding is Holding.PREPARING and not group.planned for group in heard[0].groups)
        etcd.go_on(etcd.hosts[0])

        def is_there() -> bool:
            heard.append(offer_of(away, cluster, line_board, want=old))
            return any(group.version == "2.0" and group.holding is Holding.ALL for group in heard[-1].groups)

        until(is_there, "it offers the new version")
        assert {one.generation for one in heard} == {0, 2}
