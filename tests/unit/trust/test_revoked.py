"""The list of revoked keys that a program goes by, over restarts and damage."""

from pathlib import Path

import pytest

from boardwright.transfer.durable import write_durably
from boardwright.trust.errors import StaleError, UntrustedError
from boardwright.trust.issuing import new_key
from boardwright.trust.revocation import MAX_LIST, Revocations, sign_revocations
from boardwright.trust.revoked import FILE, RevokedKeys
from tests.identities import Identities

CORE = Identities("core1")
ONE, OTHER = "1" * 64, "2" * 64


def signed(number: int, *keys: str) -> bytes:
    return sign_revocations(Revocations("core1", number, frozenset(keys)), CORE.issuer.key)


def opened(folder: Path) -> RevokedKeys:
    return RevokedKeys(folder / FILE, CORE.authority, write_durably)


def test_nobody_is_revoked_before_the_first_list(tmp_path: Path) -> None:
    revoked = opened(tmp_path)
    assert (revoked.number, revoked.data, revoked.keys(), revoked.trouble) == (0, b"", frozenset(), "")


def test_a_newer_list_holds_at_once_and_after_a_restart(tmp_path: Path) -> None:
    revoked = opened(tmp_path)
    assert revoked.take(signed(1, ONE))
    assert revoked.take(signed(4, ONE, OTHER))
    again = opened(tmp_path)
    assert revoked.keys() == again.keys() == {ONE, OTHER}
    assert again.number == 4
    assert again.data == revoked.data


def test_the_same_list_is_no_news(tmp_path: Path) -> None:
    revoked = opened(tmp_path)
    revoked.take(signed(1, ONE))
    assert not revoked.take(signed(1, ONE))


def test_an_older_list_and_one_that_forgets_a_key_are_refused(tmp_path: Path) -> None:
    revoked = opened(tmp_path)
    revoked.take(signed(3, ONE))
    with pytest.raises(StaleError):
        revoked.take(signed(2))
    with pytest.raises(UntrustedError):
        revoked.take(signed(4, OTHER))
    assert opened(tmp_path).keys() == {ONE}


def test_a_list_that_somebody_else_signed_changes_nothing(tmp_path: Path) -> None:
    revoked = opened(tmp_path)
    with pytest.raises(UntrustedError):
        revoked.take(sign_revocations(Revocations("core1", 9, frozenset({ONE})), new_key()))
    assert revoked.number == 0
    assert not (tmp_path / FILE).exists()


FOREIGN = sign_revocations(Revocations("lab", 1), new_key())


@pytest.mark.parametrize("damage", [b"", b"torn", bytes(MAX_LIST + 1), FOREIGN])
def test_a_damaged_file_is_no_list_and_is_replaced(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE).write_bytes(damage)
    revoked = opened(tmp_path)
    assert revoked.number == 0
    assert "no list of revoked keys" in revoked.trouble
    revoked.take(signed(1, ONE))
    assert opened(tmp_path).keys() == {ONE}


def test_a_disk_that_takes_nothing_lets_nobody_in(tmp_path: Path) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    revoked = RevokedKeys(tmp_path / FILE, CORE.authority, full)
    with pytest.raises(OSError, match="No space"):
        revoked.take(signed(1, ONE))
    assert revoked.keys() == {ONE}
