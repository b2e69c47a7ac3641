"""`boardwright backup` and `restore`: the file on the operator's disk, and what is refused before anybody is asked."""

from pathlib import Path

import pytest

from boardwright.cli import backing_up as module
from boardwright.cli.backing_up import _for_servers, _write
from boardwright.cli.init import init
from boardwright.cli.program import run
from boardwright.cli.session import Session
from boardwright.errors import FailedError, UsageError
from boardwright.model.backup import write_backup
from boardwright.trust.names import ROOT_FILE, TARGETS_FILE
from boardwright.trust.offline import RootKeys
from boardwright.trust.online import SignedRoles

INVENTORY = """
[cluster]
name = "core1"
interface = "eth1"
engine = "sqlite:/x/state.db"
[[board]]
id = "c1s1"
chassis = "1"
slot = "1"
type = "rp"
address = "10.0.1.1"
server = true
[[board]]
id = "c1s2"
chassis = "1"
slot = "2"
type = "rp"
address = "10.0.1.2"
server = true
"""


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "cluster.toml").write_text(INVENTORY)
    return init(tmp_path / "out", tmp_path / "cluster.toml").operator


def first(operator: Path) -> SignedRoles:
    read = (operator / "trust" / name for name in (ROOT_FILE, TARGETS_FILE))
    root, targets = (path.read_bytes() for path in read)
    return SignedRoles().with_root(root).with_targets(targets)


def nobody(what: str) -> str:
    raise UsageError(f"{what} is locked")


def command(operator: Path, *words: str) -> int:
    return run(words, Session(operator))


class TestTheFile:
    def test_is_its_owner_s_alone_and_whole(self, tmp_path: Path) -> None:
        _write(tmp_path / "backup", b"all of it")
        assert (tmp_path / "backup").read_bytes() == b"all of it"
        assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600
        assert [path.name for path in tmp_path.iterdir()] == ["backup"]

    def test_takes_nobody_s_place(self, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "backup").write_text("mine")
        assert command(made, "backup", str(tmp_path / "backup")) == 3
        assert "exists already" in capsys.readouterr().err
        with pytest.raises(FailedError):  # somebody made it meanwhile
            _write(tmp_path / "backup", b"ours")
        assert (tmp_path / "backup").read_text() == "mine"

    def test_that_is_damaged_is_refused_before_anybody_is_asked(
        self, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data = write_backup([("plan", b"{}")], cluster="core1", generation=1, revision=1, at=1.0, release="x")
        (tmp_path / "backup").write_bytes(data[:-3])
        assert command(made, "restore", str(tmp_path / "backup")) == 2
        assert f"{tmp_path / 'backup'} is damaged" in capsys.readouterr().err

    def test_that_is_not_there_is_wrong_usage(self, made: Path, tmp_path: Path) -> None:
        assert command(made, "restore", str(tmp_path / "none")) == 2


class TestControlBoardsThatWereMadeAnew:
    def test_those_that_may_sign_need_no_signature(self, made: Path) -> None:
        assert _for_servers(made, first(made), nobody) == (None, None)

    def test_a_new_key_takes_the_old_one_s_place(self, made: Path, tmp_path: Path) -> None:
        before = RootKeys.of(first(made).roots[-1]).servers
        (tmp_path / "out/c1s2").rename(tmp_path / "dead")
        init(tmp_path / "out", tmp_path / "cluster.toml", add=True)
        root, targets = _for_servers(made, first(made), nobody)
        assert root is not None
        assert targets is not None
        after = first(made).with_root(root).with_targets(targets)
        keys = RootKeys.of(after.roots[-1]).servers
        assert keys["c1s1"].keyid == before["c1s1"].keyid
        assert keys["c1s2"].keyid != before["c1s2"].keyid
        assert before["c1s2"].keyid not in after.signing_keys

    def test_without_the_operator_s_keys_it_says_what_is_missing(self, made: Path, tmp_path: Path) -> None:
        (tmp_path / "out/c1s2").rename(tmp_path / "dead")
        init(tmp_path / "out", tmp_path / "cluster.toml", add=True)
        (made / module.KEYS / module.ROOT_KEY).unlink()
        with pytest.raises(UsageError, match="need the operator's signature"):
            _for_servers(made, first(made), nobody)
