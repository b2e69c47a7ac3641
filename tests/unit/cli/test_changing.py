"""deploy, watch and publish."""

from pathlib import Path

import pytest

from boardwright.cli import watching
from boardwright.cli.watching import Pace, watch
from boardwright.errors import FailedError, UnreachableError
from boardwright.model.api import BoardList, BoardStatus, Deployment, DeploymentRequest, PlanChange
from boardwright.model.report import DeploymentState, GroupReport
from boardwright.model.software import Manifest
from tests.unit.cli.conftest import Command, FakeCluster, rollout


class TestRetry:
    def test_names_what_the_board_tries_again(self, command: Command, cluster: FakeCluster) -> None:
        cluster.held = "2.0"
        ended = command("retry", "c1s3", "--group", "routing")
        assert ended.code == 0
        assert "c1s3 tries routing 2.0 again" in ended.out
        assert command("retry", "c1s3", "-o", "json").json == {
            "board": "c1s3",
            "versions": {"platform": "2.0"},
            "retry": 1,
        }

    def test_nothing_to_try_again_is_one_sentence_and_exit_1(self, command: Command) -> None:
        ended = command("retry", "c1s3")
        assert (ended.code, ended.out) == (1, "")
        assert "there is nothing to try again on c1s3" in ended.err


class TestSwitchover:
    def test_says_who_is_the_active_now_and_names_the_epoch_that_it_saw(
        self, command: Command, cluster: FakeCluster
    ) -> None:
        ended = command("switchover")
        assert ended.code == 0
        assert "c2s1 is the active now (epoch 4), c1s1 a standby" in ended.out
        assert cluster.switched == [("", 3)]

    def test_to_the_active_is_done_already(self, command: Command) -> None:
        assert "c1s1 is the active already (epoch 3)" in command("switchover", "c1s1").out

    def test_in_json_has_the_documented_shape(self, command: Command) -> None:
        assert command("switchover", "c2s1", "-o", "json").json == {"server": "c2s1", "epoch": 4, "before": "c1s1"}


class TestDeploy:
    def test_prints_the_rollouts_id_alone_on_stdout(self, command: Command, cluster: FakeCluster) -> None:
        ended = command("deploy", "platform", "2.0", "--to", "chassis=1,type=lc*", "--to", "c2s3")
        assert (ended.code, ended.out) == (0, "r1\n")
        assert cluster.deployed == [
            DeploymentRequest("platform", "2.0", ("chassis=1,type=lc*", "c2s3"), "all-at-once", False)
        ]

    def test_says_aside_which_boards_do_not_change_and_why(self, command: Command) -> None:
        ended = command("deploy", "platform", "2.0")
        assert "1 board changes with plan generation 2" in ended.err
        assert "c1s4 does not change: no variant fits its type 'fan'" in ended.err

    def test_dry_run_prints_every_change_with_its_reason_and_changes_nothing(
        self, command: Command, cluster: FakeCluster
    ) -> None:
        ended = command("deploy", "platform", "2.0", "--dry-run")
        assert cluster.deployed[0].dry_run
        _, changes, stays = ended.out.splitlines()
        assert changes.split() == ["c1s3", "platform", "1.0", "2.0"]
        assert stays.split()[:4] == ["c1s4", "platform", "1.0", "unchanged"]
        assert "no variant fits" in stays

    def test_dry_run_as_json(self, command: Command) -> None:
        found = command("deploy", "platform", "2.0", "--dry-run", "-o", "json").json
        assert isinstance(found, dict)
        assert found["rollout"] is None
        assert found["changes"][0] == {
            "board": "c1s3",
            "group": "platform",
            "before": "1.0",
            "after": "2.0",
            "reason": "",
        }

    def test_as_json_it_is_the_whole_answer_and_nothing_else_on_stdout(self, command: Command) -> None:
        found = command("deploy", "platform", "2.0", "-o", "json").json
        assert isinstance(found, dict)
        assert found["rollout"] == "r1"
        assert [change["board"] for change in found["changes"]] == ["c1s3", "c1s4"]

    def test_when_no_board_changes_it_says_that_they_have_it(
        self, command: Command, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cluster, "deploy", lambda _: Deployment("r2", 2, ()))
        ended = command("deploy", "platform", "2.0")
        assert (ended.code, ended.out) == (0, "r2\n")
        assert "no board changes" in ended.err

    def test_thousands_of_boards_that_do_not_change_are_not_all_named(
        self, command: Command, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stays = tuple(PlanChange(f"c{n}s1", "platform", "1", "2", "no variant") for n in range(1000))
        monkeypatch.setattr(cluster, "deploy", lambda _: Deployment("r2", 2, stays))
        err = command("deploy", "platform", "2.0").err
        assert "980 boards more do not change" in err
        assert len(err.splitlines()) < 30

    def test_watching_ends_with_0_when_all_is_confirmed(self, command: Command) -> None:
        ended = command("deploy", "platform", "2.0", "--watch")
        assert (ended.code, ended.out) == (0, "r1\n")
        assert "platform 2.0 is confirmed on 2 of 2 boards" in ended.err

    def test_watching_ends_with_1_and_the_reasons_when_boards_failed(
        self, command: Command, cluster: FakeCluster
    ) -> None:
        cluster.rollout_answers = [rollout("failed", 1, 1, {"c1s3": "health check exited with 3"})]
        ended = command("deploy", "platform", "2.0", "--watch")
        assert (ended.code, ended.out) == (1, "r1\n")
        assert "because: c1s3: health check exited with 3" in ended.err


class TestWatch:
    """With time that only sleeping moves."""

    @pytest.fixture
    def pace(self) -> Pace:
        now = [0.0]

        def sleep(seconds: float) -> None:
            now[0] += seconds

        return Pace(lambda: now[0], sleep)

    def test_a_board_that_waits_for_long_says_why_once(
        self, cluster: FakeCluster, pace: Pace, capfd: pytest.CaptureFixture[str]
    ) -> None:
        reason = "platform 2.0 does not fit: it needs 8.0 MB, 1.0 MB are free on /opt"
        full = GroupReport(version="1.0", wanted="2.0", state=DeploymentState.REQUESTING, reason=reason)
        cluster.board_list = BoardList((BoardStatus("c1s3", "1", "3", "lc", 2, 0.5, {"platform": full}),))
        cluster.rollout_answers = [*[rollout("running", 0)] * 60, rollout("done", 2)]
        watch(cluster.connect(()), "r1", pace)
        assert capfd.readouterr().err.count(f"c1s3 waits: {reason}") == 1

    def test_follows_a_rollout_to_its_end(
        self, cluster: FakeCluster, pace: Pace, capfd: pytest.CaptureFixture[str]
    ) -> None:
        cluster.rollout_answers = [
            rollout("running", 0),
            rollout("running", 0),
            rollout("running", 1),
            rollout("done", 2),
        ]
        assert watch(cluster.connect(()), "r1", pace).state == "done"
        lines = capfd.readouterr().err.splitlines()
        assert [line for line in lines if line.startswith("rollout")] == [
            "rollout r1: running, 0 of 2 boards confirmed",
            "rollout r1: running, 1 of 2 boards confirmed",
            "rollout r1: done, 2 of 2 boards confirmed",
        ]

    def test_bears_that_nobody_answers_while_the_active_changes(self, cluster: FakeCluster, pace: Pace) -> None:
        cluster.rollout_answers = [UnreachableError("gone"), UnreachableError("gone"), rollout("done", 2)]
        assert watch(cluster.connect(()), "r1", pace).confirmed == 2

    def test_gives_up_when_nobody_answers_for_long(self, cluster: FakeCluster, pace: Pace) -> None:
        cluster.rollout_answers = [UnreachableError("gone")]
        with pytest.raises(UnreachableError):
            watch(cluster.connect(()), "r1", pace)
        assert pace.clock() >= watching.SILENCE

    def test_names_at_most_a_screenful_of_boards(self, cluster: FakeCluster, pace: Pace) -> None:
        reasons = {f"c1s{slot}": "broken" for slot in range(50)}
        cluster.rollout_answers = [rollout("failed", 0, 50, reasons)]
        with pytest.raises(FailedError) as caught:
            watch(cluster.connect(()), "r1", pace)
        assert isinstance(caught.value.__cause__, ExceptionGroup)
        assert len(caught.value.__cause__.exceptions) == watching.MAX_REASONS + 1


class TestPublish:
    @pytest.fixture
    def software(self, tmp_path: Path) -> Path:
        path = tmp_path / "software"
        path.mkdir()
        for name in ("one", "two", "three"):
            (path / name).write_bytes(name.encode() * 30_000)
        (path / "large").write_bytes(b"L" * 700_000)
        return path

    def test_sends_what_is_missing_and_names_the_version(
        self, command: Command, cluster: FakeCluster, software: Path
    ) -> None:
        ended = command("publish", str(software), "--group", "platform", "--version", "1", "--board-type", "lc*")
        assert ended.code == 0
        [summary] = cluster.versions
        assert (summary.group, summary.version, summary.variant) == ("platform", "1", "lc*")
        assert f"platform 1 for lc* published, manifest {summary.manifest}" in ended.out

    def test_small_files_that_stay_keep_their_pack(
        self, command: Command, cluster: FakeCluster, software: Path
    ) -> None:
        command("publish", str(software), "--group", "platform", "--version", "1")
        before = set(cluster.blobs)
        (software / "four").write_bytes(b"4" * 1000)
        ended = command("publish", str(software), "--group", "platform", "--version", "2")
        assert ended.code == 0
        assert "of which 1.0 kB in 1 blob are to be sent" in ended.err
        [new] = set(cluster.blobs) - before - cluster.manifests.keys()
        assert len(cluster.blobs[new]) == 1000

    def test_a_pack_that_the_active_has_dropped_is_made_anew(
        self, command: Command, cluster: FakeCluster, software: Path
    ) -> None:
        command("publish", str(software), "--group", "platform", "--version", "1")
        cluster.blobs.clear()
        (software / "four").write_bytes(b"4" * 1000)
        assert command("publish", str(software), "--group", "platform", "--version", "2").code == 0
        assert len(cluster.versions) == 2

    def test_the_very_same_again_is_no_error(self, command: Command, cluster: FakeCluster, software: Path) -> None:
        words = ("publish", str(software), "--group", "platform", "--version", "1")
        assert command(*words).code == 0
        again = command(*words)
        assert again.code == 0
        assert "was published already" in again.out
        assert len(cluster.versions) == 1

    def test_other_content_under_an_old_name_is_refused_before_it_travels(
        self, command: Command, cluster: FakeCluster, software: Path
    ) -> None:
        words = ("publish", str(software), "--group", "platform", "--version", "1")
        command(*words)
        blobs = set(cluster.blobs)
        (software / "large").write_bytes(b"X" * 700_000)
        ended = command(*words)
        assert ended.code == 3
        assert "platform 1 is published already with other content" in ended.err
        assert set(cluster.blobs) == blobs

    def test_dry_run_sends_nothing(self, command: Command, cluster: FakeCluster, software: Path) -> None:
        ended = command("publish", str(software), "--group", "platform", "--version", "1", "--dry-run")
        assert ended.code == 0
        assert "would be published" in ended.out
        assert (cluster.blobs, cluster.versions) == ({}, [])

    def test_software_that_names_itself_needs_no_options(
        self, command: Command, cluster: FakeCluster, software: Path
    ) -> None:
        (software / "boardwright.toml").write_text('[software]\ngroup = "routing"\nversion = "8.4"\n')
        assert command("publish", str(software)).code == 0
        assert [(version.group, version.version) for version in cluster.versions] == [("routing", "8.4")]

    def test_software_without_a_name_is_wrong_usage(
        self, command: Command, cluster: FakeCluster, software: Path
    ) -> None:
        ended = command("publish", str(software), "--group", "platform")
        assert ended.code == 2
        assert "does not say its version" in ended.err
        assert cluster.blobs == {}


def test_manifests_are_only_bases_while_they_can_be_had(command: Command, cluster: FakeCluster, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"i" * 1000)
    command("publish", str(path), "--group", "platform", "--version", "1")
    kept: dict[str, Manifest] = {}
    cluster.manifests = kept
    assert command("publish", str(path), "--group", "platform", "--version", "2").code == 0
