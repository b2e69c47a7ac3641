"""Every key of every file, with everything that somebody could write there: one sentence, nothing taken for granted."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from boardwright.config import load_agent, load_inventory, load_operator, load_server
from boardwright.config.fragments import MAX_DROP_INS
from boardwright.errors import UsageError, explain
from boardwright.transfer.options import read_options

CONTROL = ['"a\\u0000b"', '"a\\nb"', '"\\u001b[2J"']
NOT_TEXT = ["3.5", "true", "[]", '["a"]', "{}", "1979-05-27", "nan", '""', '" "', "'''\n'''", *CONTROL]
NAME = [*NOT_TEXT, "1", '"../x"', '"-x"', '"a b"', f'"{"x" * 129}"', '"\u00e4"']
NAMES = ["1", '"a"', "{}", "true", '["a", "a"]', "[1]", '[""]', '[["a"]]', f"[{','.join(['1'] * 2000)}]", '["a/b"]']
PLACE = [*[one for one in NOT_TEXT if one != '["a"]'], "-1", '" 1"', f'"{"9" * 65}"', "9" * 100, f"0x{'f' * 5000}"]
PATH = [*NOT_TEXT, "1", f'"{"x" * 5000}"']
FLAG = ["1", "0", '"true"', "[]", "{}", "nan", '""']
AMOUNT = ["-1", "nan", "inf", "true", "[]", "{}", '"-5MB"', '"5 parsec"', '""', '" "', "1e300", f"0x{'f' * 5000}"]
AMOUNT += ["9" * 400, '"99999999999 TB"', '"5Mb"', '"0.1B"', *CONTROL]
WHOLE = ["0", "-1", "1.5", '"1"', "true", "nan", "[]", "{}", "9" * 100, f"0x{'f' * 5000}"]
HOST = [*NOT_TEXT, "1", '"0.0.0.0"', '"local"', '"10.0.0.256"', '"239.1.1.1"', '"fe80::1"', '"::"']
LISTEN = [*NOT_TEXT, "1", '"10.0.0.1"', '"10.0.0.1:"', '"10.0.0.1:70000"', '":80"', '"10.0.0.1:-1"', '"[fe80::1]:80"']
LISTEN += ['"239.0.0.1:80"']
HOSTS = ["1", '[""]', "{}", "true", '["x"]', '["0.0.0.0"]', '["10.0.0.1:0"]', '["10.0.0.1:65536"]', "[[]]", "[1]"]
GROUP = [*NOT_TEXT, "1", '"10.0.0.1"', '"239.1.1.1:0"', '"239.1.1.1:"', '"239.1.1.1:99999"', '"239.1.1.1:\u0663"']
INTERFACES = ["1", "[]", '[""]', "{}", "true", '["a", "a"]', '"a-name-that-is-too-long"', '"a b"', *CONTROL]
INTERFACES += [str([f"eth{number}" for number in range(70)]), '"a/b"']
ENGINE = [*NOT_TEXT, "1", '"postgres"', '"sqlite:"', '"sqlite://h/x"', '"etcd:h"', '"etcd://"', '"etcd://h:0"']
ENGINE += [
    '"etcd://h,"',
    '"etcd://h,h:2379"',
    '"etcd://h:99999"',
    '"etcd://u@h"',
    '"etcd://h/x"',
    '"etcd://fd00::1:2379"',
]
ENGINE += ['"etcd://[fe80::1%eth0]"', '"etcd://h:\u0663"', f'"etcd://{",".join(f"h{number}" for number in range(10))}"']
FOR_ETCD = [*PATH, '"x"']  # a file alone is not enough, and none is for sqlite
PERIOD = ["0", "-1", "0.5", "nan", "inf", '"2d"', '"5 parsec"', "true", "[]", '""', "9" * 400]
URLS = [
    "1",
    "[]",
    '"ftp://a"',
    '"10.0.0.1:6688"',
    '"http://a"',
    '"https://"',
    '"https://a:99999"',
    '"https://a/b"',
    '["https://a b"]',
]
URLS += ['"https://u:p@a"', '"https://a?x"', "[1]", '"https://a:0"', *CONTROL]

AGENT = {
    "cluster.name": NAME,
    "cluster.interface": INTERFACES,
    "cluster.multicast": GROUP,
    "cluster.servers": HOSTS,
    "cluster.trust": PATH,
    "cluster.certificate": PATH,
    "cluster.key": PATH,
    "board.id": NAME,
    "board.chassis": PLACE,
    "board.slot": PLACE,
    "board.type": NAME,
    "board.groups": NAMES,
    "board.server": FLAG,
    "board.pair": NAME,
    "agent.root": PATH,
    "agent.state_dir": PATH,
    "agent.period": PERIOD,
    "relay.enabled": FLAG,
    "relay.listen": LISTEN,
    "limits.download": AMOUNT,
    "limits.relay": AMOUNT,
    "limits.store_quota": AMOUNT,
}
SERVER = {
    "cluster.name": NAME,
    "cluster.interface": INTERFACES,
    "cluster.multicast": GROUP,
    "cluster.peers": HOSTS,
    "cluster.trust": PATH,
    "cluster.certificate": PATH,
    "cluster.key": PATH,
    "cluster.inventory": PATH,
    "board.id": NAME,
    "board.chassis": PLACE,
    "board.slot": PLACE,
    "board.type": NAME,
    "board.groups": NAMES,
    "board.server": FLAG,
    "board.pair": NAME,
    "server.listen": LISTEN,
    "server.blob_listen": LISTEN,
    "server.data_dir": PATH,
    "state.engine": ENGINE,
    "state.ca": FOR_ETCD,
    "state.certificate": FOR_ETCD,
    "state.key": FOR_ETCD,
    "state.user": [*NOT_TEXT, "1", '"x"', f'"{"x" * 129}"'],
    "state.password_file": FOR_ETCD,
    "limits.per_board": AMOUNT,
    "limits.total": AMOUNT,
    "limits.inter_chassis": AMOUNT,
    "limits.admission": WHOLE,
    "limits.store_quota": AMOUNT,
    "server.arbitration": [*NOT_TEXT, "1", '"is-chosen"', '["sbin/x"]', '["/x", 1]'],
    "server.scrub": ["-1", "0.5", "nan", '"500d"', "true", '""'],
    "server.release": PATH,
}
INVENTORY = {
    "cluster.name": NAME,
    "cluster.interface": INTERFACES,
    "cluster.engine": [*ENGINE, '"memory"'],
    "cluster.multicast": GROUP,
    "cluster.unicast": HOSTS,
    "cluster.api_port": WHOLE,
    "cluster.blob_port": WHOLE,
    "cluster.relay_port": WHOLE,
    "cluster.relay": FLAG,
    "board.id": [*NAME, '"operator"'],
    "board.chassis": PLACE,
    "board.slot": PLACE,
    "board.type": NAME,
    "board.address": HOST,
    "board.server": FLAG,
    "board.groups": NAMES,
    "board.pair": NAME,
    "board.interface": INTERFACES,
    "board.root": PATH,
    "board.state_dir": PATH,
    "board.data_dir": PATH,
    "board.engine_dir": PATH,
}
OPERATOR = {".cluster": NAME, ".servers": URLS}
TEXTS = ["1", '"a"', "true", "{}", "[1]", "[[]]"]
SECONDS = ["0", "-1", "nan", "inf", '"1"', "true", "1e300", "3601", "[]"]
SOFTWARE = {
    "software.board_types": [*TEXTS, '["a b"]', '[""]', '["a,b"]'],
    "software.requires": ["1", '"a"', "[]", "{ a = 1 }", '{ a = "= 3" }', '{ a = ">=" }'],
    "software.case_sensitive": FLAG,
    "install.before": TEXTS,
    "install.after": TEXTS,
    "install.restart": TEXTS,
    "install.hook_timeout": SECONDS,
    "health.command": [*TEXTS, "[]", '["../x"]'],
    "health.timeout": SECONDS,
}

GOOD_AGENT = {
    "cluster": {"name": '"c"', "interface": '"eth1"'},
    "board": {"id": '"b"', "chassis": "1", "slot": "1", "type": '"t"', "groups": "[]"},
}
GOOD_SERVER = {
    "cluster": {"name": '"c"', "interface": '"eth1"'},
    "board": {"id": '"b"', "chassis": "1", "slot": "1"},
    "server": {"listen": '"10.0.0.1:1"'},
}
GOOD_INVENTORY = {
    "cluster": {"name": '"c"', "interface": '"eth1"'},
    "board": {"id": '"b"', "chassis": "1", "slot": "1", "type": '"t"', "address": '"10.0.0.1"', "server": "true"},
}
GOOD_SOFTWARE: dict[str, dict[str, str]] = {"software": {}, "install": {}, "health": {"command": '["x"]'}}
Good = dict[str, dict[str, str]]
Read = Callable[[Path], object]


def _read_software(path: Path) -> object:
    return read_options(str(path), path.read_bytes())


FILES: dict[str, tuple[Read, Good, dict[str, list[str]]]] = {
    "agent.toml": (load_agent, GOOD_AGENT, AGENT),
    "server.toml": (load_server, GOOD_SERVER, SERVER),
    "cluster.toml": (load_inventory, GOOD_INVENTORY, INVENTORY),
    "operator.toml": (lambda path: load_operator(path.parent), {"": {"cluster": '"c"'}}, OPERATOR),
    "boardwright.toml": (_read_software, GOOD_SOFTWARE, SOFTWARE),
}
KEYS = [(file, key) for file, (_, _, keys) in FILES.items() for key in keys]


def document(file: str, changed: dict[str, str]) -> str:
    """The good document of this file with some keys changed or added."""
    _, good, _ = FILES[file]
    tables = {table: dict(keys) for table, keys in good.items()}
    if file == "operator.toml":
        tables[""].setdefault("servers", '["https://a"]')
    for key, value in changed.items():
        table, _, name = key.partition(".")
        tables.setdefault(table, {})[name] = value
    lines = []
    for table, keys in tables.items():
        head = f"[[{table}]]" if file == "cluster.toml" and table == "board" else f"[{table}]"
        lines += [head if table else "", *(f"{name} = {value}" for name, value in keys.items())]
    return "\n".join(lines)


def sentence(file: Path, read: Read) -> str:
    """What is said about the file, checked to be one readable sentence with a way out; nothing was made beside it."""
    before = sorted(file.parent.rglob("*"))
    with pytest.raises(UsageError) as caught:
        read(file)
    assert sorted(file.parent.rglob("*")) == before
    first, *rest = explain("boardwright", caught.value)
    assert str(file) in first
    assert len(first) < 800, first
    assert all(line.isprintable() for line in (first, *rest))
    assert caught.value.hint or "write" in first, first
    return "\n".join([first, *rest])


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_what_cannot_be_is_said_with_file_key_and_a_way_out(tmp_path: Path, name: str, key: str) -> None:
    read, _, keys = FILES[name]
    file = tmp_path / name
    table, _, word = key.partition(".")
    for value in keys[key]:
        file.write_text(document(name, {key: value}))
        said = sentence(file, read)
        assert word in said, said
        assert table in said, said


@pytest.mark.parametrize("name", FILES)
def test_the_good_document_is_good(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(document(name, {}))
    FILES[name][0](tmp_path / name)


@pytest.mark.parametrize("name", [name for name in FILES if name != "boardwright.toml"])
def test_no_key_was_forgotten_here(tmp_path: Path, name: str) -> None:
    """The sentence about an unknown key lists the known ones."""
    read, _, keys = FILES[name]
    for table in {key.partition(".")[0] for key in keys}:
        (tmp_path / name).write_text(document(name, {f"{table}.zzzzzz": "1"}))
        said = sentence(tmp_path / name, read)
        known = said.partition("known are ")[2].split(", ")
        assert set(known) <= {key.partition(".")[2] for key in keys if key.startswith(f"{table}.")}, said


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_a_misspelt_key_is_named_with_the_one_that_was_meant(tmp_path: Path, name: str, key: str) -> None:
    table, _, word = key.partition(".")
    wrong = f"{word}x"
    (tmp_path / name).write_text(document(name, {f"{table}.{wrong}": "1"}))
    said = sentence(tmp_path / name, FILES[name][0])
    assert wrong in said
    assert word in said.replace(wrong, "")


class TestFilesThatAreNone:
    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"\xff\xfe[\0", "not text in UTF-8"),
            (b"a = 1\na = 2\n", "TOML"),
            (b"[a]\nb=1\n[a]\n", "TOML"),
            (b"\0", "TOML"),
            (b"a = " + b"[" * 100_000, "TOML"),
            (b"a = " + b"9" * 5000, "TOML"),
            (b"[" + b"a." * 2000 + b"a]\n", ""),
            (b"x" * 5_000 + b" = 1", ""),
            (b'"\\u001b[2J" = 1', ""),
            (b"#" * 70_000_000, "bytes"),
        ],
        ids=["utf-16", "key twice", "table twice", "nul", "deep", "long number", "dots", "long key", "escape", "huge"],
    )
    def test_contents(self, tmp_path: Path, name: str, content: bytes, words: str) -> None:
        (tmp_path / name).write_bytes(content)
        assert words in sentence(tmp_path / name, FILES[name][0])

    @pytest.mark.parametrize("name", FILES)
    def test_a_byte_order_mark_and_the_line_ends_of_windows_are_fine(self, tmp_path: Path, name: str) -> None:
        text = document(name, {}).replace("\n", "\r\n")
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        FILES[name][0](tmp_path / name)

    @pytest.mark.parametrize("name", [name for name in FILES if name != "boardwright.toml"])
    def test_places(self, tmp_path: Path, name: str) -> None:
        file, read = tmp_path / name, FILES[name][0]
        assert "cannot be read" in sentence(file, read)
        file.symlink_to("nowhere")
        assert "cannot be read" in sentence(file, read)
        file.unlink()
        file.mkdir()
        assert "cannot be read" in sentence(file, read)
        file.rmdir()
        os.mkfifo(file)
        assert "is not a file" in sentence(file, read)

    def test_drop_ins(self, tmp_path: Path) -> None:
        file, folder = tmp_path / "agent.toml", tmp_path / "agent.toml.d"
        file.write_text(document("agent.toml", {}))
        folder.write_text("no folder")
        assert "agent.toml.d: cannot be read" in sentence(file, load_agent)
        folder.unlink()
        folder.mkdir()
        (folder / "a.toml").symlink_to("nowhere")
        with pytest.raises(UsageError, match=r"a\.toml: cannot be read"):
            load_agent(file)
        (folder / "a.toml").unlink()
        for number in range(MAX_DROP_INS + 1):
            (folder / f"{number}.toml").touch()
        assert "1001 drop-ins" in sentence(file, load_agent)


class TestThePrograms:
    """Real ones: exit code 2, the sentence, no traceback, and nothing is made."""

    @pytest.mark.parametrize(
        ("program", "name"), [("boardwright-agent", "agent.toml"), ("boardwright-server", "server.toml")]
    )
    def test_end_before_they_make_anything(self, tmp_path: Path, program: str, name: str) -> None:
        where = {"agent.toml": "agent.state_dir", "server.toml": "server.data_dir"}[name]
        changed = {where: '"data"', "limits.store_quota": '"many"'}
        (tmp_path / name).write_text(document(name, changed))
        done = self._run(program, "--config", str(tmp_path / name))
        assert done.returncode == 2
        assert done.stdout == ""
        assert f"{program}: {tmp_path / name}: [limits] store_quota: 'many' is not a size" in done.stderr
        assert "Traceback" not in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == [name]

    @pytest.mark.parametrize("program", ["boardwright-agent", "boardwright-server"])
    def test_want_a_configuration(self, program: str) -> None:
        for words in ([], ["--config"], ["--config", "x", "--nonsense"]):
            done = self._run(program, *words)
            assert done.returncode == 2
            assert "Traceback" not in done.stderr

    def _run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        path = Path(sys.executable).parent / program
        return subprocess.run([path, *words], check=False, capture_output=True, text=True, timeout=60)
