"""Who somebody is: certificates of the cluster's authority, of its enrollers, and of everybody else."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from boardwright.errors import MalformedError
from boardwright.model.location import Location
from boardwright.trust import identity
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import (
    MAX_CERTIFICATE,
    Authority,
    Role,
    identity_of,
    key_digest,
    read_certificate,
    read_uri,
    uri,
)
from boardwright.trust.issuing import NOWHERE, Issuer, certificate_pem, key_pem, new_key

PLACE = Location("1", "3")
KEY = new_key().public_key()
CORE = Issuer.authority("core1")
TRUST = Authority(CORE.certificate, "core1")


def signature(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


class TestABoard:
    def test_is_who_and_where_its_certificate_says(self) -> None:
        key = new_key()
        found = TRUST.verify(CORE.issue("c1s3", Role.BOARD, PLACE, key.public_key()))
        said = found.identity
        assert (said.cluster, said.id, said.role, said.location) == ("core1", "c1s3", Role.BOARD, PLACE)
        assert said.key == key_digest(key.public_key())

    def test_proves_itself_by_its_key(self) -> None:
        key = new_key()
        found = TRUST.verify(CORE.issue("c1s3", Role.BOARD, PLACE, key.public_key()))
        found.check(signature(key, b"nonce"), b"nonce")
        for wrong in (signature(key, b"another"), signature(new_key(), b"nonce"), b"", b"\x30" * 70, bytes(500)):
            with pytest.raises(UntrustedError):
                found.check(wrong, b"nonce")

    def test_fits_into_a_datagram_beside_four_groups(self) -> None:
        name = "c12s34-" + "x" * 24
        assert len(CORE.issue(name, Role.SERVER, Location("chassis-12", "slot-34"), new_key().public_key())) < 450


class TestWhoIsNotBelieved:
    def refused(self, certificate: bytes, sentence: str, enroller: bytes = b"") -> None:
        with pytest.raises(UntrustedError, match=sentence):
            TRUST.verify(certificate, enroller)

    def test_a_board_of_another_authority_of_the_same_name(self) -> None:
        other = Issuer.authority("core1")
        self.refused(other.issue("c1s3", Role.BOARD, PLACE, new_key().public_key()), "not by the key")

    def test_a_board_of_another_cluster_of_the_same_authority(self) -> None:
        other = Issuer("lab", "core1", CORE.key)
        self.refused(other.issue("c1s3", Role.BOARD, PLACE, new_key().public_key()), "of the cluster lab, not of core1")

    def test_who_signs_for_himself(self) -> None:
        key = new_key()
        own = Issuer("core1", "core1", key)
        self.refused(own.issue("c1s3", Role.SERVER, PLACE, key.public_key()), "not by the key")

    def test_a_second_authority(self) -> None:
        self.refused(CORE.issue("core1", Role.AUTHORITY, NOWHERE, new_key().public_key()), "may not give")

    def test_a_board_that_enrolls_another(self) -> None:
        key = new_key()
        board = CORE.issue("c1s3", Role.BOARD, PLACE, key.public_key())
        forged = Issuer("core1", "c1s3", key).issue("c1s4", Role.BOARD, PLACE, new_key().public_key())
        self.refused(forged, "may not enroll", board)

    def test_one_bit_that_was_changed(self) -> None:
        good = CORE.issue("c1s3", Role.BOARD, PLACE, new_key().public_key())
        for position in range(0, len(good), 3):
            with pytest.raises(UntrustedError):
                TRUST.verify(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])

    def test_a_key_of_another_kind(self) -> None:
        strange = ed25519.Ed25519PrivateKey.generate()
        built = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(x509.Name([]))
            .public_key(strange.public_key())
            .serial_number(1)
            .not_valid_before(read_certificate(CORE.certificate).not_valid_before_utc)
            .not_valid_after(read_certificate(CORE.certificate).not_valid_after_utc)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri("core1", "c1s3", Role.BOARD, PLACE))]),
                critical=False,
            )
            .sign(CORE.key, hashes.SHA256())
        )
        self.refused(built.public_bytes(serialization.Encoding.DER), "P-256")

    def test_whose_key_is_revoked_known_before_or_not(self) -> None:
        key = new_key()
        certificate = CORE.issue("c1s3", Role.BOARD, PLACE, key.public_key())
        TRUST.verify(certificate)
        with pytest.raises(UntrustedError, match="the key of c1s3 is revoked"):
            TRUST.verify(certificate, revoked=frozenset({key_digest(key.public_key())}))

    def test_an_authority_of_another_cluster_or_none_at_all(self) -> None:
        with pytest.raises(UntrustedError, match="of core1"):
            Authority(CORE.certificate, "lab")
        board = CORE.issue("c1s3", Role.BOARD, PLACE, new_key().public_key())
        with pytest.raises(UntrustedError, match="c1s3"):
            Authority(board, "core1")


class TestEnrollers:
    def setup_method(self) -> None:
        key = new_key()
        self.certificate = CORE.issue("c1s1", Role.ENROLLER, Location("1", "1"), key.public_key())
        self.enroller = Issuer("core1", "c1s1", key, self.certificate)
        self.key = key_digest(key.public_key())

    def test_let_line_boards_in(self) -> None:
        made = self.enroller.issue("c1s9", Role.BOARD, Location("1", "9"), new_key().public_key())
        assert TRUST.verify(made, self.certificate).identity.id == "c1s9"

    @pytest.mark.parametrize("role", [role for role in Role if role is not Role.BOARD])
    def test_and_nobody_else(self, role: Role) -> None:
        made = self.enroller.issue("c1s9", role, PLACE, new_key().public_key())
        with pytest.raises(UntrustedError, match="may not give"):
            TRUST.verify(made, self.certificate)

    def test_stand_in_what_is_known_of_whom_they_let_in(self) -> None:
        made = self.enroller.issue("c1s9", Role.BOARD, PLACE, new_key().public_key())
        assert TRUST.verify(made, self.certificate).identity.enroller == self.key
        assert TRUST.verify(CORE.issue("c1s9", Role.BOARD, PLACE, new_key().public_key())).identity.enroller == ""

    def test_take_with_them_whom_they_let_in_when_they_are_revoked(self) -> None:
        made = self.enroller.issue("c1s9", Role.BOARD, PLACE, new_key().public_key())
        with pytest.raises(UntrustedError, match="enrolled c1s9 is revoked"):
            TRUST.verify(made, self.certificate, revoked=frozenset({self.key}))


class TestNames:
    @given(st.sampled_from(Role), st.text(min_size=1, max_size=64), st.text(min_size=1, max_size=64))
    def test_go_round(self, role: Role, chassis: str, slot: str) -> None:
        text = uri("core1", "c1s3", role, Location(chassis, slot))
        assert read_uri(text) == ("core1", "c1s3", role, Location(chassis, slot))

    @given(st.text(max_size=300))
    def test_of_any_form_are_read_or_refused(self, text: str) -> None:
        for candidate in (text, f"boardwright://core1/{text}", f"boardwright://core1/c1s3?{text}"):
            try:
                read_uri(candidate)
            except UntrustedError:
                pass

    @given(st.binary(max_size=2 * MAX_CERTIFICATE))
    def test_bytes_of_any_form_are_a_certificate_or_refused(self, data: bytes) -> None:
        with pytest.raises(MalformedError):
            TRUST.verify(data)

    @given(st.data())
    def test_a_mangled_certificate_never_raises_anything_else(self, data: st.DataObject) -> None:
        good = bytearray(CORE.certificate)
        for position in data.draw(st.lists(st.integers(0, len(good) - 1), min_size=1, max_size=6)):
            good[position] = data.draw(st.integers(0, 255))
        try:
            identity_of(read_certificate(bytes(good)))
        except UntrustedError:
            pass


def test_keys_are_written_plain_or_behind_a_passphrase() -> None:
    key = new_key()
    plain = serialization.load_pem_private_key(key_pem(key), None)
    hidden = serialization.load_pem_private_key(key_pem(key, "secret"), b"secret")
    assert plain.private_numbers() == hidden.private_numbers() == key.private_numbers()  # type: ignore[union-attr]
    assert certificate_pem(CORE.certificate).startswith(b"-----BEGIN CERTIFICATE-----")


def test_many_threads_verify_at_once_though_no_more_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "MAX_KNOWN", 4)
    trust, found = Authority(CORE.certificate, "core1"), TRUST.verify(CORE.issue("c1", Role.BOARD, PLACE, KEY))
    monkeypatch.setattr(trust, "_verify", lambda *_: found)  # what it costs is not what is tested
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            for done in [threads.submit(_verify_many, trust, n) for n in range(8)]:
                done.result()
    finally:
        sys.setswitchinterval(interval)
    assert len(trust._known) == 4


def _verify_many(trust: Authority, thread: int) -> None:
    for number in range(5000):
        trust.verify(b"%d %d" % (thread, number))
