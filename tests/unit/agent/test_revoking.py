"""A board gets a newer list of revoked keys from whoever has it."""

from pathlib import Path

from boardwright.agent.revoking import fetch_revocations
from boardwright.errors import UnreachableError
from boardwright.transfer.durable import write_durably
from boardwright.trust.revocation import Revocations, sign_revocations
from boardwright.trust.revoked import FILE, RevokedKeys
from tests.identities import Identities

CORE = Identities("core1")
ONE = "1" * 64


class Shelf:
    """What each server sends; who is not named is down."""

    def __init__(self, **sent: bytes) -> None:
        self.sent = sent

    def signed_file(self, url: str, limit: int) -> bytes:
        server = url.partition("/v1/")[0]
        if server not in self.sent:
            raise UnreachableError(f"{server} is down")
        return self.sent[server]


def signed(number: int) -> bytes:
    return sign_revocations(Revocations("core1", number, frozenset({ONE})), CORE.issuer.key)


def test_the_first_server_that_has_a_newer_list_is_enough(tmp_path: Path) -> None:
    revoked = RevokedKeys(tmp_path / FILE, CORE.authority, write_durably)
    assert fetch_revocations(revoked, Shelf(old=b"", liar=b"lies", good=signed(2)), ("down", "old", "liar", "good"))
    assert revoked.keys() == {ONE}


def test_nothing_newer_changes_nothing(tmp_path: Path) -> None:
    revoked = RevokedKeys(tmp_path / FILE, CORE.authority, write_durably)
    revoked.take(signed(2))
    assert not fetch_revocations(revoked, Shelf(old=signed(1), same=signed(2)), ("old", "same"))
    assert revoked.number == 2
