"""The attacks of the TUF specification (section 1.5.2), through a board's own code: nothing of them is ever deployed.

Each test is about who has which key. `SIGNATURES` signs as the cluster does; a thief signs with what he has.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Snapshot, Timestamp

from boardwright.agent.signed_plans import SignedPlans
from boardwright.errors import BoardwrightError, FailedError
from boardwright.model.plan import BoardPlan, Plan, Withheld
from boardwright.model.software import Target, digest_of
from boardwright.net.agent_client import AgentClient
from boardwright.trust.errors import StaleError, UntrustedError
from boardwright.trust.names import PLANS, SNAPSHOT, TARGETS, TIMESTAMP
from boardwright.trust.offline import (
    RootKeys,
    add_version,
    delegate_group,
    delegate_plans,
    next_root,
    read_role,
    to_bytes,
)
from boardwright.trust.online import SignedRoles
from boardwright.trust.shards import shards_of
from tests.identities import Identities
from tests.integration.agent.lab import BOARD, LabServer, Software, plan, run_once, servers, sign
from tests.tls import LAB

NOW = 1.8e9
DAY = 86_400.0


class Cluster:
    """One board, one server that gives out what the test wants, and the keys of a cluster of its own."""

    def __init__(self, folder: Path, server: LabServer) -> None:
        self.server = server
        self.identities = Identities("attacked")
        self.wall = NOW
        self.signed = self.identities.first
        self.generation = 0
        self.plans = SignedPlans(AgentClient(LAB.lines()), folder, self.identities.root, wall=lambda: self.wall)

    def publish(self, target: Target) -> None:
        self.signed = self.identities.with_version(self.signed, target)

    def plan(self, *targets: Target, signer: CryptoSigner | None = None, now: float | None = None) -> None:
        """The active (or `signer`) plans these versions; the server gives that out."""
        self.generation += 1
        shards = shards_of(Plan(self.generation, 0, targets, {BOARD.id: tuple(range(len(targets)))}))
        when = self.wall if now is None else now
        self.signed = self.signed.signed(shards, signer or self.identities.signer, when)
        self.give(self.signed, shards)

    def give(self, signed: SignedRoles, shards: dict[str, bytes] | None = None) -> None:
        self.server.signed = signed
        if shards is not None:
            self.server.shards = {f"{digest_of(data)}.{path.rpartition('/')[2]}": data for path, data in shards.items()}

    def ask(self) -> dict[str, str]:
        """What the board believes that it is to run."""
        return {group: one.version for group, one in self.plans.plan(self.server.url, BOARD.id).groups.items()}


class Lawless(SignedRoles, frozen=True):
    """A set that is signed by whoever likes to."""

    def check(self) -> None:
        pass


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        yield Cluster(tmp_path, server)


GOOD, NEXT = Target("platform", "1", "*", "aa" * 32), Target("platform", "2", "*", "bb" * 32)
EVIL = Target("platform", "1", "*", "ee" * 32)


def refused(cluster: Cluster, kind: type[BoardwrightError] = UntrustedError) -> None:
    with pytest.raises(kind):
        cluster.ask()


class TestAStolenControlBoard:
    """It has an online key: it may plan what somebody else has signed, and nothing else."""

    def test_cannot_plan_software_that_nobody_signed(self, cluster: Cluster) -> None:
        cluster.publish(GOOD)
        cluster.plan(Target("platform", "2", "*", "ee" * 32))
        refused(cluster)

    def test_cannot_put_other_content_under_a_signed_name(self, cluster: Cluster) -> None:
        cluster.publish(GOOD)
        cluster.plan(EVIL)
        refused(cluster)

    def test_cannot_sign_software_itself(self, cluster: Cluster) -> None:
        cluster.publish(GOOD)
        thief = cluster.identities.signer
        forged = _forced(cluster, {"software-platform": add_version(None, EVIL, 1, thief, NOW)})
        cluster.signed = Lawless(forged.roots, forged.roles)
        cluster.plan(EVIL)
        refused(cluster)

    def test_cannot_delegate_a_group_to_itself(self, cluster: Cluster) -> None:
        thief = cluster.identities.signer
        cluster.plan()
        targets = delegate_group(cluster.signed.roles[TARGETS], "platform", [thief.public_key], thief, NOW)
        forged = _forced(cluster, {TARGETS: targets, "software-platform": add_version(None, EVIL, 1, thief, NOW)})
        shards = shards_of(Plan(2, 0, (EVIL,), {BOARD.id: (0,)}))
        cluster.give(Lawless(forged.roots, forged.roles).signed(shards, thief, NOW), shards)
        refused(cluster)

    def test_is_worth_nothing_once_its_key_is_dropped_and_a_fast_forward_is_healed(self, cluster: Cluster) -> None:
        cluster.publish(GOOD)
        thief = cluster.identities.signer
        cluster.signed = _fast_forwarded(cluster.signed.signed(None, thief, NOW), thief)
        cluster.plan(GOOD, now=NOW + 20 * 365 * DAY)  # a signed time in the far future, too
        assert cluster.ask() == {"platform": "1"}
        heir = CryptoSigner.generate_ecdsa()
        cluster.signed = _without_online_keys(cluster, heir)
        cluster.plan(GOOD, signer=heir)
        assert cluster.ask() == {"platform": "1"}
        with pytest.raises(UntrustedError):
            cluster.signed.signed({}, thief, NOW)

    @pytest.mark.parametrize("generation", [-1, 2**53])
    def test_cannot_sign_a_generation_with_which_the_board_could_ask_nobody_any_more(
        self, cluster: Cluster, generation: int
    ) -> None:
        cluster.generation = generation - 1
        cluster.plan()
        refused(cluster)

    def test_cannot_freeze_a_board_for_ever(self, cluster: Cluster) -> None:
        cluster.plan()
        cluster.ask()
        cluster.wall += 91 * DAY
        refused(cluster, StaleError)


class TestAVendor:
    """It has the key of its group."""

    def test_signs_its_group_and_no_other(self, cluster: Cluster) -> None:
        vendor = CryptoSigner.generate_ecdsa()
        routing = Target("routing", "1", "*", "cc" * 32)
        operator = cluster.identities.operator
        targets = delegate_group(cluster.signed.roles[TARGETS], "routing", [vendor.public_key], operator, NOW)
        cluster.signed = cluster.signed.with_targets(targets)
        cluster.signed = cluster.signed.with_software("routing", add_version(None, routing, 1, vendor, NOW))
        cluster.publish(GOOD)
        cluster.plan(routing, GOOD)
        assert cluster.ask() == {"routing": "1", "platform": "1"}
        # Its own role names a file of another group: TUF does not look there for it.
        wrong = add_version(cluster.signed.roles["software-routing"], NEXT, 1, vendor, NOW)
        cluster.signed = cluster.signed.with_software("routing", wrong)
        cluster.plan(routing, NEXT)
        refused(cluster)


class TestAServerOnTheWay:
    """It has no key: it can only repeat, mix, cut off and make up."""

    def test_cannot_go_back_to_an_older_plan(self, cluster: Cluster) -> None:
        cluster.publish(GOOD)
        cluster.plan(GOOD)
        old, shards = cluster.signed, dict(cluster.server.shards)
        cluster.publish(NEXT)
        cluster.plan(NEXT)
        assert cluster.ask() == {"platform": "2"}
        cluster.give(old)
        cluster.server.shards |= shards
        refused(cluster, StaleError)

    @pytest.mark.parametrize("role", [PLANS, SNAPSHOT, "software-platform"])
    def test_cannot_mix_roles_of_two_times(self, cluster: Cluster, role: str) -> None:
        cluster.publish(GOOD)
        cluster.plan(GOOD)
        old = cluster.signed
        cluster.publish(NEXT)
        cluster.plan(NEXT)
        cluster.give(_forced(cluster, {role: old.roles[role]}))
        refused(cluster, BoardwrightError)

    @pytest.mark.parametrize("role", [PLANS, SNAPSHOT, "software-platform"])
    def test_cannot_mix_roles_of_two_times_under_the_newer_one_s_name(self, cluster: Cluster, role: str) -> None:
        cluster.publish(GOOD)
        cluster.plan(GOOD)
        old = cluster.signed.roles[role]
        cluster.publish(NEXT)
        cluster.plan(NEXT)
        asked = next(name for name, data in cluster.signed.files.items() if data == cluster.signed.roles[role])
        cluster.server.garbage = {asked: old}
        refused(cluster, StaleError)

    def test_cannot_hand_out_another_part_of_the_plan(self, cluster: Cluster) -> None:
        cluster.publish(GOOD)
        cluster.publish(NEXT)
        cluster.plan(GOOD)
        evil = shards_of(Plan(9, 0, (NEXT,), {BOARD.id: (0,)}))["plans/0"]
        cluster.server.shards = dict.fromkeys(cluster.server.shards, evil)
        refused(cluster)

    @pytest.mark.parametrize("role", ["timestamp.json", "snapshot.json", "targets.json", "plans.json"])
    @pytest.mark.parametrize(
        "data",
        [b"", b"\xff" * 100, b"{}", b"[" * 50_000, b"x" * 6_000_000],
        ids=["empty", "bytes", "none", "deep", "endless"],
    )
    def test_cannot_break_a_board_with_garbage_or_without_an_end(
        self, cluster: Cluster, role: str, data: bytes
    ) -> None:
        cluster.publish(GOOD)
        cluster.plan(GOOD)
        cluster.server.garbage = {name: data for name in cluster.signed.files if name.endswith(role)}
        refused(cluster, BoardwrightError)
        cluster.server.garbage = {}
        assert cluster.ask() == {"platform": "1"}

    def test_gains_nothing_by_what_it_says_beside_the_signed_plan(self, cluster: Cluster) -> None:
        cluster.publish(GOOD)
        cluster.plan(GOOD)
        cluster.server.plan = msgspec.structs.replace(cluster.server.plan, generation=99, groups={"platform": EVIL})
        assert cluster.ask() == {"platform": "1"}

    def test_withholds_nothing_but_the_very_version_that_is_planned(self, cluster: Cluster) -> None:
        cluster.publish(GOOD)
        cluster.plan(GOOD)
        cluster.server.plan = BoardPlan(1, withheld={"platform": Withheld(NEXT)})
        assert cluster.ask() == {"platform": "1"}
        cluster.server.plan = BoardPlan(1, withheld={"platform": Withheld(GOOD)})
        assert cluster.ask() == {}

    @pytest.mark.parametrize("retry", [-1, 2**53])
    def test_says_no_number_that_the_board_could_not_repeat(self, cluster: Cluster, retry: int) -> None:
        cluster.plan()
        cluster.server.plan = BoardPlan(1, retry=retry)
        refused(cluster)


class TestSomebodyWithAnotherRoot:
    def test_signs_for_his_own_boards_only(self, cluster: Cluster) -> None:
        stranger = Identities("attacked")
        signed = stranger.with_version(stranger.first, EVIL)
        shards = shards_of(Plan(1, 0, (EVIL,), {BOARD.id: (0,)}))
        cluster.give(signed.signed(shards, stranger.signer, NOW), shards)
        refused(cluster)


class TestABoardWithoutAClock:
    def test_that_boots_in_1970_deploys(self, cluster: Cluster) -> None:
        cluster.publish(GOOD)
        cluster.plan(GOOD)
        cluster.wall = 0.0
        assert cluster.ask() == {"platform": "1"}


class TestADiskThatTakesNoMetadata:
    def test_is_a_sentence_and_the_board_goes_on_when_it_does_again(self, cluster: Cluster, tmp_path: Path) -> None:
        cluster.publish(GOOD)
        cluster.plan(GOOD)
        in_the_way = tmp_path / "trust" / "timestamp.json"
        in_the_way.mkdir()
        with pytest.raises(FailedError, match="takes no signed metadata: Is a directory"):
            cluster.ask()
        in_the_way.rmdir()
        assert cluster.ask() == {"platform": "1"}


@pytest.mark.parametrize(
    "planned",
    [Target("attacked", version, "*", "ee" * 32) for version in ("1", "2")],
    ids=["other-content", "unsigned"],
)
def test_a_whole_agent_fetches_nothing_that_is_not_signed_and_says_why(
    tmp_path: Path, planned: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boardwright.agent.agent.ONCE_PATIENCE", 1.0)
    board = msgspec.structs.replace(BOARD, groups=("attacked",))
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        software = Software("1", {"motd": b"1"}, group="attacked")
        plan(1, software, on=(server,))
        run_once(tmp_path, server, board=board)
        server.served.clear()
        sign(2, planned, on=(server,), software=False)
        with pytest.raises(BoardwrightError, match="which nobody has signed whom this board trusts with attacked"):
            run_once(tmp_path, server, board=board)
        assert server.served == []
        assert (tmp_path / "root" / "attacked" / "current" / "motd").read_bytes() == b"1"


def _forced(cluster: Cluster, roles: dict[str, bytes]) -> SignedRoles:
    """What the server gives out if it cares for no rule."""
    return msgspec.structs.replace(cluster.signed, roles={**cluster.signed.roles, **roles})


def _fast_forwarded(signed: SignedRoles, thief: CryptoSigner) -> SignedRoles:
    """Snapshot and timestamp with the highest numbers that a board takes."""
    roles = dict(signed.roles)
    for name, kind in ((SNAPSHOT, Snapshot), (TIMESTAMP, Timestamp)):
        metadata: Metadata[Any] = read_role(roles[name], kind)
        metadata.signed.version = 2**31
        metadata.sign(thief)
        roles[name] = to_bytes(metadata)
    return msgspec.structs.replace(signed, roles=roles)


def _without_online_keys(cluster: Cluster, heir: CryptoSigner) -> SignedRoles:
    """The operator drops every online key and lets `heir` sign; snapshot and timestamp begin anew."""
    identities = cluster.identities
    known = RootKeys.of(identities.root)
    keys = RootKeys(known.root, known.targets, [heir.public_key])
    root = next_root(identities.root, keys, [identities.root_signer], NOW)
    targets = delegate_plans(cluster.signed.roles[TARGETS], [heir.public_key], identities.operator, NOW)
    changed = cluster.signed.with_root(root).with_targets(targets)
    kept = {name: data for name, data in changed.roles.items() if name not in (SNAPSHOT, TIMESTAMP, PLANS)}
    return msgspec.structs.replace(changed, roles=kept)
