"""Where the demo's folder goes, and when it goes nowhere."""

from pathlib import Path

import pytest

from boardwright.cli.demo import space
from boardwright.errors import FailedError

HUGE = 1 << 60


def test_a_directory_that_the_operator_names_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space.tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    assert space.folder_for(1, {"TMPDIR": "/var/tmp"}) == Path("/var/tmp")


def test_memory_that_cannot_hold_it_several_times_is_left_alone() -> None:
    assert space.folder_for(HUGE, {}) != space.MEMORY


def test_the_bound_of_a_control_group_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit, used = tmp_path / "memory.max", tmp_path / "memory.current"
    limit.write_text("1000000\n")
    used.write_text("600000\n")
    monkeypatch.setattr(space, "_LIMITS", ((limit, used),))
    assert space._available_memory() == 400_000
    limit.write_text("max\n")
    assert space._available_memory() > 400_000


def test_too_little_space_is_said_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(FailedError, match="are free") as caught:
        space.check(tmp_path, HUGE)
    assert "TMPDIR" in str(caught.value.hint)


def test_the_need_grows_with_boards_and_with_servers() -> None:
    base = space.needed(100, 10, boards=2, servers=1)
    assert space.needed(100, 10, boards=3, servers=1) - base == 210
    assert space.needed(100, 10, boards=2, servers=2) - base == 110
