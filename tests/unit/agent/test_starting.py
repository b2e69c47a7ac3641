"""What is wrong where an agent would work is said before anything is downloaded."""

import os
from pathlib import Path

import pytest

from boardwright.agent import program
from boardwright.agent.lock import StateLock
from boardwright.errors import RefusedError, UsageError
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from tests.identities import Identities


class EndedError(Exception):
    """Stands for the end of the process; the first argument is the exit code."""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def end(code: int) -> None:
        raise EndedError(code)

    monkeypatch.setattr(os, "_exit", end)
    (tmp_path / "file").write_text("")
    Identities("x").write(tmp_path, Board("a", Location("1", "1"), "t"))
    file = tmp_path / "agent.toml"
    file.write_text(
        '[cluster]\nname = "x"\ninterface = "lo"\n'
        '[board]\nid = "a"\nchassis = "1"\nslot = "1"\ntype = "t"\ngroups = []\n'
        '[agent]\nroot = "root"\nstate_dir = "state"\n'
    )
    return file


@pytest.mark.parametrize("key", ["root", "state_dir"])
def test_a_directory_that_cannot_be_made(config: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = config.read_text()
    word = {"root": "root", "state_dir": "state"}[key]
    config.write_text(text.replace(f'{key} = "{word}"', f'{key} = "file/x"'))
    with pytest.raises(EndedError, match="2"):
        program.main(["--config", str(config)])
    said = capsys.readouterr().err
    assert f"{config.parent / 'file' / 'x'} cannot be used" in said
    assert f"\nhint: set [agent] {key}" in said


def test_a_second_agent_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with StateLock(tmp_path), pytest.raises(RefusedError) as refused, StateLock(tmp_path):
        pass
    assert str(tmp_path) in str(refused.value)
    assert "state_dir" in str(refused.value.hint)


def test_a_file_as_state_directory_is_a_matter_of_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="state directory"), StateLock(tmp_path / "file"):
        pass
