"""A publish that is refused, races another or is killed in the middle: nothing half done, and the next one succeeds."""

from pathlib import Path

import pytest

from boardwright.errors import UnreachableError
from boardwright.net.servers import Upload
from tests.unit.cli.conftest import Command, FakeCluster


@pytest.fixture
def software(tmp_path: Path) -> Path:
    path = tmp_path / "software"
    path.mkdir()
    (path / "large").write_bytes(b"l" * 300_000)
    (path / "small").write_bytes(b"s")
    return path


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where publish works; it must be empty at the end of every test."""
    path = tmp_path / "scratch"
    path.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(path))
    return path


def words(path: Path) -> tuple[str, ...]:
    return ("publish", str(path), "--group", "platform", "--version", "1")


def test_other_content_under_the_name_is_refused_with_both_digests(
    command: Command, cluster: FakeCluster, software: Path, scratch: Path
) -> None:
    assert command(*words(software)).code == 0
    (there,) = cluster.versions
    blobs = dict(cluster.blobs)
    (software / "small").write_bytes(b"other")
    refused = command(*words(software))
    assert (refused.code, refused.out) == (3, "")
    assert there.manifest[:12] in refused.err
    assert "yours is " in refused.err
    assert "give the new content a new version" in refused.err
    assert cluster.blobs == blobs, "the bytes did not travel"
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("trouble", [KeyboardInterrupt(), UnreachableError("nobody answered"), OSError(5, "broken")])
@pytest.mark.parametrize("at", [0, 1])
def test_one_that_ends_in_the_middle_leaves_nothing_to_see(
    command: Command,
    cluster: FakeCluster,
    software: Path,
    scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: BaseException,
    at: int,
) -> None:
    upload, steps = cluster.upload, iter(range(10))

    def breaking(sha256: str, data: Upload) -> None:
        if next(steps) == at:
            raise trouble
        upload(sha256, data)

    with monkeypatch.context() as patch:
        patch.setattr(cluster, "upload", breaking)
        ended = command(*words(software))
    assert ended.code in (1, 4, 130)
    assert "Traceback" not in ended.err
    assert cluster.versions == []
    assert list(scratch.iterdir()) == []
    assert command(*words(software)).code == 0
    assert [one.version for one in cluster.versions] == ["1"]


def test_a_scratch_directory_without_room_is_a_sentence(
    command: Command, cluster: FakeCluster, software: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: Path, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    ended = command(*words(software))
    assert (ended.code, ended.out) == (1, "")
    assert "cannot be packed in" in ended.err
    assert "TMPDIR" in ended.err
    assert cluster.versions == []
