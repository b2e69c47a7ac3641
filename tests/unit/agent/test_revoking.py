"""A board gets a newer list of revoked keys from whoever has it."""

from pathlib import Path

from boardwright.agent.revoking import fetch_revocations, who_knows
from boardwright.errors import UnreachableError
from boardwright.protocol.messages import Offer
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


def test_a_disk_that_takes_nothing_lets_nobody_in(tmp_path: Path) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    revoked = RevokedKeys(tmp_path / FILE, CORE.authority, full)
    assert fetch_revocations(revoked, Shelf(good=signed(2)), ("good",))
    assert revoked.keys() == {ONE}


def test_only_who_says_to_have_a_newer_one_is_asked_after_a_round_the_newest_first() -> None:
    offers = [
        Offer("core1", b"n" * 16, name, api=f"https://{name}" * api, revocations=number)
        for name, api, number in (("a", True, 2), ("b", True, 3), ("c", True, 5), ("d", True, 4), ("relay", False, 9))
    ]
    assert who_knows(offers, 3) == ["https://c", "https://d"]
