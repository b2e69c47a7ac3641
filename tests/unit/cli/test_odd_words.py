"""Every command with words and in environments that nobody meant: exit code 2, one sentence, never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Command, FakeCluster

LONG = "x" * 5000
COMMANDS = [
    ["boards"],
    ["deploy", "g", "v"],
    ["explain", "b"],
    ["publish", "."],
    ["rollout", "list"],
    ["rollout", "show", "r1"],
    ["servers"],
    ["software"],
    ["status"],
]


@pytest.mark.parametrize("words", [*COMMANDS, ["init", "d", "--inventory", "f"], ["demo"]], ids=" ".join)
def test_a_word_too_many_or_an_option_that_is_none(command: Command, words: list[str]) -> None:
    for more in (["--nonsense"], ["-x"], ["word", "word", "word"]):
        outcome = command(*words, *more)
        assert outcome.code == 2, more
        assert outcome.out == ""
        assert len(outcome.err.splitlines()) == 2
        assert "--help` says how it is used" in outcome.err


@pytest.mark.parametrize("words", [["deploy"], ["deploy", "g"], ["explain"], ["publish"], ["init"], ["init", "d"]])
def test_a_word_that_is_missing_is_named(command: Command, words: list[str]) -> None:
    outcome = command(*words)
    assert (outcome.code, outcome.out) == (2, "")
    assert "missing" in outcome.err


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("folder", [LONG, "/dev/null", "/nonexistent", "\udcff", "a\nb\x1b[2J"], ids=ascii)
def test_a_folder_that_is_no_operators(command: Command, words: list[str], folder: str) -> None:
    outcome = command(*words, "--operator", folder)
    assert (outcome.code, outcome.out) == (2, "")
    assert "is no operator's folder" in outcome.err or len(folder) > 1000
    assert all(line.isprintable() and len(line) < 1200 for line in outcome.err.splitlines())


@pytest.mark.parametrize("path", [LONG, "/dev/null", "nowhere", "dangling"])
def test_what_cannot_be_published(command: Command, tmp_path: Path, path: str) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    outcome = command("publish", str(tmp_path / path) if path[0] != "/" else path, "--group", "g", "--version", "1")
    assert (outcome.code, outcome.out) == (2, "")
    assert "nothing at" in outcome.err or "neither a directory nor a file" in outcome.err


@pytest.mark.parametrize("selector", ["", ",", "=", "chassis=", "color=red", "chassis=1,,slot=2"])
def test_selectors_that_select_nothing_are_said_before_anybody_is_asked(
    command: Command, cluster: FakeCluster, selector: str
) -> None:
    outcome = command("deploy", "g", "v", "--to", selector)
    assert outcome.code == 2
    assert cluster.deployed == []


class TestEnvironments:
    @pytest.mark.parametrize(
        "environment",
        [
            {},
            {"HOME": "", "BOARDWRIGHT_OPERATOR": ""},
            {"BOARDWRIGHT_OPERATOR": LONG},
            {"BOARDWRIGHT_OPERATOR": "/dev/zero", "TERM": "dumb", "COLUMNS": "-1"},
            {"HOME": "/nonexistent", "LANG": "nonsense", "LC_ALL": "C", "TERM": "nonsense", "COLUMNS": "0"},
        ],
        ids=["empty", "blank", "long", "device", "nonsense"],
    )
    def test_without_a_cluster_every_one_gives_a_sentence(self, environment: dict[str, str]) -> None:
        done = self._run(["boards"], environment)
        assert done.returncode == 2
        assert b"Traceback" not in done.stderr

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
    @pytest.mark.parametrize("name", [b"\xc3\xb6ut", b"\xff"])
    def test_names_that_the_terminal_cannot_show(self, tmp_path: Path, encoding: str, name: bytes) -> None:
        (tmp_path / "cluster.toml").write_text(
            '[cluster]\nname = "x"\n[[board]]\nid = "b"\nchassis = 1\nslot = 1\ntype = "t"\n'
            'address = "10.0.0.1"\nserver = true\n'
        )
        environment = {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
        place = os.fsencode(tmp_path) + b"/" + name
        done = self._run([b"init", place, b"--inventory", os.fsencode(tmp_path / "cluster.toml")], environment)
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr

    def test_a_full_standard_output_is_said(self) -> None:
        with Path("/dev/full").open("wb") as full:
            done = self._run(["--version"], {}, stdout=full)
        assert done.returncode == 1
        assert b"could not be written to standard output" in done.stderr
        assert b"Traceback" not in done.stderr

    def _run(
        self, words: list[str] | list[bytes], environment: dict[str, str], stdout: object = subprocess.PIPE
    ) -> subprocess.CompletedProcess[bytes]:
        program = Path(sys.executable).parent / "boardwright"
        return subprocess.run(
            [program, *words],
            check=False,
            env=environment,
            stdout=stdout,  # type: ignore[arg-type]
            stderr=subprocess.PIPE,
            timeout=60,
        )
