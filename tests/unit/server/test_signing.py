"""What the active signs anew by itself, and which time it says then."""

from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Targets

from boardwright.errors import UsageError
from boardwright.model.plan import Plan
from boardwright.server.clocks import PATIENCE, Clocks
from boardwright.server.signing import LOOK_EVERY, OnlineKey, Signing, load_online_key, read_signed
from boardwright.state.kv import Transaction
from boardwright.state.memory_kv import MemoryKV
from boardwright.trust.errors import UntrustedError
from boardwright.trust.names import PLANS, SNAPSHOT, TARGETS, TIMESTAMP
from boardwright.trust.offline import RootKeys, delegate_plans, new_root, new_targets, next_root, read_role
from boardwright.trust.online import LIFE, SignedRoles
from tests.unit.trust.test_online import ends

NOW = 1.8e9
DAY = 86_400.0
YEAR = 365 * DAY


class Bench:
    """A cluster of three control boards; the first one is the active."""

    def __init__(self) -> None:
        self.root_key, self.targets_key = CryptoSigner.generate_ecdsa(), CryptoSigner.generate_ecdsa()
        self.online = [CryptoSigner.generate_ecdsa() for _ in range(3)]
        self.keys = RootKeys(
            [self.root_key.public_key], [self.targets_key.public_key], [one.public_key for one in self.online]
        )
        root = new_root(self.keys, [self.root_key], NOW)
        self.first = SignedRoles().with_root(root).with_targets(new_targets(self.keys.online, self.targets_key, NOW))
        self.kv, self.passed, self.off = MemoryKV(), 0.0, 0.0
        self.plan = Plan()
        self.clocks, self.signing = self.serve(self.online[0])

    def serve(self, signer: Signer) -> tuple[Clocks, Signing]:
        """The program on a control board begins."""
        clocks = Clocks("c1s1", lambda: NOW + self.off + self.passed, lambda: self.passed)
        return clocks, Signing(OnlineKey(signer, self.first), clocks)

    def hear(self) -> None:
        for server in ("c2s1", "c3s1"):
            self.clocks.take(server, NOW + self.passed)

    def renew(self, *, look: bool = False) -> bool:
        """Whether there was something to sign."""
        made = self.signing.renewal(self.kv, lambda: self.plan, look=look)
        if made is not None:
            self.kv.commit(made)
        return made is not None

    def begin(self) -> None:
        self.hear()
        assert self.renew(look=True)

    def publish(self) -> None:
        """Any change that is signed."""
        self.kv.commit(self.signing.change(self.kv, Transaction({}, {"news": b""})))

    @property
    def signed(self) -> SignedRoles:
        return read_signed(self.kv).signed


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestTheFirstActiveOfACluster:
    def test_signs_everything_that_a_board_asks_for(self, bench: Bench) -> None:
        bench.begin()
        bench.signed.check()
        assert bench.signed.roles.keys() == {TARGETS, SNAPSHOT, TIMESTAMP, PLANS}
        assert bench.signed.time == NOW

    def test_signs_nothing_before_it_knows_the_time(self, bench: Bench) -> None:
        assert not bench.renew(look=True)
        bench.passed = PATIENCE + 1
        assert bench.renew()


class TestRenewing:
    def test_happens_every_day_with_the_plan_that_is_committed(self, bench: Bench) -> None:
        bench.begin()
        bench.plan = Plan(boards={f"c1s{slot}": () for slot in range(1000)})
        for day in range(1, 4):
            bench.passed = day * (DAY + 2 * LOOK_EVERY)
            bench.hear()
            assert bench.renew()
            assert not bench.renew(look=True)
            assert bench.signed.time == NOW + bench.passed
            for name in (SNAPSHOT, TIMESTAMP, PLANS):
                assert ends(bench.signed, name) == NOW + bench.passed + LIFE
        assert len(read_role(bench.signed.roles[PLANS], Targets).signed.targets) == 4

    def test_is_looked_for_now_and_then_only(self, bench: Bench) -> None:
        bench.begin()
        bench.hear()
        reads = []
        kept = bench.kv.range
        bench.kv.range = lambda prefix: reads.append(prefix) or kept(prefix)  # type: ignore[method-assign,func-returns-value]
        for _ in range(100):
            bench.passed += LOOK_EVERY / 50
            bench.hear()
            assert not bench.renew()
        assert 0 < len(reads) <= 2

    def test_keeps_the_plan_from_ending_though_only_versions_are_published_for_months(self, bench: Bench) -> None:
        bench.begin()
        for day in range(200):
            bench.passed = day * DAY
            bench.hear()
            bench.publish()
            bench.renew()
            assert ends(bench.signed, PLANS) > NOW + bench.passed + LIFE - 2 * DAY - 2 * LOOK_EVERY


class TestAnActiveWhoseClockIsWrong:
    @pytest.mark.parametrize("off", [30 * YEAR, -30 * YEAR])
    def test_signs_the_time_of_its_peers_and_goes_on_deploying(self, bench: Bench, off: float) -> None:
        bench.off = off
        bench.begin()
        bench.publish()
        assert bench.signed.time == NOW
        assert ends(bench.signed, TIMESTAMP) == NOW + LIFE
        bench.passed = 2 * LOOK_EVERY
        bench.hear()
        assert not bench.renew()

    def test_signs_the_last_signed_time_while_it_has_heard_nobody(self, bench: Bench) -> None:
        bench.begin()
        bench.off, bench.passed = 30 * YEAR, 10.0
        bench.clocks, bench.signing = bench.serve(bench.online[1])
        bench.publish()
        assert bench.signed.time == NOW


class TestATimeInTheFutureThatAThiefSigned:
    def test_stands_no_longer_than_until_an_honest_server_looks(self, bench: Bench) -> None:
        self.poison(bench)
        bench.hear()
        assert bench.renew(look=True)
        assert bench.signed.time == NOW
        # Who has seen it takes this all the same: it ends after the thief's.
        assert ends(bench.signed, TIMESTAMP) == NOW + 30 * YEAR + LIFE
        assert not bench.renew(look=True)

    def test_leaves_nothing_behind_when_the_thief_s_key_is_dropped(self, bench: Bench) -> None:
        self.poison(bench)
        state = read_signed(bench.kv)
        keys = bench.keys.without(bench.online[2].public_key.keyid)
        root = next_root(state.signed.roots[0], keys, [bench.root_key], NOW)
        targets = delegate_plans(state.signed.roles[TARGETS], keys.online, bench.targets_key, NOW)
        after = state.signed.with_root(root).with_targets(targets)
        bench.kv.commit(bench.signing.signed(state, after, Transaction({}, {}), bench.plan))
        assert bench.signed.time == NOW
        for name in (SNAPSHOT, TIMESTAMP, PLANS):
            assert ends(bench.signed, name) == NOW + LIFE
        bench.clocks, bench.signing = bench.serve(bench.online[2])
        with pytest.raises(UntrustedError, match="is not signed by whom this cluster lets sign it"):
            bench.publish()

    def poison(self, bench: Bench) -> None:
        bench.begin()
        state = read_signed(bench.kv)
        bad = state.signed.signed({}, bench.online[2], NOW + 30 * YEAR)
        bench.kv.commit(Transaction(state.revisions, {f"trust/roles/{name}": data for name, data in bad.roles.items()}))
        assert bench.signed.time == NOW + 30 * YEAR


class TestTheFolderOfAControlBoard:
    def test_without_what_init_made_is_a_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"online\.pem cannot be read"):
            load_online_key(tmp_path, tmp_path)
