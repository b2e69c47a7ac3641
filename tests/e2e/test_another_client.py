"""docs/protocol.md is enough to write another client: one that was written from it deploys from real servers."""

import ast
import contextlib
import os
from pathlib import Path

from tests.e2e import another_client
from tests.e2e.another_client import Client
from tests.e2e.cluster import Cluster


def test_it_imports_nothing_of_boardwright() -> None:
    tree = ast.parse(Path(another_client.__file__).read_text())
    names = [
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    assert names
    assert not [name for name in names if name.startswith("boardwright")]


def test_m1_to_m7_it_asks_chooses_downloads_and_reports_by_the_documentation(cluster: Cluster) -> None:
    software = cluster.directory / "software"
    (software / "bin").mkdir(parents=True)
    (software / "bin" / "tool").write_text("#!/bin/sh\necho tool\n")
    (software / "bin" / "tool").chmod(0o755)
    (software / "bin" / "alias").symlink_to("tool")
    (software / "empty").touch()
    (software / "image.bin").write_bytes(os.urandom(20 * 1024 * 1024 + 17))
    cluster.init([(1, 1, True), (2, 1, True), (2, 3, False)])
    cluster.start_servers("c1s1", "c2s1")
    done = cluster.run("publish", str(software), "--group", "platform", "--version", "1")
    assert done.returncode == 0, done.stderr
    assert cluster.run("deploy", "platform", "1").returncode == 0
    cluster.until("both hold it", lambda: all(one["versions"] for one in cluster.read("servers")["servers"]))

    control = ("239.255.66.87", cluster.port)
    with contextlib.closing(
        Client(f"test{cluster.port}", cluster.directory / "out" / "c2s3", ("2", "3"), cluster.address(2, 3), control)
    ) as client:
        deploy_by_the_documentation(cluster, client, software)


def deploy_by_the_documentation(cluster: Cluster, client: Client, software: Path) -> None:
    offers = client.ask("platform")
    assert {offer["s"]: (offer["ch"], offer["sl"]) for offer in offers} == {"c1s1": ("1", "1"), "c2s1": ("2", "1")}
    digest = bytes.fromhex(client.plan(offers)["groups"]["platform"]["manifest"])
    assert [offer["s"] for offer in client.ranked(offers, digest)] == ["c2s1", "c1s1"]

    root = cluster.directory / "deployed"
    target = client.install("platform", root)
    assert (target["group"], target["version"]) == ("platform", "1")
    assert (root / "image.bin").read_bytes() == (software / "image.bin").read_bytes()
    assert (root / "bin" / "alias").read_text() == (software / "bin" / "tool").read_text()
    assert os.access(root / "bin" / "tool", os.X_OK)
    assert (root / "empty").read_bytes() == b""
    cluster.until_confirmed("1", "c2s3")
    assert client.report(offers[0], 1, target)["generation"] >= 1
