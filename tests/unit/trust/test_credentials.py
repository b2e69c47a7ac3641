"""What a process must find beside its configuration before it runs, and what it is told if it does not."""

from pathlib import Path

import pytest

from boardwright.errors import UsageError
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.trust.credentials import Credentials, load_credentials, load_key
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Role
from boardwright.trust.issuing import Issuer, certificate_pem, key_pem, new_key
from tests.identities import Identities

PLACE = Location("1", "3")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Identities("core1").write(tmp_path, Board("c1s3", PLACE, "lc"))
    return tmp_path


def load(folder: Path, cluster: str = "core1", subject: str = "c1s3") -> Credentials:
    return load_credentials(folder / "certificate.pem", folder / "key.pem", folder / "trust", cluster, subject)


class TestAFolderThatInitMade:
    def test_says_who_the_board_is_and_proves_it(self, folder: Path) -> None:
        found = load(folder)
        assert (found.identity.id, found.identity.role, found.identity.location) == ("c1s3", Role.BOARD, PLACE)
        found.authority.verify(found.certificate).check(found.sign(b"said"), b"said")

    def test_may_carry_the_certificate_of_an_enroller_behind_the_own(self, tmp_path: Path) -> None:
        identities = Identities("core1")
        identities.write(tmp_path, Board("c1s3", PLACE, "lc"))
        enroller, key = new_key(), new_key()
        leave = identities.issuer.issue("c1s1", Role.ENROLLER, Location("1", "1"), enroller.public_key())
        own = Issuer("core1", "c1s1", enroller, leave).issue("c1s3", Role.BOARD, PLACE, key.public_key())
        (tmp_path / "certificate.pem").write_bytes(certificate_pem(own) + certificate_pem(leave))
        (tmp_path / "key.pem").write_bytes(key_pem(key))
        assert load(tmp_path).chain == (own, leave)


class TestAFolderThatIsNotRight:
    @pytest.mark.parametrize("file", ["certificate.pem", "key.pem", "trust/authority.pem"])
    @pytest.mark.parametrize("content", [None, b"", b"no PEM", b"\xff" * 100, b"x" * 70_000])
    def test_each_file_is_named_with_what_to_do(self, folder: Path, file: str, content: bytes | None) -> None:
        (folder / file).unlink()
        if content is not None:
            (folder / file).touch(mode=0o600)
            (folder / file).write_bytes(content)
        with pytest.raises(UsageError) as refused:
            load(folder)
        assert str(folder / file) in str(refused.value)
        assert refused.value.hint

    def test_another_board_s_folder_is_refused(self, folder: Path) -> None:
        with pytest.raises(UsageError, match=r"is the certificate of 'c1s3', this is 'c1s4'"):
            load(folder, subject="c1s4")

    def test_another_cluster_s_folder_is_refused(self, folder: Path) -> None:
        with pytest.raises(UsageError, match=r"authority\.pem: this is the certificate of core1"):
            load(folder, cluster="core2")

    def test_a_certificate_that_the_authority_has_not_signed_is_refused(self, folder: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.mkdir()
        Identities("core1").write(other, Board("c1s3", PLACE, "lc"))
        (folder / "certificate.pem").write_bytes((other / "certificate.pem").read_bytes())
        with pytest.raises(UsageError, match=r"certificate\.pem: a signature is not by the key"):
            load(folder)

    def test_a_key_of_somebody_else_is_refused(self, folder: Path) -> None:
        (folder / "key.pem").write_bytes(key_pem(new_key()))
        with pytest.raises(UsageError, match="the key is not the one that the certificate of c1s3 names"):
            load(folder)

    def test_a_key_that_others_may_read_is_refused_with_what_to_do(self, folder: Path) -> None:
        (folder / "key.pem").chmod(0o640)
        with pytest.raises(UsageError) as refused:
            load(folder)
        assert "may be read by others" in str(refused.value)
        assert refused.value.hint == f"chmod 600 {folder / 'key.pem'}"


class TestAKeyWithAPassphrase:
    @pytest.fixture
    def locked(self, tmp_path: Path) -> Path:
        path = tmp_path / "key.pem"
        path.touch(mode=0o600)
        path.write_bytes(key_pem(new_key(), "open sesame"))
        return path

    def test_opens_with_it(self, locked: Path) -> None:
        assert load_key(locked, "open sesame").curve.name == "secp256r1"

    @pytest.mark.parametrize(
        ("passphrase", "sentence"), [("", "is locked by a passphrase"), ("wrong", "cannot be read as a key")]
    )
    def test_and_not_without(self, locked: Path, passphrase: str, sentence: str) -> None:
        with pytest.raises(UsageError, match=sentence) as refused:
            load_key(locked, passphrase)
        assert "sesame" not in str(refused.value)


def test_nobody_is_who_he_says_without_the_key_of_the_certificate() -> None:
    identities = Identities("core1")
    certificate = identities.issuer.issue("c1s3", Role.BOARD, PLACE, new_key().public_key())
    with pytest.raises(UntrustedError, match="c1s3"):
        Credentials((certificate,), new_key(), identities.authority)
