"""Exit codes and what is printed when a command does not do what it was asked for."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from boardwright import __version__
from boardwright.cli.program import run
from boardwright.cli.session import Session
from boardwright.errors import (
    BoardwrightError,
    ConflictError,
    FailedError,
    RefusedError,
    UnreachableError,
    UsageError,
)
from tests.identities import Identities
from tests.unit.cli.conftest import Command, FakeCluster


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FailedError("it broke"), 1),
        (UsageError("it broke"), 2),
        (RefusedError("it broke"), 3),
        (ConflictError("it broke"), 3),
        (UnreachableError("it broke"), 4),
        (PermissionError(13, "Permission denied"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_the_kind_of_an_error_decides_the_exit_code(
    command: Command, cluster: FakeCluster, error: BaseException, code: int
) -> None:
    cluster.trouble = error
    ended = command("boards")
    assert ended.code == code
    assert ended.out == ""
    assert "Traceback" not in ended.err


def test_an_error_is_one_sentence_then_the_causes_then_the_hint(command: Command, cluster: FakeCluster) -> None:
    root = OSError("connection refused")
    middle = UnreachableError("c1s1 did not answer")
    middle.__cause__ = root
    cluster.trouble = FailedError("the boards\nare not known", hint="start a server")
    cluster.trouble.__cause__ = middle
    assert command("boards").err.splitlines() == [
        "boardwright: the boards are not known",
        "  because: c1s1 did not answer",
        "    because: connection refused",
        "hint: start a server",
    ]


def test_every_cause_of_a_group_has_its_line(command: Command, cluster: FakeCluster) -> None:
    cluster.trouble = UnreachableError("nobody answered")
    cluster.trouble.__cause__ = ExceptionGroup("", [OSError("one is dead"), OSError("two is dead")])
    assert command("boards").err.splitlines() == [
        "boardwright: nobody answered",
        "  because: one is dead",
        "  because: two is dead",
    ]


def test_a_cause_that_says_nothing_new_is_left_out(command: Command, cluster: FakeCluster) -> None:
    error = BoardwrightError("file x is no TOML: bad key")
    error.__cause__ = ValueError("bad key")
    cluster.trouble = error
    assert command("boards").err.splitlines() == ["boardwright: file x is no TOML: bad key"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("deploy",), "boardwright deploy: missing argument 'GROUP'"),
        (("boards", "--no-such"), "boardwright boards: no such option: --no-such"),
        (("no-such",), "boardwright: no such command 'no-such'"),
        (("boards", "-o", "xml"), "'xml' is not one of 'table', 'json'"),
        (("server",), "boardwright server: missing option '--config'"),
        (("deploy", "platform", "2.0", "--to", "rack=1"), "selector 'rack=1' has the key 'rack'"),
        (("publish", "/no/such/path"), "there is nothing at /no/such/path"),
        (("demo", "--chassis", "0"), "--chassis 0 is not between 1 and 254"),
        (("demo", "--rate", "fast"), "'fast' is not a rate"),
        (("demo", "--software", "/no/such/path"), "--software /no/such/path: there is nothing"),
        (("demo", "--report", "/no/such/place/report"), "there is no directory /no/such/place"),
    ],
)
def test_wrong_words_end_with_2_and_one_clear_sentence(
    command: Command, cluster: FakeCluster, words: tuple[str, ...], sentence: str
) -> None:
    ended = command(*words)
    assert ended.code == 2
    assert ended.out == ""
    assert sentence in ended.err.splitlines()[0]
    assert len(ended.err.splitlines()) <= 2
    assert cluster.connected_to == ()


def test_without_an_operators_folder_the_hint_names_the_ways_to_give_one(
    command: Command, cluster: FakeCluster, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    ended = command("boards", "--operator", str(empty))
    assert ended.code == 2
    assert f"{empty} is no operator's folder" in ended.err
    assert "BOARDWRIGHT_OPERATOR" in ended.err
    assert cluster.connected_to == ()


class TestTheOperatorsFolder:
    @pytest.fixture
    def other(self, tmp_path: Path) -> Path:
        folder = tmp_path / "other" / "operator"
        folder.mkdir(parents=True)
        Identities("x").write_operator(folder)
        (folder / "operator.toml").write_text('cluster = "x"\nservers = ["https://10.9.9.9:1"]\n')
        return folder

    def test_may_be_named_behind_the_command(self, command: Command, cluster: FakeCluster, other: Path) -> None:
        assert command("boards", "--operator", str(other)).code == 0
        assert cluster.connected_to == ("https://10.9.9.9:1",)

    def test_says_which_cluster_the_servers_must_be_of(
        self, command: Command, cluster: FakeCluster, other: Path
    ) -> None:
        command("boards", "--operator", str(other))
        assert cluster.named == "x"

    def test_may_be_named_before_the_command(self, command: Command, cluster: FakeCluster, other: Path) -> None:
        assert command("--operator", str(other), "rollout", "list").code == 0
        assert cluster.connected_to == ("https://10.9.9.9:1",)

    def test_may_be_the_folder_that_init_was_given(self, command: Command, cluster: FakeCluster, other: Path) -> None:
        assert command("boards", "--operator", str(other.parent)).code == 0
        assert cluster.connected_to == ("https://10.9.9.9:1",)

    def test_comes_from_the_environment_or_from_home(self) -> None:
        assert Session.of({"BOARDWRIGHT_OPERATOR": "/etc/op", "HOME": "/root"}).operator == Path("/etc/op")
        assert Session.of({"HOME": "/home/me"}).operator == Path("/home/me/.config/boardwright")


def test_version_and_help_end_with_0(command: Command) -> None:
    assert command("--version").out == f"boardwright {__version__}\n"
    helped = command("--help")
    assert helped.code == 0
    for word in ("demo", "init", "server", "agent", "publish", "deploy", "rollout", "status", "explain"):
        assert word in helped.out


def test_a_program_that_is_not_installed_is_said(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = command("agent", "--config", "agent.toml")
    assert ended.code == 1
    assert "boardwright-agent" in ended.err


def test_server_and_agent_become_their_programs(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(os, "execv", lambda path, arguments: became.append([path, *arguments]))
    for name in ("boardwright-server", "boardwright-agent"):
        (tmp_path / name).touch()
    command("server", "--config", "server.toml")
    command("agent", "--config", "agent.toml", "--once")
    server, agent = str(tmp_path / "boardwright-server"), str(tmp_path / "boardwright-agent")
    assert became == [
        [server, "boardwright-server", "--config", "server.toml"],
        [agent, "boardwright-agent", "--config", "agent.toml", "--once"],
    ]


PROGRAM = [sys.executable, "-c", "from boardwright.cli.program import main; main()"]


def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run([*PROGRAM, "--version"], stdout=write, stderr=subprocess.PIPE, timeout=30, check=False)
    finally:
        os.close(write)
    assert ended.returncode == 128 + signal.SIGPIPE
    assert ended.stderr == b""


def test_errors_of_the_program_itself_are_not_swallowed(operator: Path) -> None:
    def broken(bases: object, lines: object, cluster: str) -> object:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(["boards"], Session(operator, broken))  # type: ignore[arg-type]
