"""`boardwright revoke` with the folder that `init` made, and a cluster that is one list."""

from pathlib import Path
from typing import Self, cast

import pytest

from boardwright.cli.enrolling import known_authority
from boardwright.cli.init import init
from boardwright.cli.passphrase import unlocked
from boardwright.cli.program import run
from boardwright.cli.session import Session
from boardwright.errors import BoardwrightError
from boardwright.model.api import REVOCATIONS_HEADER
from boardwright.net.api_client import ApiClient
from boardwright.trust.credentials import load_authority, load_certificates
from boardwright.trust.identity import identity_of, read_certificate
from boardwright.trust.revocation import Revocations, read_revocations, sign_revocations
from boardwright.trust.revoked import FILE, RevokedKeys
from tests.tls import LAB
from tests.unit.net.fake_servers import Reply, fake_servers

INVENTORY = """
[cluster]
name = "core1"
interface = "lo"
engine = "sqlite:/tmp/none.db"
[[board]]
id = "c1s1"
chassis = "1"
slot = "1"
type = "rp"
address = "10.0.1.1"
server = true
groups = ["platform"]
[[board]]
id = "c1s3"
chassis = "1"
slot = "3"
type = "lc"
address = "10.0.1.3"
groups = ["platform"]
"""


class Desk:
    """An operator, and the servers as the lists that they have."""

    def __init__(self, folder: Path) -> None:
        (folder / "cluster.toml").write_text(INVENTORY)
        self.made = folder / "made"
        init(self.made, folder / "cluster.toml")
        self.operator = self.made / "operator"
        self.authority = load_authority(self.operator / "trust", "core1")
        self.lists: list[bytes] = []
        self.meanwhile: list[bytes] = []  # what another operator signed, in the middle of a command
        self.down = False

    def connect(self, *_: object) -> ApiClient:
        return cast(ApiClient, self)

    def heed(self, _: object) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def revocations(self) -> list[bytes]:
        return self.lists[-1:]

    def revoke(self, data: bytes) -> tuple[int, list[BoardwrightError]]:
        if self.down:
            return 0, []
        self.meanwhile, came = [], self.meanwhile
        self.lists += came
        try:
            self.held.take(data)
        except BoardwrightError as error:
            return 0, [error]
        self.lists.append(data)
        return 1, []

    @property
    def held(self) -> RevokedKeys:
        """What a server has that took these lists."""
        held = RevokedKeys(self.made / "nowhere", self.authority, lambda *_: None)
        for data in self.lists:
            if data != b"lies":
                held.take(data)
        return held

    def runs(self, *words: str) -> int:
        return run(["revoke", *words], Session(self.operator, self.connect))

    @property
    def newest(self) -> Revocations:
        return read_revocations(self.lists[-1], identity_of(read_certificate(self.authority.certificate)))

    def key(self, board: str, file: str = "certificate.pem") -> str:
        return identity_of(read_certificate(load_certificates(self.made / board / file)[0])).identity.key


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_board_is_revoked_by_its_id(desk: Desk) -> None:
    assert desk.runs("c1s3") == 0
    assert (desk.newest.number, desk.newest.keys) == (1, {desk.key("c1s3")})


def test_a_control_board_loses_its_enroller_too_and_lists_only_grow(desk: Desk) -> None:
    desk.runs("c1s3")
    assert desk.runs("c1s1") == 0
    enroller = desk.key("c1s1", "enroller.pem")
    assert (desk.newest.number, desk.newest.keys) == (2, {desk.key("c1s3"), desk.key("c1s1"), enroller})


def test_the_folders_of_the_boards_are_not_needed(desk: Desk) -> None:
    key = desk.key("c1s3")
    (desk.made / "c1s3").rename(desk.made.parent / "elsewhere")
    assert desk.runs("c1s3") == 0
    assert desk.newest.keys == {key}


def test_keys_that_only_the_servers_know_of_are_kept(desk: Desk) -> None:
    key = known_authority(desk.operator, "core1", unlocked).key
    desk.lists.append(sign_revocations(Revocations("core1", 7, frozenset({"1" * 64})), key))
    assert desk.runs("c1s3") == 0
    assert (desk.newest.number, desk.newest.keys) == (8, {"1" * 64, desk.key("c1s3")})


def test_two_operators_who_sign_the_same_number_both_get_what_they_wanted(desk: Desk) -> None:
    key = known_authority(desk.operator, "core1", unlocked).key
    desk.meanwhile.append(sign_revocations(Revocations("core1", 1, frozenset({"1" * 64})), key))
    assert desk.runs("c1s3") == 0
    assert (desk.newest.number, desk.newest.keys) == (2, {"1" * 64, desk.key("c1s3")})


def test_a_server_that_lies_about_the_list_changes_nothing(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    desk.lists.append(b"lies")
    assert desk.runs("c1s3") == 0
    assert desk.newest.number == 1
    assert "no right list" in capfd.readouterr().err


def test_what_no_server_took_is_sent_again_under_the_same_number(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    desk.down = True
    assert desk.runs("c1s3") == 4
    assert "list 1" in capfd.readouterr().err
    desk.down = False
    assert desk.runs("c1s3") == 0
    assert desk.newest.number == 1


def test_a_key_that_the_folder_does_not_know_is_said(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    assert desk.runs("c1s9") == 1
    assert "--key" in capfd.readouterr().err
    assert desk.runs("c1s9", "--key", "44be") == 2
    assert desk.lists == []
    assert desk.runs("c1s9", "--key", "4" * 64) == 0
    assert desk.newest.keys == {"4" * 64}


def test_without_the_authoritys_key_nobody_is_revoked(desk: Desk) -> None:
    (desk.operator / "keys" / "authority.pem").unlink()
    assert desk.runs("c1s3") == 3
    assert desk.lists == []


class AtWork:
    """A server of the lab that a command finds, with a list of revoked keys."""

    def __init__(self, data: bytes, number: str) -> None:
        self.data, self.number = data, number
        self.own = LAB.server("c1s1")
        self.callers = LAB.callers(self.own)

    def answer(self, method: str, path: str, body: bytes) -> Reply:
        said = self.callers.answer(method, path, body, "")
        if said is not None:
            return said[0], {}, said[1]
        if path.startswith("/v1/revocations"):
            return 200, {}, self.data
        return 200, {REVOCATIONS_HEADER: self.number}, b'{"boards": []}'


class TestEveryCommand:
    """Keeps the newest list that a server has shown it, and goes by it."""

    @pytest.fixture
    def operator(self, tmp_path: Path) -> Path:
        folder = tmp_path / "operator"
        folder.mkdir()
        LAB.write_operator(folder)
        return folder

    def run(self, operator: Path, server: AtWork) -> int:
        with fake_servers(server.answer, identity=server.own) as [fake]:
            (operator / "operator.toml").write_text(f'cluster = "lab"\nservers = ["{fake.base}"]\n')
            return run(["boards"], Session(operator))

    def kept(self, operator: Path) -> RevokedKeys:
        return RevokedKeys(operator / FILE, LAB.authority, lambda *_: None)

    def test_keeps_a_newer_one_in_the_operator_s_folder(self, operator: Path) -> None:
        said = Revocations("lab", 5, frozenset({"1" * 64}))
        assert self.run(operator, AtWork(sign_revocations(said, LAB.issuer.key), "5")) == 0
        assert (self.kept(operator).number, self.kept(operator).keys()) == (5, {"1" * 64})

    def test_keeps_nothing_that_nobody_signed(self, operator: Path) -> None:
        assert self.run(operator, AtWork(b"lies", "5")) == 0
        assert self.kept(operator).number == 0

    def test_talks_to_no_server_that_is_in_it(self, operator: Path, capfd: pytest.CaptureFixture[str]) -> None:
        server = AtWork(b"", "0")
        said = Revocations("lab", 1, frozenset({server.own.identity.key}))
        (operator / FILE).write_bytes(sign_revocations(said, LAB.issuer.key))
        assert self.run(operator, server) == 3
        assert "no server proved that it is one of this cluster" in capfd.readouterr().err
