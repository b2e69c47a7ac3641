"""The same content under the same name is the same version, whatever was published in between."""

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Command, FakeCluster


@pytest.fixture
def software(tmp_path: Path) -> Path:
    path = tmp_path / "software"
    path.mkdir()
    for number in range(10):
        (path / f"file{number}").write_bytes(bytes([number]) * 10_000)
    return path


def publish(command: Command, path: Path, version: str) -> int:
    return int(command("publish", str(path), "--group", "platform", "--version", version).code)


def test_it_is_known_again_although_it_would_be_packed_otherwise_today(
    command: Command, cluster: FakeCluster, software: Path, tmp_path: Path
) -> None:
    assert publish(command, software, "1") == 0
    small = tmp_path / "small"
    small.mkdir()
    (small / "file1").write_bytes((software / "file1").read_bytes())
    (small / "other").write_bytes(b"o" * 5_000)
    assert (
        publish(command, small, "2") == 0
    )  # a tenth of the old pack is not worth keeping: file1 lies in two packs now
    blobs = set(cluster.blobs)
    again = command("publish", str(software), "--group", "platform", "--version", "1")
    assert again.code == 0
    assert "was published already" in again.out
    assert len(cluster.versions) == 2
    assert set(cluster.blobs) == blobs


@pytest.mark.parametrize("change", ["bytes", "mode", "name"])
def test_other_content_is_refused_all_the_same(command: Command, software: Path, change: str) -> None:
    assert publish(command, software, "1") == 0
    match change:
        case "bytes":
            (software / "file1").write_bytes(b"x" * 10_000)
        case "mode":
            (software / "file1").chmod(0o755)
        case "name":
            (software / "file1").rename(software / "renamed")
    assert publish(command, software, "1") == 3
