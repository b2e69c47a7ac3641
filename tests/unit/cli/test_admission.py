"""`token`, `join` and `approve` against a cluster in memory: what goes where, and who is believed what."""

import io
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Self, cast

import msgspec
import pytest

from boardwright.cli import join as join_command
from boardwright.cli.enrolling import enroll_operator
from boardwright.cli.program import run
from boardwright.cli.session import Session
from boardwright.model.admission import (
    Approval,
    ClusterAuthority,
    JoinAnswer,
    Joiner,
    JoinerList,
    Joining,
    NewToken,
    TokenList,
    TokenStatus,
)
from boardwright.model.audit import Action
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.net.api_client import ApiClient
from boardwright.trust.credentials import load_credentials
from boardwright.trust.identity import Role, identity_of, read_certificate
from boardwright.trust.joining import read_token, secret_digest
from boardwright.trust.lines import Lines
from tests.identities import Identities
from tests.unit.cli.conftest import Outcome
from tests.unit.server.builders import act
from tests.unit.server.joiners import CORE, Gate

ROOT, TARGETS = b'{"signed": "the first root"}', b'{"signed": "the first targets"}'


class Wire:
    """An ApiClient whose server is in this process; `heard` is every request to join that came over it."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.authority_told = ClusterAuthority("core1", CORE.issuer.certificate, ROOT, TARGETS)
        self.heard: list[Joining] = []
        self.asked: list[Sequence[str]] = []
        self.certificate: bytes | None = None

    def connect(self, bases: Sequence[str], lines: Lines, cluster: str = "") -> ApiClient:
        assert lines is not None
        assert cluster == "core1"
        self.asked.append(tuple(bases))
        return cast(ApiClient, self)

    def heed(self, _: object) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def authority(self) -> ClusterAuthority:
        return self.authority_told

    def join(self, joining: Joining) -> JoinAnswer:
        self.heard.append(joining)
        answer = self.gate.admission.join(joining, "10.0.1.9")
        if self.certificate is not None and answer.chain:
            answer = msgspec.structs.replace(answer, chain=(self.certificate,))
        return msgspec.json.decode(msgspec.json.encode(answer), type=JoinAnswer)

    def joiners(self) -> JoinerList:
        return msgspec.json.decode(msgspec.json.encode(self.gate.admission.waiting()), type=JoinerList)

    def approve(self, key: str, certificate: bytes) -> Joiner:
        sent = msgspec.json.decode(msgspec.json.encode(Approval(certificate)), type=Approval)
        return self.gate.admission.approved(key, sent.certificate, act(Action.APPROVE))

    def dismiss(self, key: str) -> Joiner:
        return self.gate.admission.dismissed(key, act(Action.DISMISS))

    def create_token(self, new: NewToken) -> TokenStatus:
        return self.gate.tokens.create(new, act(Action.TOKEN_CREATE))

    def tokens(self) -> TokenList:
        return self.gate.tokens.listing()

    def drop_token(self, digest: str) -> TokenStatus:
        return self.gate.tokens.drop(digest, act(Action.TOKEN_DROP))


class Desk:
    """An operator's folder, a board's configuration, and the program between them and the cluster."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.capfd = capfd
        self.operator = folder / "operator"
        self.operator.mkdir()
        enroll_operator(self.operator, CORE.issuer)
        (self.operator / "operator.toml").write_text('cluster = "core1"\nservers = ["https://10.0.1.1:6688"]\n')
        (self.operator / "trust" / "root.json").write_bytes(ROOT)
        (folder / "state").mkdir()
        self.gate = Gate(folder / "state")
        self.wire = Wire(self.gate)
        self.naps: list[float] = []
        self.while_waiting: list[tuple[str, ...]] = []
        monkeypatch.setattr(join_command.time, "sleep", self._sleep)

    def runs(self, *words: str) -> Outcome:
        code = run(words, Session(self.operator, self.wire.connect))
        return Outcome(code, *self.capfd.readouterr())

    def _sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        if self.while_waiting:
            assert run(self.while_waiting.pop(0), Session(self.operator, self.wire.connect)) == 0

    def word(self, *options: str) -> str:
        made = self.runs("token", "create", *options)
        assert made.code == 0, made.err
        return made.out.strip()

    def board(self, name: str = "c1s9", chassis: str = "1", slot: str = "9", cluster: str = "core1") -> Path:
        home = self.folder / name
        home.mkdir()
        file = home / "agent.toml"
        file.write_text(
            f'[cluster]\nname = "{cluster}"\ninterface = "lo"\n'
            f'[board]\nid = "{name}"\nchassis = "{chassis}"\nslot = "{slot}"\ntype = "lc"\ngroups = ["platform"]\n'
            '[agent]\nroot = "root"\nstate_dir = "state"\n'
        )
        return file


@pytest.fixture
def desk(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, capfd, monkeypatch)


def load(folder: Path, subject: str = "") -> tuple[str, Role, Location]:
    found = load_credentials(folder / "certificate.pem", folder / "key.pem", folder / "trust", "core1", subject)
    return found.identity.id, found.identity.role, found.identity.location


class TestTokens:
    def test_create_prints_the_word_alone_and_the_cluster_hears_only_a_digest(self, desk: Desk) -> None:
        made = desk.runs("token", "create", "--role", "board", "--ttl", "2h", "--uses", "3")
        assert made.code == 0
        token = read_token(made.out)
        (kept,) = desk.gate.tokens.listing().tokens
        assert (kept.digest, kept.role, kept.uses) == (secret_digest(token.secret), "board", 3)
        assert kept.until == desk.gate.now + 7200.0
        assert token.authority == identity_of(read_certificate(CORE.issuer.certificate)).identity.key

    @pytest.mark.parametrize(
        "words", [("--role", "king"), ("--role", "authority"), ("--ttl", "100d"), ("--ttl", "soon"), ("--uses", "0")]
    )
    def test_that_cannot_be_are_wrong_usage_before_anybody_is_asked(self, desk: Desk, words: tuple[str, ...]) -> None:
        assert desk.runs("token", "create", *words).code == 2
        assert desk.wire.asked == []

    def test_are_listed_and_dropped_by_the_beginning_of_their_digest(self, desk: Desk) -> None:
        digest = secret_digest(read_token(desk.word()).secret)
        assert digest[:12] in desk.runs("token", "list").out
        assert desk.runs("token", "drop", digest[:12]).code == 0
        assert desk.runs("token", "drop", digest[:12]).code == 1
        assert desk.gate.tokens.listing().tokens == ()

    def test_that_are_public_need_no_server_and_let_nobody_in(self, desk: Desk) -> None:
        word = desk.word("--public")
        assert desk.wire.asked == []
        assert read_token(word).public
        joined = desk.runs("join", "10.0.1.1", "--token", word, "--config", str(desk.board()), "--wait", "0")
        assert joined.code == 1
        assert "it has no join token" in joined.err


class TestABoardJoins:
    def test_at_once_and_its_agent_finds_everything(self, desk: Desk) -> None:
        file = desk.board()
        joined = desk.runs("join", "10.0.1.1", "--token", desk.word(), "--config", str(file))
        assert (joined.code, joined.out.splitlines()[-1]) == (0, "c1s9 is board of core1 in slot 1/9")
        assert load(file.parent, "c1s9") == ("c1s9", Role.BOARD, Location("1", "9"))
        assert (file.parent / "trust" / "root.json").read_bytes() == ROOT
        assert stat.S_IMODE((file.parent / "key.pem").stat().st_mode) == 0o600
        assert desk.wire.asked[-1] == ("https://10.0.1.1:6688",)

    def test_that_is_a_member_already_is_refused_and_nothing_is_changed(self, desk: Desk) -> None:
        file = desk.board()
        desk.runs("join", "10.0.1.1", "--token", desk.word(), "--config", str(file))
        before = (file.parent / "certificate.pem").read_bytes()
        again = desk.runs("join", "10.0.1.1", "--token", desk.word(), "--config", str(file))
        assert again.code == 3
        assert "a member already" in again.err
        assert (file.parent / "certificate.pem").read_bytes() == before

    def test_of_another_cluster_than_the_token_is_wrong_usage(self, desk: Desk) -> None:
        joined = desk.runs("join", "10.0.1.1", "--token", desk.word(), "--config", str(desk.board(cluster="core2")))
        assert joined.code == 2
        assert "'core2'" in joined.err

    def test_whose_slot_is_occupied_waits_for_the_operator_and_goes_on_when_he_approves(self, desk: Desk) -> None:
        desk.gate.list_board(Board("c1s9", Location("1", "9"), "lc"))
        file = desk.board()
        desk.while_waiting = [("approve", "c1s9")]
        joined = desk.runs("join", "10.0.1.1", "--token", desk.word(), "--config", str(file))
        assert joined.code == 0, joined.err
        assert "waiting: c1s9 is known already, with a key of its own" in joined.err
        assert load(file.parent)[1] is Role.BOARD
        assert len(desk.naps) == 1

    def test_that_gave_up_waiting_goes_on_with_the_same_key(self, desk: Desk) -> None:
        desk.gate.list_board(Board("c1s9", Location("1", "9"), "lc"))
        file, word = desk.board(), desk.word()
        first = desk.runs("join", "10.0.1.1", "--token", word, "--config", str(file), "--wait", "5s")
        assert first.code == 1
        assert not (file.parent / "certificate.pem").exists()
        assert desk.runs("approve", "c1s9").code == 0
        assert desk.runs("join", "10.0.1.1", "--token", word, "--config", str(file)).code == 0
        assert len({one.public_key for one in desk.wire.heard}) == 1


def test_the_word_may_come_by_standard_input(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    file = desk.board()
    monkeypatch.setattr("sys.stdin", io.StringIO(desk.word() + "\n"))
    assert desk.runs("join", "10.0.1.1", "--token", "-", "--config", str(file)).code == 0
    assert desk.runs("join", "10.0.1.1", "--token", "-", "--config", str(file)).code == 2


class TestAServerJoins:
    def test_with_what_it_needs_to_start(self, desk: Desk) -> None:
        file = desk.board("c2s1", "2", "1")
        desk.while_waiting = [("approve", "c2s1", "--role", "server")]
        joined = desk.runs("join", "10.0.1.1", "--token", desk.word("--role", "server"), "--config", str(file))
        assert joined.code == 0, joined.err
        assert load(file.parent) == ("c2s1", Role.SERVER, Location("2", "1"))
        assert (file.parent / "trust" / "targets.json").read_bytes() == TARGETS
        assert stat.S_IMODE((file.parent / "online.pem").stat().st_mode) == 0o600


class TestAPersonJoins:
    def test_and_gets_a_folder_that_finds_the_cluster(self, desk: Desk) -> None:
        into = desk.folder / "ana"
        desk.while_waiting = [("approve", "ana", "--role", "viewer")]
        word = desk.word("--role", "viewer")
        joined = desk.runs("join", "10.0.1.1", "--token", word, "--into", str(into), "--id", "ana")
        assert (joined.code, joined.out.splitlines()[-1]) == (0, "ana is viewer of core1")
        assert load(into)[:2] == ("ana", Role.VIEWER)
        assert stat.S_IMODE(into.stat().st_mode) == 0o700
        assert "https://10.0.1.1:6688" in (into / "operator.toml").read_text()
        assert run(("token", "list"), Session(into, desk.wire.connect)) == 0


class TestWhomTheJoinerTalksTo:
    """Nothing of what it knows leaves before the server has shown the authority that the token names."""

    def refused(self, desk: Desk, told: ClusterAuthority) -> str:
        file, word = desk.board(), desk.word()
        desk.wire.authority_told = told
        joined = desk.runs("join", "10.0.1.1", "--token", word, "--config", str(file))
        assert joined.code == 3
        assert desk.wire.heard == []
        assert not (file.parent / "certificate.pem").exists()
        return joined.err

    def test_is_not_another_authority_of_the_same_name(self, desk: Desk) -> None:
        liar = Identities("core1").issuer.certificate
        assert "nothing was sent to it" in self.refused(desk, ClusterAuthority("core1", liar, ROOT, TARGETS))

    def test_is_not_another_cluster(self, desk: Desk) -> None:
        self.refused(desk, ClusterAuthority("core2", Identities("core2").issuer.certificate, ROOT, TARGETS))

    def test_is_not_who_names_another_first_root(self, desk: Desk) -> None:
        assert "another first root" in self.refused(
            desk, ClusterAuthority("core1", CORE.issuer.certificate, b"{}", TARGETS)
        )

    def test_is_not_who_sends_junk(self, desk: Desk) -> None:
        self.refused(desk, ClusterAuthority("core1", b"junk", ROOT, TARGETS))

    def test_cannot_give_it_the_certificate_of_somebody_else(self, desk: Desk) -> None:
        file, word = desk.board(), desk.word()
        desk.wire.certificate = CORE.board("c1s8", slot="8").certificate
        joined = desk.runs("join", "10.0.1.1", "--token", word, "--config", str(file))
        assert joined.code == 1
        assert "not what was asked for" in joined.err
        assert not (file.parent / "certificate.pem").exists()


class TestApproving:
    def waiting(self, desk: Desk, role: str = "viewer", name: str = "ana") -> None:
        into = str(desk.folder / f"{name}{len(desk.wire.heard)}")
        word = desk.word("--role", role)
        ended = desk.runs("join", "10.0.1.1", "--token", word, "--into", into, "--id", name, "--wait", "0")
        assert ended.code == 1

    def test_without_an_id_lists_who_waits_and_why(self, desk: Desk) -> None:
        self.waiting(desk)
        (joiner,) = desk.gate.admission.waiting().joiners
        line = desk.runs("approve").out.splitlines()[1]
        for word in ("ana", "viewer", joiner.key[:12], "10.0.1.9", "yes", "authority's key alone"):
            assert word in line
        found = desk.runs("approve", "-o", "json").json
        assert msgspec.convert(found, JoinerList) == JoinerList((joiner,))

    @pytest.mark.parametrize("words", [(), ("--role", "board"), ("--role", "viewer")])
    def test_more_than_a_board_needs_the_role_said_aloud(self, desk: Desk, words: tuple[str, ...]) -> None:
        self.waiting(desk, "admin")
        assert desk.runs("approve", "ana", *words).code == 3
        assert desk.gate.admission.waiting().joiners[0].chain == ()
        assert desk.runs("approve", "ana", "--role", "admin").code == 0

    def test_who_has_no_token_needs_the_key_said_aloud(self, desk: Desk) -> None:
        word = desk.word("--public")
        desk.runs("join", "10.0.1.1", "--token", word, "--config", str(desk.board()), "--wait", "0")
        (joiner,) = desk.gate.admission.waiting().joiners
        assert desk.runs("approve", "c1s9").code == 3
        assert desk.runs("approve", "c1s9", "--key", joiner.key[:4]).code == 3
        assert desk.runs("approve", "c1s9", "--key", "f" * 12).code == 1
        assert desk.runs("approve", "c1s9", "--key", joiner.key[:12]).code == 0

    def test_two_of_one_name_are_told_apart_by_their_keys(self, desk: Desk) -> None:
        self.waiting(desk)
        self.waiting(desk)
        both = desk.runs("approve", "ana", "--role", "viewer")
        assert both.code == 1
        assert all(one.key[:12] in both.err for one in desk.gate.admission.waiting().joiners)
        key = desk.gate.admission.waiting().joiners[1].key
        assert desk.runs("approve", "ana", "--role", "viewer", "--key", key[:12]).code == 0
        assert [bool(one.chain) for one in desk.gate.admission.waiting().joiners] == [False, True]

    def test_a_server_that_lists_one_key_and_would_have_another_certified_gets_nothing_signed(self, desk: Desk) -> None:
        self.waiting(desk)
        (joiner,) = desk.gate.admission.waiting().joiners
        thief = msgspec.structs.replace(joiner, key="f" * 64)
        desk.wire.joiners = lambda: JoinerList((thief,))  # type: ignore[method-assign]
        ended = desk.runs("approve", "ana", "--role", "viewer")
        assert ended.code == 1
        assert "would have another certified" in ended.err

    def test_refuse_takes_it_off_the_list(self, desk: Desk) -> None:
        self.waiting(desk)
        assert "is not let in" in desk.runs("approve", "ana", "--refuse").out
        assert desk.gate.admission.waiting().joiners == ()

    def test_nobody_and_without_the_authority_s_key(self, desk: Desk) -> None:
        assert desk.runs("approve", "eve").code == 1
        self.waiting(desk)
        (desk.operator / "keys" / "authority.pem").unlink()
        assert desk.runs("approve", "ana", "--role", "viewer").code == 3


@pytest.mark.parametrize("word", ["", "bwj1.x", "x" * 600])
def test_a_word_that_is_no_token_is_wrong_usage(desk: Desk, word: str) -> None:
    ended = desk.runs("join", "10.0.1.1", "--token", word)
    assert ended.code == 2
    assert "join token" in ended.err


@pytest.mark.parametrize("server", ["", "ftp://10.0.1.1", "10.0.1.1:99999", "a b"])
def test_an_address_that_is_none_is_wrong_usage_before_a_key_is_made(desk: Desk, server: str) -> None:
    file = desk.board()
    assert desk.runs("join", server, "--token", desk.word(), "--config", str(file)).code == 2
    assert not (file.parent / "key.pem").exists()


def test_errors_of_the_cluster_end_it_with_their_own_code(desk: Desk) -> None:
    word = desk.word()
    desk.gate.tokens.drop(secret_digest(read_token(word).secret), act(Action.TOKEN_DROP))
    ended = desk.runs("join", "10.0.1.1", "--token", word, "--config", str(desk.board()))
    assert ended.code == 3
    assert "not known here" in ended.err
