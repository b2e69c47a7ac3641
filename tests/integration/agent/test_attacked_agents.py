"""Whole agents against servers that lie: what they install, and whom they turn to."""

import time
from pathlib import Path

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner

from boardwright.agent.ledger import Ledger
from boardwright.errors import BoardwrightError
from boardwright.model.plan import BoardPlan, Plan
from boardwright.model.software import Target, digest_of
from boardwright.protocol.codec import MAX_NUMBER
from boardwright.trust.names import TARGETS
from boardwright.trust.offline import RootKeys, delegate_plans, next_root
from boardwright.trust.online import SignedRoles
from boardwright.trust.revocation import Revocations, sign_revocations
from boardwright.trust.shards import shards_of
from tests.identities import Identities
from tests.integration.agent.lab import BOARD, IDENTITIES, LabServer, Software, plan, run_once, servers, sign


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boardwright.agent.agent.ONCE_PATIENCE", 1.0)


def motd(tmp_path: Path, group: str = "platform") -> bytes:
    """What the board runs."""
    return (tmp_path / "root" / group / "current" / "motd").read_bytes()


class TestAMaliciousServer:
    """It is the nearest, and does not serve what the cluster has signed."""

    @pytest.mark.parametrize("lie", ["garbage", "stale", "stranger", "other part"])
    def test_cannot_keep_a_board_from_the_version_that_another_server_has(self, tmp_path: Path, lie: str) -> None:
        with servers(LabServer("c1s1", "1", "1"), LabServer("c2s1", "2", "1")) as (bad, good):
            first, second = Software("1", {"motd": b"1"}), Software("2", {"motd": b"2"})
            plan(1, first, on=(bad, good))
            run_once(tmp_path, bad, good)
            old, old_shards = bad.signed, bad.shards
            plan(2, second, on=(bad, good))
            if lie == "garbage":
                bad.garbage = dict.fromkeys(bad.signed.files, b"{")
            elif lie == "stale":
                bad.signed, bad.shards = old, old_shards
            elif lie == "stranger":
                bad.signed = _of_a_stranger(second.target)
            else:
                bad.shards = dict.fromkeys(bad.shards, b"{}")
            run_once(tmp_path, bad, good)
            assert motd(tmp_path) == b"2"
            explained = [one for server in (bad, good) for said in server.reports for one in said.explanations]
            counted = max((one.ignored.get("metadata", 0) for one in explained), default=0)
            assert bool(counted) is (lie != "stale"), explained


class TestARevokedServer:
    """A stolen control board, the nearest of all, that hides that it is revoked; the other server does not."""

    def test_is_not_turned_to_by_a_board_that_learns_of_it_by_an_offer_and_ever_after(self, tmp_path: Path) -> None:
        with servers(LabServer("c2s1", "2", "1"), LabServer("c1s1", "1", "1")) as (good, thief):
            plan(1, Software("1", {"motd": b"1"}), on=(good, thief))
            said = Revocations("lab", 1, frozenset({thief.credentials.identity.key}))
            good.revocations = 1, sign_revocations(said, IDENTITIES.issuer.key)
            run_once(tmp_path, good, thief)
            assert motd(tmp_path) == b"1"
            plan(2, Software("2", {"motd": b"2"}), on=(good, thief))
            good.revocations = 0, b""  # the board has it on its disk
            run_once(tmp_path, good, thief)
            assert motd(tmp_path) == b"2"
            assert (len(thief.requests) > 0, thief.served, thief.reports) == (True, [], [])
            explained = [one for said in good.reports for one in said.explanations]
            assert max(one.ignored.get("revoked", 0) for one in explained) > 0


class TestAnExtraneousDependency:
    def test_a_group_that_the_board_has_not_is_not_installed_though_all_of_it_is_signed(self, tmp_path: Path) -> None:
        with servers(LabServer("c1s1", "1", "1")) as (server,):
            plan(1, Software("1", {"motd": b"1"}), Software("1", {"motd": b"x"}, group="extra"), on=(server,))
            run_once(tmp_path, server)
            assert motd(tmp_path) == b"1"
            assert not (tmp_path / "root" / "extra").exists()


class TestTheWrongSoftware:
    def test_a_signed_version_under_the_name_of_another_is_not_installed(self, tmp_path: Path) -> None:
        with servers(LabServer("c1s1", "1", "1")) as (server,):
            one = Software("1", {"motd": b"1"})
            plan(1, one, on=(server,))
            server.served.clear()
            sign(2, msgspec.structs.replace(one.target, version="2"), on=(server,), software=False)
            with pytest.raises(BoardwrightError, match="which nobody has signed"):
                run_once(tmp_path, server)
            assert server.served == []

    def test_a_signed_version_for_another_type_of_board_is_not_installed(self, tmp_path: Path) -> None:
        with servers(LabServer("c1s1", "1", "1")) as (server,):
            plan(1, Software("1", {"motd": b"1"}, board_types=("rp-*",)), on=(server,))
            with pytest.raises(BoardwrightError, match="is for board types"):
                run_once(tmp_path, server)
            assert not (tmp_path / "root" / "platform" / "current").exists()


class Compromised:
    """The lab's cluster, whose only online key is stolen."""

    def __init__(self) -> None:
        self.signer, self.signed = IDENTITIES.signer, IDENTITIES.first

    def plan(self, generation: int, software: Software, *, on: LabServer) -> None:
        self.signed = IDENTITIES.with_version(self.signed, software.target)
        shards = shards_of(Plan(generation, 0, (software.target,), {BOARD.id: (0,)}))
        self.signed = self.signed.signed(shards, self.signer, time.time())
        on.signed = self.signed
        on.shards = {f"{digest_of(data)}.{path.rpartition('/')[2]}": data for path, data in shards.items()}
        on.plan = BoardPlan(generation, {"platform": software.target}, retry=on.plan.retry)

    def drop_the_thief(self) -> None:
        known, self.signer = RootKeys.of(IDENTITIES.root), CryptoSigner.generate_ecdsa()
        heir = [self.signer.public_key]
        keys, now = RootKeys(known.root, known.targets, heir), time.time()
        self.signed = self.signed.with_root(next_root(IDENTITIES.root, keys, [IDENTITIES.root_signer], now))
        self.signed = self.signed.with_targets(
            delegate_plans(self.signed.roles[TARGETS], heir, IDENTITIES.operator, now)
        )


class TestAThiefOfAnOnlineKey:
    def test_leaves_nothing_behind_on_boards_by_the_highest_numbers_there_are(self, tmp_path: Path) -> None:
        """Fast-forward: generation and retries are no version numbers of TUF, and must be healed all the same."""
        cluster = Compromised()
        with servers(LabServer("c1s1", "1", "1")) as (server,):
            first, second = Software("1", {"motd": b"1"}), Software("2", {"motd": b"2"})
            server.hold(first)
            server.hold(second)
            cluster.plan(MAX_NUMBER, first, on=server)
            server.plan = msgspec.structs.replace(server.plan, retry=MAX_NUMBER)
            run_once(tmp_path, server)
            assert motd(tmp_path) == b"1"
            server.plan = msgspec.structs.replace(server.plan, retry=0)
            cluster.drop_the_thief()
            cluster.plan(3, second, on=server)
            run_once(tmp_path, server)
            assert motd(tmp_path) == b"2"
            record = Ledger(tmp_path / "state").load()
            assert (record.generation, record.retry) == (3, 0)
            cluster.plan(4, first, on=server)
            run_once(tmp_path, server)
            assert motd(tmp_path) == b"1"


def _of_a_stranger(target: Target) -> SignedRoles:
    """The same version and plan, signed by somebody who has keys of his own."""
    stranger = Identities(IDENTITIES.cluster)
    signed = stranger.with_version(stranger.first, target)
    return signed.signed(shards_of(Plan(2, 0, (target,), {BOARD.id: (0,)})), stranger.signer, time.time())
