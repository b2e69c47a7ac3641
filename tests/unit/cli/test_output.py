"""What reaches a terminal, a pipe, and nobody."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from rich.console import Console

from boardwright.cli import output, watching
from boardwright.cli.watching import Pace
from tests.unit.cli.conftest import Command, FakeCluster, rollout

COLUMNS = ("board", "version", "reason")
ROWS = (("a-board-with-a-long-name", "2026.11-rc1", "health check bin/check ended with exit code 3"), ("b", "1", ""))


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[[int], list[str]]:
    """The lines of the table on a terminal of a given number of columns."""

    def show(width: int) -> list[str]:
        console = Console(force_terminal=True, color_system=None, width=width, highlight=False, markup=False)
        monkeypatch.setattr(output, "standard", lambda: console)
        output.show_table(COLUMNS, ROWS, "empty")
        return capfd.readouterr().out.splitlines()

    return show


class TestATable:
    def test_cuts_nothing_off_on_a_narrow_terminal(self, on_a_terminal: Callable[[int], list[str]]) -> None:
        lines = on_a_terminal(20)
        assert lines[1].startswith("a-board-with-a-long-name  2026.11-rc1  health check")
        assert "exit code 3" in " ".join(lines)

    def test_wraps_sentences_only(self, on_a_terminal: Callable[[int], list[str]]) -> None:
        lines = on_a_terminal(70)
        assert len(lines) == 4
        assert all(len(line) <= 70 for line in lines)
        assert [line[39:].strip() for line in lines[1:3]] == ["health check bin/check ended", "with exit code 3"]

    def test_is_one_line_per_row_without_blanks_at_the_end_in_a_pipe(self, capfd: pytest.CaptureFixture[str]) -> None:
        output.show_table(COLUMNS, ROWS, "empty")
        lines = capfd.readouterr().out.splitlines()
        assert len(lines) == 3
        assert all(line == line.rstrip() for line in lines)


def test_a_server_with_many_versions_has_a_short_line(command: Command, cluster: FakeCluster) -> None:
    assert max(len(line) for line in command("servers").out.splitlines()) < 120


@pytest.mark.parametrize("words", [(), ("rollout",)])
def test_no_words_at_all_show_the_help_as_it_is(command: Command, words: tuple[str, ...]) -> None:
    ended = command(*words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Usage: boardwright")
    assert "hint:" not in ended.err


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -c 'from boardwright.cli.program import main; main()' --version {closed}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_who_stops_watching_is_told_that_the_rollout_goes_on(
    command: Command, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "Pace", lambda: Pace(lambda: 0.0, interrupted))
    cluster.rollout_answers = [rollout("running", 0)]
    ended = command("rollout", "watch", "r1")
    assert ended.code == 130
    assert "rollout r1 goes on" in ended.err


def test_the_list_of_commands_has_whole_sentences(command: Command) -> None:
    assert "..." not in command("--help").out.partition("Commands:")[2]
