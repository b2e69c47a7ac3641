"""What docs/security.md says that a test shows, a test of that name is there to show."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:[a-z0-9]+_){2,}[a-z0-9_]+|Test[A-Za-z]+)`", TEXT)))
FILES = sorted(set(re.findall(r"\btests/[a-z_/]+\.py\b", TEXT)))


def test_there_is_much_to_check() -> None:
    assert len(NAMED) > 15


@pytest.mark.parametrize("name", NAMED)
def test_a_test_of_this_name_is_there(name: str) -> None:
    pattern = re.compile(rf"class {name}\b" if name.startswith("Test") else rf"def test_\w*{name}")
    assert any(pattern.search(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_named_is_there(file: str) -> None:
    assert (ROOT / file).is_file()
