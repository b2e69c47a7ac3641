"""A configuration is one file and its drop-ins."""

from pathlib import Path

import pytest

from boardwright.config.fragments import read_document
from boardwright.errors import UsageError


def test_drop_ins_are_laid_over_the_file_in_the_order_of_their_names(tmp_path: Path) -> None:
    main = tmp_path / "agent.toml"
    main.write_text('[limits]\ndownload = "1MB/s"\nrelay = "2MB/s"\n[board]\ngroups = ["a", "b"]\n')
    folder = tmp_path / "agent.toml.d"
    folder.mkdir()
    (folder / "20-site.toml").write_text('[limits]\ndownload = "3MB/s"\n')
    (folder / "10-rack.toml").write_text('[limits]\ndownload = "9MB/s"\n[board]\ngroups = ["c"]\n')
    (folder / "README").write_text("not a drop-in")
    document = read_document(main)
    assert document.tables == {"limits": {"download": "3MB/s", "relay": "2MB/s"}, "board": {"groups": ["c"]}}


def test_every_key_remembers_the_file_that_set_it_last(tmp_path: Path) -> None:
    main = tmp_path / "agent.toml"
    main.write_text("[limits]\ndownload = 1\nrelay = 2\n")
    folder = tmp_path / "agent.toml.d"
    folder.mkdir()
    drop_in = folder / "site.toml"
    drop_in.write_text("[limits]\ndownload = 3\n[agent]\n")
    document = read_document(main)
    assert document.origin(("limits", "download")) == drop_in
    assert document.origin(("limits", "relay")) == main
    assert document.origin(("agent", "root")) == drop_in
    assert document.origin(("nothing", "at", "all")) == main


@pytest.mark.parametrize("content", [b"[board\n", b"a = 1\na = 2\n", b"a = " + b"[" * 5000])
def test_a_file_that_is_not_toml_is_named_and_the_cause_is_kept(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "agent.toml"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"agent\.toml: is not valid TOML") as caught:
        read_document(file)
    assert caught.value.__cause__ is not None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.toml: cannot be read") as caught:
        read_document(tmp_path / "missing.toml")
    assert isinstance(caught.value.__cause__, FileNotFoundError)
