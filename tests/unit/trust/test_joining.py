"""Join tokens: one word, bounded in time and uses, of which the cluster keeps only a digest."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardwright.errors import RefusedError, UsageError
from boardwright.trust.identity import Role
from boardwright.trust.joining import (
    MAX_LIFE,
    MAX_USES,
    JoinToken,
    read_token,
    record_of,
    secret_digest,
    use,
    write_token,
)

TOKEN = JoinToken("core1", "a" * 64, "b" * 64, b"s" * 32)
NOW = 1_767_225_600.0


def test_a_token_goes_round_as_one_word() -> None:
    word = write_token(TOKEN)
    assert len(word.split()) == 1
    assert read_token(f"  {word}\n") == TOKEN


@given(st.text(max_size=300) | st.text(alphabet="ABCabc019-_=", max_size=300).map("bwj1.".__add__))
def test_any_other_word_is_refused_and_never_repeated(word: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_token(word)
    assert len(word) < 8 or word not in str(caught.value)


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_token_that_was_cut_off_is_said_to_be_damaged(cut: int) -> None:
    with pytest.raises(UsageError, match="damaged"):
        read_token(write_token(TOKEN)[:-cut])


class TestUsing:
    def test_it_is_good_as_often_as_it_says_and_until_then(self) -> None:
        record = record_of(secret_digest(TOKEN.secret), Role.BOARD, NOW, 3600.0, 2)
        record = use(record, TOKEN.secret, NOW + 3600.0)
        record = use(record, TOKEN.secret, NOW)
        with pytest.raises(RefusedError, match="used up"):
            use(record, TOKEN.secret, NOW)

    def test_not_a_second_longer(self) -> None:
        with pytest.raises(RefusedError, match="is over"):
            use(record_of(secret_digest(TOKEN.secret), Role.BOARD, NOW, 3600.0, 2), TOKEN.secret, NOW + 3601.0)

    def test_another_secret_is_not_known(self) -> None:
        with pytest.raises(RefusedError, match="not known"):
            use(record_of(secret_digest(TOKEN.secret), Role.BOARD, NOW, 3600.0, 2), b"x" * 32, NOW)

    def test_the_cluster_keeps_no_secret(self) -> None:
        kept = msgspec.json.encode(record_of(secret_digest(TOKEN.secret), Role.BOARD, NOW, 3600.0, 2))
        assert b"ssss" not in kept
        assert msgspec.json.decode(kept)["role"] == "board"

    @pytest.mark.parametrize("life", [0.0, -1.0, MAX_LIFE + 1.0, float("inf"), float("nan")])
    def test_a_life_without_sense_is_refused(self, life: float) -> None:
        with pytest.raises(UsageError, match="good for"):
            record_of(secret_digest(TOKEN.secret), Role.BOARD, NOW, life, 1)

    @pytest.mark.parametrize("uses", [0, -1, MAX_USES + 1])
    def test_so_is_a_number_of_uses(self, uses: int) -> None:
        with pytest.raises(UsageError, match="times"):
            record_of(secret_digest(TOKEN.secret), Role.BOARD, NOW, 60.0, uses)
