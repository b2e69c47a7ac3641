"""The operator changes who may sign what, while the cluster runs."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def well(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr


def software(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "motd").write_text(text)
    return folder


def test_a_control_board_is_dropped_the_root_is_renewed_a_group_goes_to_a_vendor_and_boards_follow(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.init([(1, 1, True), (1, 2, True), (1, 3, False)])
    cluster.start_servers("c1s1", "c1s2")
    cluster.start_agents("c1s1", "c1s2", "c1s3")
    well(cluster.run("publish", str(software(tmp_path / "v1", "one")), "--group", "platform", "--version", "1"))
    well(cluster.run("deploy", "platform", "1", "--watch"))
    shown = json.loads(cluster.run("trust", "show", "-o", "json").stdout)
    assert (shown["root"], set(shown["servers"])) == (1, {"c1s1", "c1s2"})

    active = next(one["id"] for one in cluster.read("servers")["servers"] if one["role"] == "active")
    other = {"c1s1": "c1s2", "c1s2": "c1s1"}[active]
    refused = cluster.run("trust", "drop-server", active)
    assert refused.returncode == 3
    assert "drops the key of the server that is active" in refused.stderr
    well(cluster.run("trust", "drop-server", other))
    well(cluster.run("trust", "rotate-root"))
    shown = json.loads(cluster.run("trust", "show", "-o", "json").stdout)
    assert (shown["root"], set(shown["servers"])) == (3, {active})

    well(cluster.run("publish", str(software(tmp_path / "v2", "two")), "--group", "platform", "--version", "2"))
    well(cluster.run("deploy", "platform", "2", "--watch"))
    well(cluster.run("trust", "add-server", other))
    well(cluster.run("publish", str(software(tmp_path / "v3", "three")), "--group", "platform", "--version", "3"))
    well(cluster.run("deploy", "platform", "3", "--watch"))

    vendor = tmp_path / "vendor.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", tmp_path / "key"],
        check=True,
        capture_output=True,
    )
    subprocess.run(["openssl", "pkey", "-in", tmp_path / "key", "-pubout", "-out", vendor], check=True)
    well(cluster.run("trust", "delegate", "routing", str(vendor)))
    refused = cluster.run("publish", str(tmp_path / "v1"), "--group", "routing", "--version", "1")
    assert refused.returncode == 3
    assert "its vendor signs it, not the operator" in refused.stderr
    refused = cluster.run("trust", "delegate", "platform", str(vendor))
    assert (refused.returncode, "has versions" in refused.stderr) == (3, True)
    _everything_is_in_the_audit_log(cluster, active, other)


def _everything_is_in_the_audit_log(cluster: Cluster, active: str, other: str) -> None:
    cluster.until("both servers have copied all", lambda: len(set(cluster.read("audit")["servers"].values())) == 1)
    told = cluster.read("audit")
    done = [(one["action"], one["subject"]) for one in told["records"] if one["outcome"] == "done"]
    assert [subject for action, subject in done if action == "publish"] == [f"platform {n} *" for n in (1, 2, 3)]
    assert [subject for action, subject in done if action == "deploy"] == [f"platform {n}" for n in (1, 2, 3)]
    changed = [subject for action, subject in done if action == "trust-change"]
    assert (len(changed), changed[-1]) == (4, "targets")
    refused = {(one["action"], one["who"]) for one in told["records"] if one["outcome"] == "refused"}
    assert ("trust-change", "admin") in refused
    assert {one["who"] for one in told["records"]} == {"admin"}
    assert set(told["servers"]) == {active, other}
    assert cluster.run("audit", "--check").stdout.endswith("are whole; asked: 2 servers\n")
    assert [one["by"] for one in cluster.read("rollout", "show", "r1")["rollouts"]] == ["admin"]
    head = cluster.directory / "out" / "operator" / "audit-head"
    head.write_text(json.dumps({"number": 3, "digest": "ab" * 32}))
    written_anew = cluster.run("audit")
    assert (written_anew.returncode, "was written anew: record 3" in written_anew.stderr) == (1, True)
