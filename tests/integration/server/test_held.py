"""Held versions between real servers: what one hears all withhold, and what one lets go every one tells."""

import msgspec

from boardwright.model.api import DeploymentRequest, ReportsTaken, Retry
from boardwright.model.plan import BoardPlan
from boardwright.model.report import BoardReport, DeploymentState, GroupReport
from tests.integration.server.asker import board
from tests.integration.server.processes import ServerCluster, ServerProcess, Software, until


def told(server: ServerProcess) -> BoardPlan:
    found = server.get("/v1/plan/boards/c1s3", BoardPlan)
    assert isinstance(found, BoardPlan)
    return found


def test_a_board_may_report_to_and_ask_any_server(cluster: ServerCluster) -> None:
    cluster.add(1, 1)
    cluster.add(2, 1)
    line_board = board(1, 3)
    cluster.introduce(line_board)
    active, standby = cluster.active(), cluster.standby()
    software = Software("platform", "1.0")
    software.publish(active)
    assert active.call("POST", "/v1/deployments", DeploymentRequest("platform", "1.0")).status == 200
    until(lambda: told(standby).groups, "the standby knows the plan")

    def say(sequence: int) -> ReportsTaken:
        failed = GroupReport(wanted="1.0", state=DeploymentState.FAILED, reason="it was sick", held=software.digest)
        said = BoardReport(line_board, told(standby).generation, sequence, {"platform": failed})
        who = cluster.identities.board("c1s3", "1", "3")
        return msgspec.json.decode(standby.call("POST", "/v1/reports", [said], who=who).data, type=ReportsTaken)

    assert say(2).retries == {}
    for server in (active, standby):
        until(lambda server=server: told(server).withheld, f"{server.id} withholds the version")
        assert (told(server).groups, told(server).withheld["platform"].reason) == ({}, "it was sick")

    answer = active.call("POST", "/v1/boards/c1s3/retry?group=platform")
    assert answer.status == 200, answer.data
    assert msgspec.json.decode(answer.data, type=Retry) == Retry("c1s3", {"platform": "1.0"}, 1)
    until(lambda: told(standby).retry == 1, "the standby knows of the retry")
    assert say(3).retries == {"c1s3": 1}
    assert "platform" in told(standby).groups
    assert active.call("POST", "/v1/boards/c1s33/retry").status == 422
