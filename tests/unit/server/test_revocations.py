"""Servers tell each other who is revoked, without the state engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from boardwright.errors import RefusedError
from boardwright.model.api import REVOCATIONS_HEADER
from boardwright.server.members import Members
from boardwright.server.revocations import Gossip
from boardwright.state.records import ServerRecord
from boardwright.transfer.durable import write_durably
from boardwright.trust.errors import StaleError
from boardwright.trust.lines import Lines
from boardwright.trust.revocation import Revocations, sign_revocations
from boardwright.trust.revoked import FILE, RevokedKeys
from tests.tls import LAB as IDENTITIES
from tests.unit.net.fake_servers import FakeServer, Reply, fake_servers

ONE, OTHER = "1" * 64, "2" * 64
LINES = Lines(IDENTITIES.authority)  # of nobody: the list is for anybody


def signed(number: int, *keys: str) -> bytes:
    said = Revocations(IDENTITIES.cluster, number, frozenset(keys))
    return sign_revocations(said, IDENTITIES.issuer.key)


class Peer:
    """Another server with a list of its own."""

    def __init__(self, data: bytes, number: int) -> None:
        self.data, self.number = data, number
        self.told: list[bytes] = []

    def answer(self, method: str, path: str, body: bytes) -> Reply:
        if method == "POST":
            self.told.append(body)
            return 204, {}, b""
        above = int(path.partition("above=")[2])
        headers = {REVOCATIONS_HEADER: str(self.number)}
        return (200, headers, self.data) if self.number > above else (204, headers, b"")


class Two:
    """This server, and a peer that a test decides."""

    def __init__(self, folder: Path, peer: Peer, server: FakeServer) -> None:
        self.peer = peer
        self.revoked = RevokedKeys(folder / FILE, IDENTITIES.authority, write_durably)
        records = {name: ServerRecord(name, "1", name, api, "", "") for name, api in (("a", "-"), ("b", server.base))}
        self.gossip = Gossip("a", self.revoked, lambda: records, LINES)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    peer = Peer(b"", 0)
    with fake_servers(peer.answer) as servers:
        yield Two(tmp_path, peer, servers[0])


def test_a_server_that_was_away_gets_the_newer_list(two: Two) -> None:
    two.peer.data, two.peer.number = signed(2, ONE), 2
    two.gossip.round()
    assert two.revoked.keys() == {ONE}


def test_who_has_the_newer_list_gives_it_to_the_other(two: Two) -> None:
    two.gossip.take(signed(3, ONE))
    two.gossip.round()
    assert two.peer.told == [two.revoked.data]


def test_a_server_that_starts_asks_everybody_before_anything_else(tmp_path: Path) -> None:
    peers = [Peer(b"", 0), Peer(b"", 0), Peer(signed(5, ONE), 5)]
    records: dict[str, ServerRecord] = {}
    revoked = RevokedKeys(tmp_path / FILE, IDENTITIES.authority, write_durably)
    gossip = Gossip("a", revoked, lambda: records, LINES)
    assert gossip.asked  # there is nobody to ask
    with fake_servers(*(peer.answer for peer in peers)) as servers:
        bases = ["https://127.0.0.1:1", *(server.base for server in servers)]
        for name, base in zip("bcde", bases, strict=True):
            records[name] = ServerRecord(name, "1", name, base, "", "")
        assert not gossip.asked
        gossip.round()
    assert gossip.asked
    assert revoked.keys() == {ONE}


def test_who_was_not_there_is_told_in_its_turn(two: Two) -> None:
    two.gossip.take(signed(3, ONE))
    two.gossip.round()
    two.peer.told.clear()
    two.gossip.round()
    assert two.peer.told == [two.revoked.data]


def test_lists_of_one_number_are_not_sent(two: Two) -> None:
    two.gossip.take(signed(3, ONE))
    two.peer.number = 3
    two.gossip.round()
    two.gossip.round()
    assert two.peer.told == []


def test_a_server_that_lies_changes_nothing(two: Two) -> None:
    two.gossip.take(signed(3, ONE))
    for lie in (b"lies", signed(9, OTHER), signed(1, ONE)):
        two.peer.data, two.peer.number = lie, 99
        two.gossip.round()
        assert two.revoked.number == 3


def test_a_server_that_is_gone_does_no_harm(two: Two) -> None:
    two.gossip.take(signed(3, ONE))
    records = {"b": ServerRecord("b", "1", "b", "https://127.0.0.1:9", "", "")}
    Gossip("a", two.revoked, lambda: records, LINES).round()


def test_an_older_list_is_refused(two: Two) -> None:
    two.gossip.take(signed(3, ONE))
    with pytest.raises(StaleError):
        two.gossip.take(signed(2, ONE))


def test_a_disk_that_takes_nothing_does_not_keep_the_news_from_the_others(two: Two) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    said: list[int] = []
    two.revoked._write = full
    two.gossip.on_news = lambda: said.append(two.revoked.number)
    with pytest.raises(OSError, match="No space"):
        two.gossip.take(signed(3, ONE))
    two.gossip.round()
    assert said == [3]
    assert two.peer.told == [two.revoked.data]


class TestAServerWhoseOwnKeyIsRevoked:
    def test_is_no_member_from_the_moment_on_when_the_list_came(self, tmp_path: Path) -> None:
        own = IDENTITIES.server("a")
        members = Members(tmp_path, own, dict)
        members.check_own()
        members.gossip.take(signed(3, own.identity.key))
        with pytest.raises(RefusedError, match="the key of a is revoked"):
            members.check_own()

    def test_does_not_start_again(self, tmp_path: Path) -> None:
        own = IDENTITIES.server("a")
        Members(tmp_path, own, dict).gossip.take(signed(3, own.identity.key))
        with pytest.raises(RefusedError, match="the key of a is revoked"):
            Members(tmp_path, own, dict)
