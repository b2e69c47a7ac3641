"""boardwright.toml: what a version says of itself."""

import pytest

from boardwright.errors import UsageError
from boardwright.model.software import HealthSpec, InstallSpec
from boardwright.transfer.options import SoftwareOptions, read_options

NAME = "files/boardwright.toml"
FULL = b"""
[software]
group = "routing"
version = "8.4.4"
board_types = ["lc-*"]
requires = { platform = ">= 3" }
[install]
installer = "tree"
before = ["bin/check"]
after = []
restart = ["frr.service"]
[health]
command = ["sbin/zebra", "--version"]
timeout = 10
"""


def test_everything_may_be_said() -> None:
    assert read_options(NAME, FULL) == SoftwareOptions(
        group="routing",
        version="8.4.4",
        board_types=("lc-*",),
        requires={"platform": ">= 3"},
        install=InstallSpec(before=("bin/check",), restart=("frr.service",)),
        health=HealthSpec(command=("sbin/zebra", "--version"), timeout=10.0),
    )


def test_nothing_need_be_said() -> None:
    assert read_options(NAME, b"") == SoftwareOptions()


def test_what_the_command_says_wins() -> None:
    merged = SoftwareOptions(version="9", board_types=("rp",)).over(read_options(NAME, FULL))
    assert (merged.group, merged.version, merged.board_types) == ("routing", "9", ("rp",))
    assert merged.health is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[software]\ngruop = 'x'", ["[software]", "gruop", "'x'"]),
        (b"[healht]\ncommand = ['x']", ["healht"]),
        (b"group = 'x'", ["group", "'x'"]),
        (b"[software]\nversion = 8", ["[software]", "version = 8", "text"]),
        (b"[software]\nboard_types = 'lc'", ["board_types = 'lc'", "list"]),
        (b"[software]\nboard_types = ['lc-*', '']", ["board_types", "board type ''"]),
        (b"[software]\nboard_types = ['lc, rp']", ["board type 'lc, rp'"]),
        (b"[software]\nrequires = { platform = 3 }", ["requires = { platform = 3 }", "table of requirements"]),
        (b"[install]\nhook_timeout = -1", ["[install] hook_timeout = -1"]),
        (b"[install]\nhook_timeout = 'long'", ["hook_timeout = 'long'", "number of seconds"]),
        (b"[health]\ncommand = ['../probe']", ["[health] command", "'../probe'"]),
        (b"[health]\nhttp = 'localhost/up'", ["[health] http = 'localhost/up'", "URL"]),
        (b"[health]\ntcp = 'localhost'", ["[health] tcp = 'localhost'", "host:port"]),
        (b"[software]\nrequires = { platform = 'about 3' }", ["requires.platform", "about 3"]),
        (b"[install]\nbefore = 'bin/check'", ["[install]", "before = 'bin/check'"]),
        (b"[install]\nshell = true", ["[install]", "shell = true"]),
        (b"[health]\ntimeout = 5", ["[health]", "no probe"]),
        (b"[health]\nhttp = 'http://x'\ntcp = 'x:1'", ["http and tcp"]),
        (b"[health]\ncommand = ['x']\ntimeout = 0", ["timeout = 0"]),
        (b"[health]\ncommand = ['x']\ntimeout = nan", ["timeout = nan"]),
        (b"[software", ["not TOML"]),
        (b"\xff", ["not text in UTF-8"]),
        (b"#" * 2_000_000, ["more than 1048576 bytes"]),
    ],
)
def test_what_is_wrong_is_named_with_file_key_and_value(text: bytes, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        read_options(NAME, text)
    for word in [NAME, *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [(b"[sofware]", "'software'"), (b"[health]\ncomand = ['x']", "'command'"), (b"[install]\nx = 1", "hook_timeout")],
)
def test_a_misspelt_word_has_the_one_that_was_meant_in_its_hint(text: bytes, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_options(NAME, text)
    assert hint in str(caught.value.hint)
