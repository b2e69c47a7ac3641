"""A board proves itself to one host and gets a token that is good there."""

from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardwright.model.location import Location
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Authority, Role, Verified
from boardwright.trust.issuing import Issuer, new_key
from boardwright.trust.sessions import NONCE_LIFE, TOKEN_LIFE, Sessions, _statement, proof

CORE = Issuer.authority("core1")
KEY = new_key()
SALT = b"s" * 16
NOW = 100.0


def caller() -> Verified:
    certificate = CORE.issue("c1s3", Role.BOARD, Location("1", "3"), KEY.public_key())
    return Authority(CORE.certificate, "core1").verify(certificate)


CALLER = caller()


def host(name: str = "c1s1", secret: bytes = b"a" * 32) -> Sessions:
    return Sessions(name, secret)


def token_of(sessions: Sessions, name: str = "c1s1") -> str:
    nonce = sessions.nonce(NOW, SALT)
    return sessions.open(CALLER, nonce, proof(name, nonce, KEY), NOW)


class TestAToken:
    def test_says_who_its_bearer_is(self) -> None:
        session = host().read(token_of(host()), NOW)
        assert (session.identity.id, session.identity.role) == ("c1s3", Role.BOARD)

    def test_is_good_at_its_host_only(self) -> None:
        with pytest.raises(UntrustedError, match="not from this host"):
            host("c2s1", b"b" * 32).read(token_of(host()), NOW)

    def test_ends(self) -> None:
        token = token_of(host())
        host().read(token, NOW + TOKEN_LIFE)
        with pytest.raises(UntrustedError, match="is over"):
            host().read(token, NOW + TOKEN_LIFE + 1.0)

    def test_ends_at_once_when_its_key_is_revoked(self) -> None:
        with pytest.raises(UntrustedError, match="revoked"):
            host().read(token_of(host()), NOW, frozenset({CALLER.identity.key}))

    def test_ends_at_once_when_the_key_that_enrolled_its_bearer_is_revoked(self) -> None:
        enroller = new_key()
        leave = CORE.issue("c1s1", Role.ENROLLER, Location("1", "1"), enroller.public_key())
        made = Issuer("core1", "c1s1", enroller).issue("c1s9", Role.BOARD, Location("1", "9"), KEY.public_key())
        bearer, nonce = Authority(CORE.certificate, "core1").verify(made, leave), host().nonce(NOW, SALT)
        token = host().open(bearer, nonce, proof("c1s1", nonce, KEY), NOW)
        assert host().read(token, NOW).identity == bearer.identity
        with pytest.raises(UntrustedError, match="the key that enrolled c1s9 is revoked"):
            host().read(token, NOW, frozenset({bearer.identity.enroller}))

    def test_that_was_changed_is_none(self) -> None:
        token = token_of(host())
        for position in range(0, len(token) - 4, 7):
            other = "A" if token[position] != "A" else "B"
            with pytest.raises(UntrustedError):
                host().read(token[:position] + other + token[position + 1 :], NOW)

    @given(st.text(max_size=200) | st.text(alphabet="ABCdef123-_=", max_size=200))
    def test_text_of_any_form_is_none(self, text: str) -> None:
        with pytest.raises(UntrustedError):
            host().read(text, NOW)

    def test_is_bounded_before_it_is_read(self) -> None:
        with pytest.raises(UntrustedError, match="at most"):
            host().read("A" * 1_000_000, NOW)


class TestAProof:
    def test_for_another_host_is_worth_nothing_here(self) -> None:
        """A stolen host hands on the nonce of this one and hears the proof."""
        here = host("c1s1")
        nonce = here.nonce(NOW, SALT)
        with pytest.raises(UntrustedError):
            here.open(CALLER, nonce, proof("c2s1", nonce, KEY), NOW)

    def test_with_another_key_is_none(self) -> None:
        here = host()
        nonce = here.nonce(NOW, SALT)
        with pytest.raises(UntrustedError):
            here.open(CALLER, nonce, proof("c1s1", nonce, new_key()), NOW)

    def test_over_a_nonce_that_the_host_did_not_give_is_none(self) -> None:
        for nonce in (b"", b"x" * 60, host("c1s1", b"b" * 32).nonce(NOW, SALT)):
            with pytest.raises(UntrustedError):
                host().open(CALLER, nonce, proof("c1s1", nonce, KEY), NOW)

    def test_comes_too_late(self) -> None:
        here = host()
        nonce = here.nonce(NOW, SALT)
        with pytest.raises(UntrustedError, match="too old"):
            here.open(CALLER, nonce, proof("c1s1", nonce, KEY), NOW + NONCE_LIFE + 1.0)

    def test_names_cannot_run_into_nonces(self) -> None:
        assert proof_bytes("ab", b"c") != proof_bytes("a", b"bc")

    def test_a_token_is_no_nonce(self) -> None:
        here = host()
        token = urlsafe_b64decode(token_of(here))
        with pytest.raises(UntrustedError):
            here.open(CALLER, token, proof("c1s1", token, KEY), NOW)


def proof_bytes(name: str, nonce: bytes) -> bytes:
    return _statement(name, nonce)
