"""The operator's keys behind a passphrase: made so by `init`, and opened by every command that uses them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Self, cast

import pytest

from boardwright.cli.program import run
from boardwright.cli.session import Session
from boardwright.errors import BoardwrightError, UsageError
from boardwright.model.admission import Joiner, JoinerList
from boardwright.model.api import SignedMetadata, TrustChange
from boardwright.net.api_client import ApiClient
from boardwright.trust.credentials import load_authority, load_key
from boardwright.trust.identity import Role, key_digest
from boardwright.trust.issuing import key_pem, new_key
from boardwright.trust.joining import public_bytes
from boardwright.trust.offline import signer_of
from boardwright.trust.online import SignedRoles

WORD = "open sesame"
LOCKED = ("authority.pem", "engine.pem", "root.pem", "targets.pem")
BOARD = """[[board]]
id = "{0}"
chassis = "{1}"
slot = "1"
type = "rp"
address = "10.0.{1}.1"
server = true
groups = ["platform"]
"""
HEAD = '[cluster]\nname = "core1"\ninterface = "eth1"\nengine = "etcd://10.0.1.1:2379"\n'


class Desk:
    """An operator whose keys are locked, and a cluster that takes what is signed rightly."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inventory = folder / "cluster.toml"
        self.inventory.write_text(HEAD + BOARD.format("c1s1", 1) + BOARD.format("c2s1", 2))
        self.word = folder / "word"
        self.word.write_text(WORD + "\n")
        self.made = folder / "made"
        self.operator = self.made / "operator"
        self.joiner = new_key()
        self.approved: list[bytes] = []

    def runs(self, *words: str, file: Path | None = None, variable: str = "") -> int:
        before = ("--passphrase-file", str(file)) if file else ()
        return run((*before, *words), Session(self.operator, self.connect, variable))

    def init(self) -> None:
        words = ("init", str(self.made), "--inventory", str(self.inventory), "--passphrase-file", str(self.word))
        assert self.runs(*words) == 0
        first = (self.operator / "trust" / "root.json", self.operator / "trust" / "targets.json")
        root, targets = (file.read_bytes() for file in first)
        online = signer_of(load_key(self.made / "c1s1" / "online.pem"))
        self.signed = SignedRoles().with_root(root).with_targets(targets).signed(None, online, time.time())

    def key(self, name: str, passphrase: str = "") -> bool:
        """Whether the passphrase opens this key, '' whether it is open."""
        try:
            load_key(self.operator / "keys" / name, passphrase)
        except UsageError:
            return False
        return True

    # The cluster.

    def connect(self, *_: object) -> ApiClient:
        return cast(ApiClient, self)

    def heed(self, _: object) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def signed_metadata(self) -> SignedMetadata:
        return SignedMetadata(self.signed.roots, self.signed.roles)

    def change_trust(self, change: TrustChange) -> None:
        self.signed = self.signed.with_root(change.root) if change.root else self.signed
        self.signed = self.signed.with_targets(change.targets) if change.targets else self.signed

    def joiners(self) -> JoinerList:
        public = self.joiner.public_key()
        return JoinerList(
            (Joiner("c1s9", "board", "1", "9", key_digest(public), public_bytes(public), "10.0.1.9", 0.0, "", "t"),)
        )

    def approve(self, key: str, certificate: bytes) -> Joiner:
        del key
        self.approved.append(certificate)
        return self.joiners().joiners[0]

    def revocations(self) -> list[bytes]:
        return []

    def revoke(self, data: bytes) -> tuple[int, list[BoardwrightError]]:
        return len(data), []


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    return Desk(tmp_path)


class TestInit:
    @pytest.mark.parametrize("how", ["behind the command", "before it", "by the variable"])
    def test_locks_the_operator_s_keys_and_nothing_that_a_board_needs(self, desk: Desk, how: str) -> None:
        words = ("init", str(desk.made), "--inventory", str(desk.inventory))
        if how == "behind the command":
            ended = desk.runs(*words, "--passphrase-file", str(desk.word))
        else:
            ended = desk.runs(*words, file=desk.word) if how == "before it" else desk.runs(*words, variable=WORD)
        assert ended == 0
        assert not any(desk.key(name) for name in LOCKED)
        assert all(desk.key(name, WORD) for name in LOCKED)
        assert load_key(desk.operator / "key.pem")
        for file in ("key.pem", "online.pem", "enroller-key.pem"):
            assert load_key(desk.made / "c1s1" / file)

    def test_locks_nothing_without_one(self, desk: Desk) -> None:
        assert desk.runs("init", str(desk.made), "--inventory", str(desk.inventory)) == 0
        assert all(desk.key(name) for name in LOCKED)

    def test_with_an_empty_passphrase_makes_nothing(self, desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
        desk.word.write_text("\n")
        words = ("init", str(desk.made), "--inventory", str(desk.inventory), "--passphrase-file", str(desk.word))
        assert desk.runs(*words) == 2
        assert "has no passphrase in its first line" in capfd.readouterr().err
        assert not desk.made.exists()

    def test_add_opens_the_authority_s_key(self, desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
        desk.init()
        with desk.inventory.open("a") as file:
            file.write(BOARD.format("c3s1", 3))
        words = ("init", str(desk.made), "--inventory", str(desk.inventory), "--add")
        assert desk.runs(*words) == 2
        assert "BOARDWRIGHT_PASSPHRASE" in capfd.readouterr().err
        assert not (desk.made / "c3s1").exists()
        assert desk.runs(*words, "--passphrase-file", str(desk.word)) == 0
        assert (desk.made / "c3s1" / "certificate.pem").exists()


COMMANDS = {
    "approve": lambda desk: ("approve", "c1s9"),
    "revoke": lambda desk: ("revoke", "c2s1"),
    "trust drop-server": lambda desk: ("trust", "drop-server", "c2s1"),
    "trust rotate-root": lambda desk: ("trust", "rotate-root"),
    "trust delegate": lambda desk: ("trust", "delegate", "routing", str(desk.made / "c2s1" / "certificate.pem")),
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
class TestEveryCommandThatSigns:
    def test_opens_the_keys(self, desk: Desk, words: Callable[[Desk], tuple[str, ...]]) -> None:
        desk.init()
        assert desk.runs(*words(desk), file=desk.word) == 0

    def test_says_what_it_needs_where_nobody_can_be_asked(
        self, desk: Desk, words: Callable[[Desk], tuple[str, ...]], capfd: pytest.CaptureFixture[str]
    ) -> None:
        desk.init()
        before = desk.signed
        assert desk.runs(*words(desk)) == 2
        said = capfd.readouterr().err
        assert "passphrase of" in said
        assert "--passphrase-file" in said
        assert desk.runs(*words(desk), variable="wrong") == 2
        assert "the passphrase wrong" in capfd.readouterr().err
        assert (desk.signed, desk.approved) == (before, [])
        assert not list((desk.operator / "keys").glob("*.next"))

    def test_asks_once(
        self, desk: Desk, words: Callable[[Desk], tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.init()
        own = desk.operator / "key.pem"  # what the operator proves himself with may be locked, too
        own.write_bytes(key_pem(load_key(own), WORD))
        asked: list[str] = []
        monkeypatch.setattr("sys.stdin.isatty", lambda: True)
        monkeypatch.setattr("getpass.getpass", lambda prompt: asked.append(prompt) or WORD)
        assert desk.runs(*words(desk)) == 0
        assert asked == [f"passphrase of {asked[0].removeprefix('passphrase of ').removesuffix(': ')}: "]


def test_a_new_root_key_is_locked_like_the_old_one(desk: Desk) -> None:
    desk.init()
    before = (desk.operator / "keys" / "root.pem").read_bytes()
    assert desk.runs("trust", "rotate-root", file=desk.word) == 0
    assert (desk.operator / "keys" / "root.pem").read_bytes() != before
    assert not desk.key("root.pem")
    assert desk.key("root.pem", WORD)
    assert desk.runs("trust", "rotate-root", file=desk.word) == 0
    assert len(desk.signed.roots) == 3


def test_who_is_approved_is_certified_by_the_locked_authority(desk: Desk) -> None:
    desk.init()
    assert desk.runs("approve", "c1s9", variable=WORD) == 0
    (certificate,) = desk.approved
    said = load_authority(desk.operator / "trust", "core1").verify(certificate).identity
    assert (said.id, said.role, said.key) == ("c1s9", Role.BOARD, key_digest(desk.joiner.public_key()))
