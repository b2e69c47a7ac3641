"""Requests, offers and bytes from real server processes (M6, M7)."""

import asyncio

import msgspec

from boardwright.model.api import Deployment, DeploymentRequest
from boardwright.model.plan import BoardPlan
from boardwright.protocol.messages import Announcement, Holding
from tests.integration.server.asker import announcements, ask, board
from tests.integration.server.processes import ServerCluster, ServerProcess, Software, until


def blob(server: ServerProcess, sha256: str) -> bytes:
    answer = server.blob(sha256)
    assert answer.status == 200
    return answer.data


def test_m6_every_control_board_offers_and_sends_the_version_at_the_same_time(cluster: ServerCluster) -> None:
    for chassis, slot in ((1, 1), (1, 2), (2, 1), (2, 2)):
        cluster.add(chassis, slot, start=False).start()
    line_board = board(2, 5)
    cluster.introduce(line_board)
    software = Software("platform", "1.0")
    assert software.publish(cluster.active()).status == 201
    cluster.everywhere(software)
    assert cluster.active().call("POST", "/v1/deployments", DeploymentRequest("platform", "1.0")).status == 200

    def offers_of_all() -> bool:
        offers = ask(cluster, line_board, [server.id for server in cluster.servers])
        return len(offers) == 4 and all(
            [(group.version, group.holding) for group in offer.groups] == [("1.0", Holding.ALL)]
            for offer in offers.values()
        )

    until(offers_of_all, "four servers offer the planned version")
    for server in cluster.servers:
        assert blob(server, software.digest) == software.encoded
        assert [blob(server, ref.sha256) for ref in software.manifest.blobs] == software.contents


def test_m7_a_control_board_takes_a_request_answers_with_its_place_and_sends_the_files(cluster: ServerCluster) -> None:
    server = cluster.add(3, 7)
    line_board = board(3, 2)
    cluster.introduce(line_board)
    software = Software("platform", "1.0")
    software.publish(server)
    server.call("POST", "/v1/deployments", DeploymentRequest("platform", "1.0"))
    offer = ask(cluster, line_board, [server.id])[server.id]
    assert (offer.chassis, offer.slot, offer.generation) == ("3", "7", 1)
    assert (offer.api, offer.blobs) == (server.api, server.blobs)
    assert offer.groups[0].manifest.hex() == software.digest
    assert blob(server, software.manifest.blobs[0].sha256) == software.contents[0]


def test_a_unicast_request_is_answered_like_a_multicast_one(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    offers = ask(cluster, board(1, 4), [server.id], unicast=((server.host, cluster.port),))
    assert offers[server.id].server == server.id


def test_a_board_that_nobody_listed_reports_and_gets_what_the_policy_says(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    cluster.introduce(board(1, 3))
    Software("platform", "1.0").publish(server)
    server.call("POST", "/v1/deployments", DeploymentRequest("platform", "1.0"))
    newcomer = board(1, 9)
    ask(cluster, newcomer, [server.id])
    cluster.report(server, newcomer)

    def planned() -> bool:
        return bool(ask(cluster, newcomer, [server.id])[server.id].groups)

    until(planned, "the newcomer has a plan")


def test_every_server_announces_the_new_generation(cluster: ServerCluster) -> None:
    cluster.add(1, 1)
    cluster.add(2, 1)
    cluster.introduce(board(1, 3))
    active = cluster.active()
    Software("platform", "1.0").publish(active)
    heard: list[Announcement] = []

    async def deploy_and_listen() -> None:
        ready = asyncio.Event()
        listening = asyncio.create_task(announcements(cluster, 2, heard, ready))
        await ready.wait()
        request = DeploymentRequest("platform", "1.0")
        await asyncio.to_thread(active.call, "POST", "/v1/deployments", request)
        await listening

    asyncio.run(deploy_and_listen())
    assert {(announcement.server, announcement.generation) for announcement in heard} == {("c1s1", 1), ("c2s1", 1)}


def test_serving_goes_on_without_the_engine_and_after_a_restart_without_it(cluster: ServerCluster) -> None:
    """Design section 8: serving never depends on the engine."""
    server = cluster.add(1, 1)
    line_board = board(1, 3)
    cluster.introduce(line_board)
    software = Software("platform", "1.0")
    software.publish(server)
    server.call("POST", "/v1/deployments", DeploymentRequest("platform", "1.0"))
    server.kill()
    for file in cluster.folder.glob("state.db*"):
        file.unlink()
    (cluster.folder / "state.db").mkdir()  # no engine can open this
    server.start()
    until(server.health, "the server answers")
    health = server.health()
    assert health is not None
    assert health.engine
    assert health.generation == 1
    until(
        lambda: [group.holding for group in ask(cluster, line_board, [server.id])[server.id].groups] == [Holding.ALL],
        "the version is offered",
    )
    assert blob(server, software.manifest.blobs[0].sha256) == software.contents[0]
    answer = server.call("POST", "/v1/deployments", DeploymentRequest("platform", "1.0"))
    assert answer.status == 503
    assert b'"exit_code":4' in answer.data


def test_a_deployment_reaches_the_plan_of_every_server(cluster: ServerCluster) -> None:
    cluster.add(1, 1)
    cluster.add(2, 1)
    cluster.introduce(board(1, 3), board(2, 3))
    active, standby = cluster.active(), cluster.standby()
    Software("platform", "1.0").publish(active)
    answer = active.call("POST", "/v1/deployments", DeploymentRequest("platform", "1.0", ("chassis=2",)))

    deployment = msgspec.json.decode(answer.data, type=Deployment)
    assert deployment.rollout == "r1"
    assert [change.board for change in deployment.changes] == ["c2s3"]
    until(lambda: b'"1.0"' in standby.call("GET", "/v1/plan/boards/c2s3").data, "the standby knows the plan")
    assert standby.get("/v1/plan/boards/c1s3", BoardPlan) == BoardPlan(1)
