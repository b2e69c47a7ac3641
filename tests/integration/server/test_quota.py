"""Quotas of real servers' stores: what nobody needs makes room, on every server; what boards need never goes."""

import msgspec

from boardwright.model.api import DeploymentRequest, Problem, RoomRequest, ServerList, ServerStatus, SoftwareList
from boardwright.model.report import DeploymentState, GroupReport
from tests.integration.server.asker import board
from tests.integration.server.processes import ServerCluster, ServerProcess, Software, until

SIZE = 400_000  # bytes of a version
QUOTA = 3 * SIZE + SIZE // 2


def start(cluster: ServerCluster, chassis: int, quota: int) -> ServerProcess:
    server = cluster.add(chassis, 1, start=False)
    config = server.folder / "server.toml"
    config.write_text(f"{config.read_text()}\n[limits]\nstore_quota = {quota}\n")
    server.start()
    until(server.health, f"{server.id} answers")
    return server


def software(version: str) -> Software:
    return Software("platform", version, sizes=(SIZE - 1000, 1000))


def status(cluster: ServerCluster, server: ServerProcess) -> ServerStatus:
    listing = cluster.active().get("/v1/servers", ServerList)
    assert isinstance(listing, ServerList)
    return next(one for one in listing.servers if one.id == server.id)


def holds(cluster: ServerCluster, server: ServerProcess, *versions: str) -> bool:
    return set(status(cluster, server).versions) == {f"platform {version} *" for version in versions}


def deploy(cluster: ServerCluster, version: str, sequence: int) -> None:
    """Deploy to the one board, which says that it runs it."""
    server = cluster.active()
    answer = server.call("POST", "/v1/deployments", DeploymentRequest("platform", version))
    assert answer.status == 200, answer.data
    confirmed = GroupReport(version=version, wanted=version, state=DeploymentState.CONFIRMED)
    cluster.report(server, board(1, 3), sequence, platform=confirmed)


def test_versions_that_nobody_needs_make_room_on_every_server_and_what_boards_need_stays(
    cluster: ServerCluster,
) -> None:
    active = start(cluster, 1, QUOTA)
    cluster.active()
    standby = start(cluster, 2, QUOTA)
    cluster.introduce(board(1, 3))
    for number, version in enumerate("123"):
        software(version).publish(active)
        if version != "2":
            deploy(cluster, version, number + 2)
    answer = active.call("POST", "/v1/blobs/room", RoomRequest(SIZE))
    assert answer.status == 200, answer.data
    assert software("4").publish(active).status == 201
    until(lambda: holds(cluster, active, "1", "3", "4"), "the active holds what is needed")
    until(lambda: holds(cluster, standby, "1", "3", "4"), "the standby, too")
    listing = active.get("/v1/software", SoftwareList)
    assert isinstance(listing, SoftwareList)
    assert [one.version for one in listing.software if one.retired] == ["2"]
    refused = active.call("POST", "/v1/deployments", DeploymentRequest("platform", "2"))
    assert "was retired from the stores" in msgspec.json.decode(refused.data, type=Problem).error
    deploy(cluster, "4", 9)
    too_much = active.call("POST", "/v1/blobs/room", RoomRequest(2 * SIZE))
    problem = msgspec.json.decode(too_much.data, type=Problem)
    assert (too_much.status, problem.exit_code) == (413, 1)
    assert "the publish does not fit: it needs 0.8 MB, the store has 1.2 MB of at most 1.4 MB" in problem.error
    assert holds(cluster, active, "1", "3", "4")


def test_a_standby_with_a_smaller_quota_has_what_the_plan_needs_and_says_what_it_lacks(
    cluster: ServerCluster,
) -> None:
    active = start(cluster, 1, 0)
    cluster.active()
    standby = start(cluster, 2, 2 * SIZE + SIZE // 2)
    cluster.introduce(board(1, 3))
    for version in "12":
        software(version).publish(active)
    until(lambda: holds(cluster, standby, "1", "2"), "the standby copied what fits")
    third = software("3")
    third.publish(active)
    until(lambda: status(cluster, standby).health == "no room for platform 3", "the standby says what it lacks")
    assert "quota" in active.call("GET", "/v1/alarms").data.decode()
    deploy(cluster, "3", 2)
    until(lambda: holds(cluster, standby, "2", "3"), "the standby let go of the oldest that nobody needs")
    assert status(cluster, standby).health == "no room for platform 1"
    assert holds(cluster, active, "1", "2", "3")
