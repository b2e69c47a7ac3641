"""Who gets in by a token, who waits, and what the operator's approval can and cannot do."""

from collections import Counter
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from boardwright.errors import BoardwrightError, FailedError, RefusedError, UnreachableError, UsageError
from boardwright.model.admission import JoinAnswer, NewToken
from boardwright.model.audit import Action
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.server.admission import BURST, KEEP, MAX_FROM_ONE, MAX_WITHOUT_TOKEN
from boardwright.server.callers import CrowdedError
from boardwright.server.join_tokens import MAX_TOKENS
from boardwright.state.kv import Transaction
from boardwright.state.lease import DeposedError
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Role
from boardwright.trust.joining import proved, secret_digest
from tests.identities import Identities
from tests.unit.server.builders import act, audit_records
from tests.unit.server.joiners import Gate, Someone, person, whom


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


class TestALineBoardWithAToken:
    def test_gets_a_certificate_that_says_who_it_is_and_where_it_sits(self, gate: Gate) -> None:
        board = Someone()
        said = whom(board.join(gate, gate.token()))
        assert (said.id, said.role, said.location, said.key) == ("c1s9", Role.BOARD, Location("1", "9"), board.digest)

    def test_is_in_the_inventory_from_then_on_with_its_key(self, gate: Gate) -> None:
        board = Someone()
        board.join(gate, gate.token())
        assert gate.board("c1s9") == Board("c1s9", Location("1", "9"), "lc", ("platform",), key=board.digest)

    def test_takes_one_use_of_it(self, gate: Gate) -> None:
        secret = gate.token(uses=2)
        Someone().join(gate, secret)
        assert gate.uses() == 1
        Someone("c1s8", ("1", "8")).join(gate, secret)
        with pytest.raises(RefusedError, match="used up"):
            Someone("c1s7", ("1", "7")).join(gate, secret)

    def test_that_asks_again_because_the_answer_was_lost_takes_none(self, gate: Gate) -> None:
        secret, board = gate.token(), Someone()
        board.join(gate, secret)
        assert whom(board.join(gate, secret)).key == board.digest
        assert whom(board.join(gate)).key == board.digest

    def test_is_refused_when_the_token_is_over(self, gate: Gate) -> None:
        secret = gate.token(seconds=60.0)
        gate.now += 61.0
        with pytest.raises(RefusedError, match="is over"):
            Someone().join(gate, secret)

    def test_is_refused_with_another_token(self, gate: Gate) -> None:
        gate.token()
        with pytest.raises(RefusedError, match="not known here"):
            Someone().join(gate, b"x" * 32)

    def test_is_refused_when_the_token_was_dropped(self, gate: Gate) -> None:
        secret = gate.token()
        gate.tokens.drop(secret_digest(secret), act(Action.TOKEN_DROP))
        with pytest.raises(RefusedError, match="not known here"):
            Someone().join(gate, secret)

    def test_waits_at_a_server_without_an_enroller_s_key(self, tmp_path: Path) -> None:
        gate = Gate(tmp_path, enroller=False)
        assert "no enroller's key" in Someone().join(gate, gate.token()).reason

    def test_is_not_let_in_by_a_server_that_is_not_the_active_any_more(self, gate: Gate) -> None:
        secret = gate.token()
        gate.active = False
        with pytest.raises(DeposedError):
            Someone().join(gate, secret)
        gate.active = True
        assert gate.uses() == 1


class TestWhoIsNotLetInWithoutTheOperator:
    @pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
    def test_a_person_whatever_the_token_says(self, gate: Gate, role: str) -> None:
        answer = person().join(gate, gate.token(role))
        assert answer.chain == ()
        assert f"a {role} is certified by the authority's key alone" in answer.reason

    def test_a_server(self, gate: Gate) -> None:
        answer = Someone("c2s1", ("2", "1"), "rp").join(gate, gate.token("server"))
        assert answer.chain == ()
        assert "boardwright approve c2s1" in answer.reason

    def test_who_has_no_token(self, gate: Gate) -> None:
        answer = Someone().join(gate, role="board")
        assert answer == JoinAnswer((), "it has no join token; the operator lets it in by `boardwright approve c1s9`")

    def test_a_second_key_for_an_occupied_slot(self, gate: Gate) -> None:
        secret = gate.token(uses=2)
        Someone().join(gate, secret)
        answer = Someone("thief").join(gate, secret)
        assert answer.chain == ()
        assert "slot 1/9 is that of c1s9" in answer.reason

    def test_a_second_key_for_a_board(self, gate: Gate) -> None:
        secret = gate.token(uses=2)
        Someone().join(gate, secret)
        answer = Someone("c1s9", ("1", "5")).join(gate, secret)
        assert answer.chain == ()
        assert "c1s9 is known with another key" in answer.reason

    def test_a_listed_board_that_was_never_heard_because_init_made_its_key(self, gate: Gate) -> None:
        gate.list_board(Board("c1s9", Location("1", "9"), "lc"))
        secret = gate.token(uses=2)
        assert "known already" in Someone().join(gate, secret).reason
        assert "slot 1/9 is that of c1s9" in Someone("other").join(gate, secret).reason

    def test_a_slot_and_an_id_are_free_again_when_the_key_is_revoked(self, gate: Gate) -> None:
        secret, lost = gate.token(uses=3), Someone()
        lost.join(gate, secret)
        gate.revoked = frozenset({lost.digest})
        found = Someone()
        assert whom(found.join(gate, secret)).key == found.digest
        assert gate.board("c1s9").key == found.digest

    def test_a_revoked_key_gets_in_no_more_not_even_as_the_board_that_it_was(self, gate: Gate) -> None:
        secret, lost = gate.token(uses=2), Someone()
        lost.join(gate, secret)
        gate.revoked = frozenset({lost.digest})
        with pytest.raises(RefusedError, match="is revoked"):
            lost.join(gate, secret)


class TestARevokedEnroller:
    """A control board's online key that was stolen."""

    def test_lets_nobody_in_any_more(self, gate: Gate) -> None:
        gate.revoked = frozenset({gate.enroller})
        answer = Someone().join(gate, gate.token())
        assert answer.chain == ()
        assert "no enroller's key" in answer.reason

    def test_whom_it_let_in_comes_back_by_its_token_with_the_same_key_and_takes_no_other_use(self, gate: Gate) -> None:
        board, secret = Someone(), gate.token(uses=2)
        board.join(gate, secret)
        gate.revoked = frozenset({"7" * 64})  # another control board's
        assert whom(board.join(gate, secret)).key == board.digest
        assert gate.uses() == 1

    def test_whom_a_thief_let_in_with_it_does_not_come_back_though_its_key_is_known(self, gate: Gate) -> None:
        thief = Someone()
        gate.list_board(Board("c1s9", Location("1", "9"), "lc", ("platform",), key=thief.digest))
        gate.revoked = frozenset({"7" * 64})
        assert "no join token" in thief.join(gate, role="board").reason
        with pytest.raises(RefusedError, match="not known here"):
            thief.join(gate, b"x" * 32)


class TestWaiting:
    def test_is_listed_with_what_was_asked_and_by_whom(self, gate: Gate) -> None:
        first, second = person(), Someone()
        first.join(gate, gate.token("viewer"), host="10.0.1.7")
        gate.now += 5
        second.join(gate, role="board", host="10.0.1.9")
        one, two = gate.admission.waiting().joiners
        assert (one.id, one.role, one.host, one.key, bool(one.token)) == (
            "ana",
            "viewer",
            "10.0.1.7",
            first.digest,
            True,
        )
        assert (two.id, two.role, two.chassis, two.slot, two.token) == ("c1s9", "board", "1", "9", "")

    def test_takes_the_use_of_a_token_once_however_often_it_is_asked(self, gate: Gate) -> None:
        secret, ana = gate.token("viewer"), person()
        for _ in range(3):
            assert ana.join(gate, secret).chain == ()
        commits = gate.commits
        ana.join(gate, secret)
        assert gate.commits == commits
        with pytest.raises(RefusedError, match="used up"):
            person("bob").join(gate, secret)

    def test_is_bounded_without_a_token_and_those_with_one_still_come_in(self, gate: Gate) -> None:
        for number in range(MAX_WITHOUT_TOKEN):
            Someone(f"x{number}", ("9", f"{number}")).join(gate, role="board", host=f"10.0.9.{number}")
        with pytest.raises(RefusedError, match="too many wait"):
            Someone("late", ("8", "1")).join(gate, role="board")
        assert person().join(gate, gate.token("viewer")).reason
        assert Someone().join(gate, gate.token(secret=b"t" * 32)).chain

    def test_ends_after_a_week_and_makes_room(self, gate: Gate) -> None:
        for number in range(MAX_WITHOUT_TOKEN):
            Someone(f"x{number}", ("9", f"{number}")).join(gate, role="board", host=f"10.0.9.{number}")
        gate.now += KEEP
        assert gate.admission.waiting().joiners == ()
        Someone("late", ("8", "1")).join(gate, role="board")
        assert [one.id for one in gate.admission.waiting().joiners] == ["late"]

    def test_is_over_when_the_operator_dismisses_it(self, gate: Gate) -> None:
        ana = person()
        ana.join(gate, gate.token("viewer"))
        assert gate.admission.dismissed(ana.digest, act(Action.DISMISS)).id == "ana"
        assert gate.admission.waiting().joiners == ()
        with pytest.raises(FailedError, match="nobody waits"):
            gate.admission.dismissed(ana.digest, act(Action.DISMISS))

    def test_is_bounded_for_each_address_so_that_one_does_not_fill_the_list(self, gate: Gate) -> None:
        for number in range(MAX_FROM_ONE):
            Someone(f"x{number}", ("9", f"{number}")).join(gate, role="board", host="10.0.0.66")
        with pytest.raises(RefusedError, match=r"too many at 10\.0\.0\.66 wait"):
            Someone("late", ("8", "1")).join(gate, role="board", host="10.0.0.66")
        assert Someone("late", ("8", "1")).join(gate, role="board").reason

    def test_of_some_makes_no_room_for_others(self, gate: Gate) -> None:
        """Those who waited too long with a token are not counted against those without."""
        gate.token("viewer", uses=5)
        for number in range(5):
            person(f"p{number}").join(gate, b"s" * 32)
        gate.now += KEEP
        for number in range(MAX_WITHOUT_TOKEN):
            Someone(f"x{number}", ("9", f"{number}")).join(gate, role="board", host=f"10.0.9.{number}")
        with pytest.raises(RefusedError, match="too many wait"):
            Someone("late", ("8", "1")).join(gate, role="board")

    def test_who_floods_is_put_off_and_the_others_are_let_in(self, gate: Gate) -> None:
        """A laptop that asks a thousand times a second for a minute, and a board with a token each second."""
        secret, laptop = gate.token(uses=60), Someone()
        asks = proved(msgspec.structs.replace(laptop.asks, secret=b"x" * 32), "core1", laptop.key)
        refused = Counter[type[BoardwrightError]]()
        for second in range(60):
            for _ in range(1000):
                try:
                    gate.admission.join(asks, "10.0.0.66")
                except BoardwrightError as error:
                    refused[type(error)] += 1
            assert Someone(f"b{second}", ("1", f"{second}")).join(gate, secret, host=f"10.0.1.{second}").chain
            gate.now += 1.0
        assert refused[RefusedError] <= 100 + 60 * 5  # that cost a signature
        assert refused.total() == 60_000

    def test_who_floods_from_a_few_addresses_keeps_nobody_out_either(self, gate: Gate) -> None:
        laptop = Someone()
        asks = proved(msgspec.structs.replace(laptop.asks, secret=b"x" * 32), "core1", laptop.key)
        for second in range(30):
            for number in range(200):
                with suppress(CrowdedError, RefusedError):
                    gate.admission.join(asks, f"10.0.0.{number % 5}")
            assert Someone(f"b{second}", ("9", f"{second}")).join(gate, role="board", host=f"10.0.1.{second}").reason
            gate.now += 1.0

    def test_calls_beyond_a_rate_are_put_off(self, gate: Gate) -> None:
        ana, secret = person(), gate.token("viewer")
        for number in range(int(BURST)):
            ana.join(gate, secret, host=f"10.0.1.{number % 20}")
        with pytest.raises(UnreachableError, match="too many"):
            ana.join(gate, secret)
        gate.now += 1.0
        ana.join(gate, secret)


class TestApproval:
    def test_lets_in_who_asks_again(self, gate: Gate) -> None:
        ana, secret = person(), gate.token("viewer")
        ana.join(gate, secret)
        (waiting,) = gate.admission.waiting().joiners
        gate.approve(waiting)
        said = whom(ana.join(gate, secret))
        assert (said.id, said.role, said.key) == ("ana", Role.VIEWER, ana.digest)

    def test_of_a_board_records_it_and_of_a_server_as_one(self, gate: Gate) -> None:
        for name, role, server in (("c1s9", "board", False), ("c2s1", "server", True)):
            one = Someone(name, (name[1], name[3]))
            one.join(gate, role=role)
            gate.approve(next(joiner for joiner in gate.admission.waiting().joiners if joiner.id == name))
            assert (gate.board(name).key, gate.board(name).server) == (one.digest, server)

    def test_of_another_key_for_a_board_is_the_operator_s_word_and_keeps_what_the_list_says(self, gate: Gate) -> None:
        listed = Board("c1s9", Location("1", "9"), "lc", ("platform",), pair="p", key="0" * 64)
        gate.list_board(listed)
        swapped = Someone()
        swapped.join(gate, gate.token())
        gate.approve(gate.admission.waiting().joiners[0])
        assert gate.board("c1s9") == msgspec.structs.replace(listed, key=swapped.digest)

    @pytest.mark.parametrize("claims", [{"role": "admin"}, {"id": "eve"}, {"chassis": "7", "slot": "7"}])
    def test_of_something_else_than_was_asked_for_is_refused(self, gate: Gate, claims: dict[str, str]) -> None:
        person().join(gate, gate.token("viewer"))
        with pytest.raises(RefusedError, match="not what ana asked for"):
            gate.approve(gate.admission.waiting().joiners[0], **claims)

    def test_of_another_authority_is_not_believed(self, gate: Gate) -> None:
        person().join(gate, gate.token("viewer"))
        with pytest.raises(UntrustedError):
            gate.approve(gate.admission.waiting().joiners[0], Identities("core1").issuer)
        assert gate.admission.waiting().joiners[0].chain == ()

    def test_of_a_key_that_was_revoked_meanwhile_is_refused(self, gate: Gate) -> None:
        ana = person()
        ana.join(gate, gate.token("viewer"))
        gate.revoked = frozenset({ana.digest})
        with pytest.raises(UntrustedError, match="the key of ana is revoked"):
            gate.approve(gate.admission.waiting().joiners[0])

    def test_of_nobody_is_an_error_that_says_so(self, gate: Gate) -> None:
        ana = person()
        ana.join(gate, gate.token("viewer"))
        (waiting,) = gate.admission.waiting().joiners
        gate.admission.dismissed(waiting.key, act(Action.DISMISS))
        with pytest.raises(FailedError, match="nobody waits"):
            gate.approve(waiting)

    def test_stands_and_the_key_cannot_be_used_for_another_name(self, gate: Gate) -> None:
        ana = person()
        ana.join(gate, gate.token("viewer", uses=2))
        gate.approve(gate.admission.waiting().joiners[0])
        with pytest.raises(RefusedError, match="was approved for ana"):
            ana.join(gate, b"s" * 32, id="eve")


class TestWhatIsAsked:
    def test_must_be_signed_by_the_key_that_it_is_for(self, gate: Gate) -> None:
        honest, thief = Someone(), Someone()
        asked = proved(msgspec.structs.replace(honest.asks, secret=gate.token()), "core1", thief.key)
        stolen = msgspec.structs.replace(asked, public_key=proved(honest.asks, "core1", honest.key).public_key)
        with pytest.raises(UntrustedError):
            gate.admission.join(stolen, "10.0.1.9")

    @pytest.mark.parametrize("change", [{"id": "c1s1"}, {"slot": "1"}, {"role": "server"}, {"secret": b"t" * 32}])
    def test_must_be_what_was_signed(self, gate: Gate, change: dict[str, object]) -> None:
        asked = proved(msgspec.structs.replace(Someone().asks, secret=gate.token()), "core1", Someone().key)
        with pytest.raises(UntrustedError):
            gate.admission.join(msgspec.structs.replace(asked, **change), "10.0.1.9")

    def test_of_another_cluster_is_not_taken(self, gate: Gate) -> None:
        one = Someone()
        asked = proved(msgspec.structs.replace(one.asks, secret=gate.token()), "core2", one.key)
        with pytest.raises(UntrustedError):
            gate.admission.join(asked, "10.0.1.9")

    @pytest.mark.parametrize("key", [b"", b"x" * 91, b"x" * 10_000])
    def test_with_a_key_that_is_none_is_one_sentence(self, gate: Gate, key: bytes) -> None:
        with pytest.raises(UntrustedError, match="public key"):
            gate.admission.join(msgspec.structs.replace(Someone().asks, public_key=key), "10.0.1.9")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"id": "../x"}, "not a name"),
            ({"type": ""}, "says not which"),
            ({"chassis": ""}, "says not which"),
            ({"slot": "9" * 65}, "says not which"),
            ({"groups": ("bad group",)}, "says not which"),
            ({"groups": ("g",) * 65}, "no request to join"),
            ({"secret": b"s" * 65}, "no request to join"),
        ],
    )
    def test_with_words_that_cannot_be_is_refused(self, gate: Gate, change: dict[str, object], words: str) -> None:
        secret = gate.token()
        with pytest.raises(UsageError, match=words):
            Someone().join(gate, **{"secret": secret, **change})  # type: ignore[arg-type]
        assert gate.uses() == 1

    def test_for_a_board_with_a_person_s_token_and_the_other_way_round_is_refused(self, gate: Gate) -> None:
        with pytest.raises(UsageError, match="is a board, but would join as viewer"):
            Someone().join(gate, gate.token("viewer"))
        with pytest.raises(UsageError, match="says not which"):
            person().join(gate, gate.token(secret=b"t" * 32))

    @pytest.mark.parametrize("role", ["", "authority", "enroller", "king"])
    def test_without_a_token_names_a_role_that_can_be_given(self, gate: Gate, role: str) -> None:
        with pytest.raises(UsageError, match="not a role"):
            Someone().join(gate, role=role)

    def test_in_another_role_than_the_token_s_is_refused(self, gate: Gate) -> None:
        with pytest.raises(RefusedError, match="is for a board, not for a server"):
            Someone().join(gate, gate.token(), role="server")


class TestTokens:
    def test_are_listed_by_their_end_and_no_more_when_they_are_over_or_used_up(self, gate: Gate) -> None:
        gate.token(seconds=600.0, uses=3)
        gate.token("viewer", seconds=60.0, secret=b"t" * 32)
        assert [(one.role, one.uses) for one in gate.tokens.listing().tokens] == [("viewer", 1), ("board", 3)]
        gate.now += 61.0
        assert [one.role for one in gate.tokens.listing().tokens] == ["board"]

    def test_keep_nothing_of_the_secret(self, gate: Gate) -> None:
        gate.token()
        assert not any(b"ssss" in entry.value or b"c3Nzc3" in entry.value for entry in gate.kv.range("").entries)

    def test_are_bounded_and_those_that_are_over_make_room(self, gate: Gate) -> None:
        for number in range(MAX_TOKENS):
            gate.tokens.create(NewToken(f"{number:064x}", "board", 60.0, 1), act(Action.TOKEN_CREATE))
        with pytest.raises(RefusedError, match="1000 join tokens"):
            gate.token()
        gate.now += 61.0
        gate.token()
        assert len(gate.tokens.listing().tokens) == 1

    @pytest.mark.parametrize(
        "new",
        [
            NewToken("0" * 64, "authority", 60.0, 1),
            NewToken("0" * 64, "enroller", 60.0, 1),
            NewToken("0" * 64, "king", 60.0, 1),
            NewToken("x" * 64, "board", 60.0, 1),
            NewToken("0" * 63, "board", 60.0, 1),
            NewToken("0" * 64, "board", 0.0, 1),
            NewToken("0" * 64, "board", 60.0, 0),
        ],
    )
    def test_that_cannot_be_are_refused(self, gate: Gate, new: NewToken) -> None:
        with pytest.raises(UsageError):
            gate.tokens.create(new, act(Action.TOKEN_CREATE))

    @pytest.mark.parametrize("digest", ["", "0" * 64, "../x", "\n"])
    def test_that_are_not_there_cannot_be_dropped(self, gate: Gate, digest: str) -> None:
        with pytest.raises(FailedError, match="no join token"):
            gate.tokens.drop(digest, act(Action.TOKEN_DROP))


def test_two_that_want_the_same_slot_at_the_same_moment_do_not_both_get_it(gate: Gate) -> None:
    secret = gate.token(uses=5)
    answers = [Someone(name).join(gate, secret) for name in ("a", "b", "c")]
    assert [bool(answer.chain) for answer in answers] == [True, False, False]


def test_a_record_that_this_release_cannot_read_stops_nobody(gate: Gate) -> None:
    gate.list_board(Board("c1s3", Location("1", "3"), "lc"))
    for key in ("joins/" + "0" * 64, "tokens/" + "1" * 64):
        gate.commit(Transaction({key: 0}, {key: b'{"later": 1}'}))
    assert gate.admission.waiting().joiners == ()
    assert gate.tokens.listing().tokens == ()
    assert Someone().join(gate, gate.token()).chain


def test_errors_are_of_the_declared_kind(gate: Gate) -> None:
    for change in ({"id": ""}, {"public_key": b"\x30"}, {"proof": b"x" * 100}):
        with pytest.raises(BoardwrightError):
            gate.admission.join(msgspec.structs.replace(Someone().asks, **change), "")


class TestTheAuditLogOfTheDoor:
    """What a stranger can do as often as he likes must not fill it."""

    def test_who_waits_is_recorded_once_however_often_he_changes_his_words(self, gate: Gate) -> None:
        stranger = Someone()
        for number in range(5):
            stranger.join(gate, type=f"lc{number}", role="board")
        (record,) = audit_records(gate.kv)
        assert (record.action, record.who, record.role, record.address) == ("join", "c1s9", "board", "10.0.1.9")
        assert (record.key, record.details["slot"]) == (stranger.digest, "1/9")
        assert "it has no join token" in record.details["waits"]

    def test_who_is_let_in_is_recorded_once_however_often_he_asks_again(self, gate: Gate) -> None:
        secret, board = gate.token(), Someone()
        for _ in range(3):
            board.join(gate, secret)
        board.join(gate)
        assert [record.action for record in audit_records(gate.kv)] == ["token-create", "join"]

    def test_who_is_not_let_in_leaves_nothing(self, gate: Gate) -> None:
        for words in ({"id": "../x"}, {"role": "king"}, {"secret": b"x" * 32}):
            with pytest.raises(BoardwrightError):
                Someone().join(gate, **words)  # type: ignore[arg-type]
        assert audit_records(gate.kv) == []
