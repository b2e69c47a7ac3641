"""Starting, stopping, dying and taking over of real server processes."""

import contextlib
import signal
import subprocess
import time

import msgspec
import urllib3

from boardwright.model.api import (
    BoardList,
    DeploymentRequest,
    Problem,
    RolloutList,
    ServerList,
    Switchover,
    SwitchoverRequest,
)
from boardwright.model.report import DeploymentState, Explanation, GroupReport
from boardwright.model.sessions import SCHEME
from boardwright.model.software import digest_of
from tests.integration.server.asker import board
from tests.integration.server.processes import ServerCluster, ServerProcess, Software, until


def problem(answer: urllib3.BaseHTTPResponse) -> Problem:
    return msgspec.json.decode(answer.data, type=Problem)


def start_again(server: ServerProcess) -> subprocess.CompletedProcess[str]:
    return subprocess.run(server.command(), capture_output=True, text=True, timeout=20, check=False)


def test_sigterm_and_sigint_end_a_server_in_order_within_three_seconds(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    cluster.active()
    for number in (signal.SIGTERM, signal.SIGINT):
        begun = time.monotonic()
        assert server.end(number) == 0
        assert time.monotonic() - begun < 3
        server.start()
        until(server.health, "the server answers again")


def test_an_active_that_ends_in_order_hands_over_at_once(cluster: ServerCluster) -> None:
    cluster.add(1, 1)
    cluster.add(2, 1)
    active, standby = cluster.active(), cluster.standby()
    active.end()

    def took_over() -> bool:
        health = standby.health()
        return health is not None and health.role == "active"

    until(took_over, "the standby takes over", patience=2.0)


def test_a_switchover_makes_the_named_server_the_active_and_changes_go_on(cluster: ServerCluster) -> None:
    for slot in (1, 2, 3):
        cluster.add(1, slot)
    active = cluster.active()
    chosen = next(server for server in reversed(cluster.servers) if server is not active)
    everybody = {server.id for server in cluster.servers}

    def listed() -> bool:
        said = msgspec.json.decode(active.call("GET", "/v1/servers").data, type=ServerList).servers
        return {one.id for one in said if one.health == "healthy"} == everybody

    until(listed, "everybody said how it is")
    begun = time.monotonic()
    answer = active.call("POST", "/v1/switchover", SwitchoverRequest(chosen.id))
    assert answer.status == 200, answer.data
    assert time.monotonic() - begun < 2.0
    done = msgspec.json.decode(answer.data, type=Switchover)
    assert (done.server, done.before) == (chosen.id, active.id)
    sha256 = digest_of(b"after")
    assert chosen.call("PUT", f"/v1/blobs/{sha256}", b"after", redirect=False).status == 201
    refused = chosen.call("POST", "/v1/switchover", SwitchoverRequest("c9s9"))
    assert (refused.status, problem(refused).exit_code) == (409, 3)
    assert "no server 'c9s9'" in problem(refused).error


def test_a_second_start_is_refused_with_one_sentence_and_a_stale_lock_is_no_obstacle(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    second = start_again(server)
    assert second.returncode == 3
    assert "is in use by another server" in second.stderr
    assert "Traceback" not in second.stderr
    server.kill()
    server.start()
    until(server.health, "the server starts on the stale lock")


def test_a_taken_port_is_refused_with_its_address_and_what_to_do(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    other = cluster.add(1, 2, start=False)
    config = other.folder / "server.toml"
    config.write_text(config.read_text().replace(other.blobs[8:], server.blobs[8:]))
    refused = start_again(other)
    assert refused.returncode == 3
    host, port = server.blobs[8:].split(":")
    assert host in refused.stderr
    assert port in refused.stderr
    assert "hint:" in refused.stderr


def test_a_wrong_configuration_is_exit_2(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1, start=False)
    (server.folder / "server.toml").write_text("[cluster]\nname = 1\n")
    assert start_again(server).returncode == 2


def test_a_standby_redirects_changes_and_an_operator_ends_at_the_active(cluster: ServerCluster) -> None:
    cluster.add(1, 1)
    cluster.add(2, 1)
    active, standby = cluster.active(), cluster.standby()
    answer = standby.call("POST", "/v1/deployments?x=1", DeploymentRequest("platform", "1"), redirect=False)
    assert answer.status == 307
    assert answer.headers["location"] == f"{active.api}/v1/deployments?x=1"
    software = Software("platform", "1")
    for content in software.contents:
        assert standby.call("PUT", f"/v1/blobs/{digest_of(content)}", content, redirect=False).status == 307


def test_without_an_active_a_change_is_answered_503_and_exit_code_4(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1, engine="sqlite:/proc/nowhere/state.db")
    answer = server.call("POST", "/v1/deployments", DeploymentRequest("platform", "1"))
    assert answer.status == 503
    assert problem(answer).exit_code == 4


def test_after_kill_9_of_the_active_another_takes_changes_and_has_what_was_committed(cluster: ServerCluster) -> None:
    cluster.add(1, 1)
    cluster.add(2, 1)
    cluster.introduce(board(1, 3))
    active, standby = cluster.active(), cluster.standby()
    first, second = Software("platform", "1"), Software("platform", "2")
    assert first.publish(active).status == 201
    assert active.call("POST", "/v1/deployments", DeploymentRequest("platform", "1")).status == 200
    active.kill()
    until(lambda: (health := standby.health()) and health.role == "active", "the standby takes over")
    assert second.publish(standby).status == 201
    answer = standby.call("POST", "/v1/deployments", DeploymentRequest("platform", "2"))
    assert answer.status == 200, answer.data
    assert msgspec.json.decode(answer.data)["generation"] == 2
    assert [rollout.id for rollout in standby.get("/v1/rollouts", RolloutList).rollouts] == ["r1", "r2"]
    servers = {server.id: server.health for server in standby.get("/v1/servers", ServerList).servers}
    assert servers[active.id] == "silent"
    active.start()
    until(active.health, "the killed server is back")
    until(
        lambda: {server.health for server in standby.get("/v1/servers", ServerList).servers} == {"healthy"},
        "both are healthy",
    )


def test_what_boards_tell_a_standby_is_seen_at_the_active_and_at_the_one_after_it(cluster: ServerCluster) -> None:
    cluster.add(1, 1)
    cluster.add(2, 1)
    active, standby = cluster.active(), cluster.standby()
    line_board = board(2, 3)
    cluster.report(standby, line_board, 5, platform=GroupReport(version="7", state=DeploymentState.PROBING))

    def seen_at(server: ServerProcess) -> bool:
        answer = server.call("GET", "/v1/boards/c2s3")
        if answer.status != 200:
            return False
        (status,) = msgspec.json.decode(answer.data, type=BoardList).boards
        return status.groups["platform"].state is DeploymentState.PROBING

    until(lambda: seen_at(active), "the active knows")
    assert active.get("/v1/boards/c2s3/explanations", list[Explanation]) == []
    active.kill()
    until(lambda: (health := standby.health()) and health.role == "active", "the standby takes over")
    assert seen_at(standby)


def test_a_sender_that_stalls_does_not_hold_up_the_end(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    cluster.active()
    manager = server.lines.manager()
    with manager.connection_from_url(server.api) as pool, contextlib.closing(pool._new_conn()) as stalled:
        stalled.connect()
        stalled.putrequest("PUT", f"/v1/blobs/{'0' * 64}")
        stalled.putheader("Authorization", SCHEME + server.lines.token(server.id))
        stalled.putheader("Content-Length", "1000000")
        stalled.endheaders()
        stalled.send(b"x" * 1000)
        until(lambda: list((server.folder / "data" / "store").glob(".incoming*")), "the upload began")
        begun = time.monotonic()
        assert server.end() == 0
        assert time.monotonic() - begun < 3
    assert b"Traceback" not in (server.folder / "log").read_bytes()
    server.start()
    until(server.health, "the server is back")
    assert not list((server.folder / "data" / "store").glob(".incoming*"))
