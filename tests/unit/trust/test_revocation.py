"""Who does not belong any more."""

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from boardwright.trust.errors import StaleError, UntrustedError
from boardwright.trust.identity import identity_of, read_certificate
from boardwright.trust.issuing import Issuer, new_key
from boardwright.trust.revocation import MAX_KEYS, MAX_LIST, Revocations, newer, read_revocations, sign_revocations

CORE = Issuer.authority("core1")
AUTHORITY = identity_of(read_certificate(CORE.certificate))
ONE, OTHER = "1" * 64, "2" * 64


def test_a_list_goes_round() -> None:
    said = Revocations("core1", 3, frozenset({ONE, OTHER}))
    assert read_revocations(sign_revocations(said, CORE.key), AUTHORITY) == said


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (Revocations("lab", 1), "of the cluster lab"),
        (Revocations("core1", 0), "not of the documented form"),
        (Revocations("core1", 1, frozenset({"ONE"})), "not of the documented form"),
        (Revocations("core1", 1, frozenset(f"{n:064x}" for n in range(MAX_KEYS + 1))), "not of the documented form"),
    ],
)
def test_a_list_that_cannot_be_is_refused_though_it_is_signed(said: Revocations, sentence: str) -> None:
    with pytest.raises(UntrustedError, match=sentence):
        read_revocations(sign_revocations(said, CORE.key), AUTHORITY)


def test_a_list_that_somebody_else_signed_is_refused() -> None:
    with pytest.raises(UntrustedError):
        read_revocations(sign_revocations(Revocations("core1", 9, frozenset({ONE})), new_key()), AUTHORITY)


def test_a_list_is_bounded_before_it_is_read() -> None:
    with pytest.raises(UntrustedError, match="at most"):
        read_revocations(bytes(MAX_LIST + 1), AUTHORITY)


@given(st.binary(max_size=300))
def test_bytes_of_any_form_are_refused(data: bytes) -> None:
    with pytest.raises(UntrustedError):
        read_revocations(data, AUTHORITY)


SCALARS = st.none() | st.integers(-(2**60), 2**60) | st.text()


@given(st.recursive(SCALARS, lambda deeper: st.lists(deeper) | st.dictionaries(st.text(), deeper)))
def test_any_json_that_the_authority_signed_by_mistake_is_refused(said: object) -> None:
    with pytest.raises(UntrustedError):
        read_revocations(sign_body(msgspec.json.encode(said)), AUTHORITY)


def sign_body(body: bytes) -> bytes:
    signature = CORE.key.sign(b"boardwright revocations\0" + body, ec.ECDSA(hashes.SHA256()))
    return msgspec.msgpack.encode([body, signature])


class TestWhichListHolds:
    def test_the_newer_one(self) -> None:
        known, offered = Revocations("core1", 3, frozenset({ONE})), Revocations("core1", 4, frozenset({ONE, OTHER}))
        assert newer(known, offered) == offered
        assert newer(known, known) == known

    def test_an_older_one_is_behind(self) -> None:
        with pytest.raises(StaleError, match="number 2, here is number 3"):
            newer(Revocations("core1", 3), Revocations("core1", 2))

    def test_one_that_lets_somebody_in_again_is_refused(self) -> None:
        with pytest.raises(UntrustedError):
            newer(Revocations("core1", 3, frozenset({ONE})), Revocations("core1", 4, frozenset({OTHER})))

    def test_two_of_one_number_are_refused(self) -> None:
        with pytest.raises(UntrustedError):
            newer(Revocations("core1", 3), Revocations("core1", 3, frozenset({OTHER})))
