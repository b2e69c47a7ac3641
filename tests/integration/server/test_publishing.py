"""What `publish` and `deploy` send over HTTP, and what is refused."""

import re
import threading
from pathlib import Path

import msgspec
import urllib3

from boardwright.model.api import DeploymentRequest, Problem, Publication, RolloutList, SignedMetadata, SoftwareList
from boardwright.model.report import DeploymentState, GroupReport
from boardwright.model.software import Manifest, Target, digest_of, encode_manifest
from tests.identities import Identities
from tests.integration.server.asker import board
from tests.integration.server.processes import ServerCluster, Software

MIB = 1024 * 1024


def problem(answer: urllib3.BaseHTTPResponse) -> Problem:
    return msgspec.json.decode(answer.data, type=Problem)


def test_other_bytes_than_the_digest_says_are_refused_and_leave_nothing(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    cluster.active()
    sha256 = digest_of(b"right")
    answer = server.call("PUT", f"/v1/blobs/{sha256}", b"wrong")
    assert answer.status == 422
    assert sha256 in problem(answer).error
    assert msgspec.json.decode(server.call("POST", "/v1/blobs/missing", [sha256]).data) == [sha256]
    assert server.call("PUT", f"/v1/blobs/{sha256}", b"right").status == 201
    assert msgspec.json.decode(server.call("POST", "/v1/blobs/missing", [sha256]).data) == []


def test_a_blob_that_cannot_fit_is_refused_before_it_is_read(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    cluster.active()
    with server.lines.manager().connection_from_url(server.api) as pool:
        headers = {"Content-Length": str(1 << 60)}
        answer = pool.urlopen("PUT", f"/v1/blobs/{'0' * 64}", body=b"few bytes", headers=headers, retries=False)
    assert answer.status == 413
    assert "does not fit" in problem(answer).error


def test_a_name_that_is_no_digest_is_wrong_usage(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    cluster.active()
    answer = server.call("PUT", "/v1/blobs/nonsense", b"bytes")
    assert (answer.status, problem(answer).exit_code) == (400, 2)


def test_a_version_with_missing_blobs_is_refused_by_their_names(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    cluster.active()
    software = Software("platform", "1")
    answer = software.sign(server)
    assert answer.status == 422
    assert all(blob.sha256 in problem(answer).error for blob in software.manifest.blobs)


def test_a_broken_manifest_is_wrong_usage(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    cluster.active()
    broken = encode_manifest(Manifest(1, "platform", "../1"))
    assert server.call("PUT", f"/v1/blobs/{digest_of(broken)}", broken).status == 201
    answer = server.call("POST", "/v1/versions", Publication(digest_of(broken)))
    assert (answer.status, problem(answer).exit_code) == (422, 2)
    assert "version '../1'" in problem(answer).error


def test_a_version_is_immutable_and_the_same_again_is_fine(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    cluster.active()
    software = Software("platform", "1")
    assert software.publish(server).status == 201
    again = software.publish(server)
    assert again.status == 200
    assert msgspec.json.decode(again.data)["manifest"] == software.digest
    answer = Software("platform", "1").publish(server)
    assert (answer.status, problem(answer).exit_code) == (409, 3)
    assert len(server.get("/v1/software/platform", SoftwareList).software) == 1


def test_what_nobody_has_signed_or_somebody_who_may_not_is_refused(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    cluster.active()
    unsigned, forged = Software("platform", "1"), Software("platform", "2")
    for software in (unsigned, forged):
        for content in (*software.contents, software.encoded):
            assert server.call("PUT", f"/v1/blobs/{digest_of(content)}", content).status == 201
    answer = server.call("POST", "/v1/versions", Publication(unsigned.digest))
    assert (answer.status, problem(answer).exit_code) == (409, 3)
    assert "nobody whom this cluster lets sign platform has named the manifest" in problem(answer).error
    known = server.get("/v1/trust", SignedMetadata)
    assert isinstance(known, SignedMetadata)
    thief = Identities("test")
    thief.root, thief.targets = server.identities.root, server.identities.targets
    target = Target("platform", "2", "*", forged.digest)
    answer = server.call("POST", "/v1/versions", thief.publication(known, target, len(forged.encoded)))
    assert answer.status == 422
    assert "is not signed by whom this cluster lets sign it" in problem(answer).error
    assert server.get("/v1/software", SoftwareList).software == ()


def test_a_large_publish_and_its_copies_stay_within_the_memory_of_a_control_board(cluster: ServerCluster) -> None:
    """Server peak <= 112 MiB: uploads, copies and manifests are streamed."""
    cluster.add(1, 1)
    cluster.add(2, 1)
    active, standby = cluster.active(), cluster.standby()
    software = Software("platform", "1", sizes=(60 * MIB, 60 * MIB, 8 * MIB, 3))
    publishers = [threading.Thread(target=software.publish, args=(active,)) for _ in range(2)]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join()
    cluster.everywhere(software)
    assert active.resident < 112 * MIB
    assert standby.resident < 112 * MIB


def test_a_rollout_is_followed_from_running_to_done(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    line_board = board(1, 3)
    cluster.introduce(line_board)
    Software("platform", "1").publish(server)
    server.call("POST", "/v1/deployments", DeploymentRequest("platform", "1"))

    def state() -> tuple[str, int, int]:
        (rollout,) = server.get("/v1/rollouts/r1", RolloutList).rollouts
        return rollout.state, rollout.boards, rollout.confirmed

    assert state() == ("running", 1, 0)
    confirmed = GroupReport(version="1", wanted="1", state=DeploymentState.CONFIRMED)
    cluster.report(server, line_board, 2, platform=confirmed)
    assert state() == ("done", 1, 1)


def test_a_dry_run_changes_nothing_and_unknown_names_say_what_is_known(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    cluster.introduce(board(1, 3))
    Software("platform", "1").publish(server)
    dry = server.call("POST", "/v1/deployments", DeploymentRequest("platform", "1", dry_run=True))
    assert msgspec.json.decode(dry.data)["rollout"] is None
    assert server.get("/v1/rollouts", RolloutList).rollouts == ()
    for request, status, exit_code, word in (
        (DeploymentRequest("routing", "1"), 422, 1, "platform"),
        (DeploymentRequest("platform", "2"), 422, 1, "1"),
        (DeploymentRequest("platform", "1", ("chassis=7",)), 422, 1, "chassis=7"),
        (DeploymentRequest("platform", "1", ("rack=7",)), 400, 2, "rack"),
        (DeploymentRequest("platform", "1", strategy="slow"), 400, 2, "all-at-once"),
        (DeploymentRequest("boardwright", "1"), 409, 3, "upgrade"),
    ):
        answer = server.call("POST", "/v1/deployments", request)
        refusal = problem(answer)
        assert (answer.status, refusal.exit_code) == (status, exit_code)
        assert word in f"{refusal.error} {refusal.hint}"


def test_every_error_is_a_problem_and_the_api_describes_itself(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    cluster.active()
    for method, path in (("GET", "/"), ("GET", "/v1/nothing"), ("DELETE", "/v1/boards"), ("GET", "/v1/rollouts/r9")):
        answer = server.call(method, path)
        assert answer.status in (404, 405)
        assert problem(answer).error
    described = msgspec.json.decode(server.call("GET", "/v1/openapi.json").data)
    assert "/v1/deployments" in described["paths"]
    assert b"boardwright_active 1.0" in server.call("GET", "/metrics").data


def test_every_metric_is_documented_and_every_documented_one_is_there(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    cluster.active()
    counted = re.findall(r"^# HELP (\S+) ", server.call("GET", "/metrics").data.decode(), re.MULTILINE)
    page = Path(__file__).parents[3] / "docs/operate/metrics.md"
    documented = re.findall(r"^\| `(\w+)` \|", page.read_text(), re.MULTILINE)
    assert sorted(counted) == sorted(documented)
