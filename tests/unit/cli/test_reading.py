"""The commands that look: tables for people, the documented JSON for programs."""

import msgspec
import pytest

from boardwright.cli import output
from boardwright.errors import UnreachableError
from boardwright.model.api import BoardList, BoardStatus, Health, ServerList
from boardwright.model.report import DeploymentState, GroupReport
from tests.unit.cli.conftest import DOWNLOADING, Command, FakeCluster, rollout


def test_boards_json_has_the_documented_shape(command: Command) -> None:
    assert command("boards", "-o", "json").json == {
        "boards": [
            {
                "id": "c1s3",
                "chassis": "1",
                "slot": "3",
                "type": "lc",
                "generation": 2,
                "seen": 0.5,
                "groups": {
                    "platform": {
                        "version": "1.0",
                        "wanted": "2.0",
                        "state": "downloading",
                        "reason": "",
                        "server": {"id": "c1s1", "chassis": "1", "slot": "1", "tier": "same-chassis"},
                        "bytes": {"same-board": 0, "same-chassis": 500, "elsewhere": 0},
                        "total": 1000,
                        "failovers": 1,
                        "seconds": 1.5,
                        "log": "",
                        "held": "",
                        "relayed": 0,
                        "givers": {},
                    }
                },
                "conflict": "",
                "key": None,
            }
        ]
    }


def test_servers_json_has_the_documented_shape(command: Command) -> None:
    found = command("servers", "-o", "json").json
    assert isinstance(found, dict)
    assert found["servers"][0] == {
        "id": "c1s1",
        "chassis": "1",
        "slot": "1",
        "role": "active",
        "health": "healthy",
        "epoch": 3,
        "generation": 2,
        "versions": ["platform 2.0 *"],
        "bytes_served": 134217728,
    }


def test_boards_say_place_versions_state_progress_and_source(command: Command) -> None:
    header, line = command("boards").out.splitlines()
    assert header.split()[:4] == ["board", "chassis", "slot", "type"]
    for word in ("c1s3", "1.0", "2.0", "downloading", "50 %", "c1s1 (same-chassis)", "0 s ago"):
        assert word in line


def test_a_board_that_was_never_heard_has_a_line_too(command: Command, cluster: FakeCluster) -> None:
    cluster.board_list = BoardList((BoardStatus("c9s9", "9", "9", "lc", 0, None, {}),))
    line = command("boards").out.splitlines()[1]
    assert "c9s9" in line
    assert "never" in line


def test_a_reason_is_not_cut_off_in_a_pipe(command: Command, cluster: FakeCluster) -> None:
    reason = "the health check said no, " * 20
    group = msgspec.structs.replace(DOWNLOADING, reason=reason.strip())
    cluster.board_list = BoardList((BoardStatus("c1s3", "1", "3", "lc", 2, 0.5, {"platform": group}),))
    assert reason.strip() in command("boards").out


def test_an_empty_answer_is_said_beside_stdout(command: Command) -> None:
    ended = command("software")
    assert (ended.code, ended.out) == (0, "")
    assert "nothing has been published" in ended.err


def test_explain_prints_offers_by_rank_with_tier_load_and_reason(command: Command) -> None:
    reason, header, first, second = command("explain", "c1s3").out.splitlines()
    assert reason.startswith("c1s3, platform (manifest abababababab): c1s1: nearest")
    assert header.split()[0] == "rank"
    assert first.split()[:7] == ["1", "c1s1", "1", "1", "same-chassis", "25", "%"]
    assert "same-chassis, the nearest with room" in first
    assert second.split()[:5] == ["2", "c2s1", "2", "1", "elsewhere"]


def test_explain_says_who_sent_what_and_how_much_came_from_relays(command: Command, cluster: FakeCluster) -> None:
    group = msgspec.structs.replace(DOWNLOADING, relayed=4_000_000, givers={"c1s1": 1_000_000, "c1s4": 4_000_000})
    cluster.board_list = BoardList((BoardStatus("c1s3", "1", "3", "lc", 2, 0.5, {"platform": group}),))
    assert "4.0 MB of it from relays: c1s4 4.0 MB, c1s1 1.0 MB" in command("explain", "c1s3").out.splitlines()[-1]
    found = command("explain", "c1s3", "-o", "json").json
    assert isinstance(found, dict)
    assert found["received"]["platform"]["relayed"] == 4_000_000


def test_explain_json_names_the_board(command: Command) -> None:
    found = command("explain", "c1s3", "-o", "json").json
    assert isinstance(found, dict)
    assert found["board"] == "c1s3"
    assert found["explanations"][0]["offers"][0]["source"]["tier"] == "elsewhere"


def test_status_counts_and_names_what_is_wrong(command: Command) -> None:
    ended = command("status")
    assert ended.code == 0
    assert "cluster lab, plan generation 2" in ended.out
    assert "active c1s1" in ended.out
    assert "trouble: server c2s1 is silent" in ended.out
    assert "1 downloading" in ended.out


def test_status_names_boards_that_failed_or_are_silent(command: Command, cluster: FakeCluster) -> None:
    failed = GroupReport(wanted="2", state=DeploymentState.FAILED)
    cluster.board_list = BoardList(
        (
            BoardStatus("c1s3", "1", "3", "lc", 2, 0.5, {"platform": failed}),
            BoardStatus("c1s4", "1", "4", "lc", 0, None, {}),
        )
    )
    ended = command("status")
    assert ended.code == 0
    assert "trouble: 1 board failed a deployment: c1s3" in ended.out
    assert "trouble: 1 board not heard for 30 s: c1s4" in ended.out
    assert "alarm disk (c1s1, 12 s ago): the disk is full" in ended.out
    found = command("status", "-o", "json").json
    assert isinstance(found, dict)
    assert len(found["trouble"]) == 3
    assert [alarm["kind"] for alarm in found["alarms"]] == ["disk"]


def test_a_board_elsewhere_than_its_certificate_says_is_shown_with_the_reason(
    command: Command, cluster: FakeCluster
) -> None:
    why = "location-conflict: its configuration says 1/3, its certificate 1/4"
    idle = GroupReport(version="1", state=DeploymentState.CONFIRMED)
    cluster.board_list = BoardList(
        (
            BoardStatus("c1s3", "1", "3", "lc", 2, 0.5, {"platform": idle}, why),
            BoardStatus("c1s4", "1", "4", "lc", 2, 0.5, {}, why),
        )
    )
    assert command("boards").out.count(why) == 2
    assert "trouble: 2 boards activate nothing, location-conflict: c1s3, c1s4" in command("status").out


def test_one_board_is_shown_with_what_its_hooks_printed(command: Command, cluster: FakeCluster) -> None:
    failed = GroupReport(wanted="2", state=DeploymentState.FAILED, log="cannot open /dev/fpga\n")
    cluster.board_list = BoardList((BoardStatus("c1s3", "1", "3", "lc", 2, 0.5, {"platform": failed}),))
    assert command("boards", "c1s3").out.endswith("printed last:\ncannot open /dev/fpga\n")
    assert "fpga" not in command("boards").out


def test_status_fails_when_no_changes_are_taken(command: Command, cluster: FakeCluster) -> None:
    cluster.engine = "the database is locked"
    ended = command("status")
    assert ended.code == 1
    assert "the database is locked" in ended.err


class TestStatusWithoutAnActive:
    WORKS, WAITS = "boards get plan generation 7 and its versions", "changes; until the engine answers"

    @pytest.fixture(autouse=True)
    def _nobody_is_active(self, cluster: FakeCluster) -> None:
        cluster.engine = "etcd does not answer"
        said = Health("c1s1", "lab", "standby", 6, "0.1.0", cluster.engine, works=(self.WORKS,), waits=(self.WAITS,))
        cluster.others = (said, msgspec.structs.replace(said, server="c2s1", generation=7))

    def test_says_once_what_works_and_what_waits_and_fails(self, command: Command) -> None:
        ended = command("status")
        assert ended.code == 1
        assert ended.out.splitlines() == [
            "cluster lab, plan generation 7, release 0.1.0",
            "servers: 2 answer, none is active",
            f"works: {self.WORKS}",
            f"waits: {self.WAITS}",
        ]
        assert "changes are not taken now: etcd does not answer" in ended.err

    def test_json_does_not_claim_to_know_the_boards(self, command: Command) -> None:
        found = command("status", "-o", "json").json
        assert isinstance(found, dict)
        assert (found["active"], found["boards"], found["servers"]) == (None, None, 2)
        assert (found["works"], found["waits"]) == ([self.WORKS], [self.WAITS])
        assert found["unhealthy"]["c2s1"] == "serves, but takes no changes: etcd does not answer"

    def test_an_active_that_another_server_knows_is_asked(self, command: Command, cluster: FakeCluster) -> None:
        cluster.others = (msgspec.structs.replace(cluster.others[0], engine="", active="https://10.0.1.1:6688"),)
        assert "boards: 1" in command("status").out

    def test_an_active_that_goes_while_it_is_asked_leaves_what_the_servers_say_for_themselves(
        self, command: Command, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def gone() -> ServerList:
            raise UnreachableError("no server is active now")

        cluster.others = (msgspec.structs.replace(cluster.others[0], active="https://10.0.1.1:6688"),)
        monkeypatch.setattr(cluster, "servers", gone)
        assert f"works: {self.WORKS}" in command("status").out


def test_a_rollout_shows_why_boards_failed(command: Command, cluster: FakeCluster) -> None:
    cluster.rollout_answers = [rollout("failed", 1, 1, {"c1s3": "health check exited with 3"})]
    shown = command("rollout", "show", "r1").out
    assert "c1s3: health check exited with 3" in shown
    listed = command("rollout", "list", "-o", "json").json
    assert isinstance(listed, dict)
    assert listed["rollouts"][0]["state"] == "failed"


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (134_217_728, "134 MB"), (2.5e13, "25.0 TB")]
)
def test_bytes_are_written_for_people(amount: float, text: str) -> None:
    assert output.size(amount) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "never"),
        (0.4, "0 s ago"),
        (119, "119 s ago"),
        (600, "10 min ago"),
        (86_400, "24 h ago"),
        (1e6, "12 d ago"),
    ],
)
def test_ages_are_written_for_people(seconds: float | None, text: str) -> None:
    assert output.ago(seconds) == text
