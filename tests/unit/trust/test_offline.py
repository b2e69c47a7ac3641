"""What the operator and vendors sign away from the cluster, as a board of python-tuf's own rules sees it."""

import datetime as dt

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner, Signature
from tuf.api import exceptions
from tuf.api.metadata import Root, Targets

from boardwright.errors import FailedError, RefusedError
from boardwright.model.software import Target
from boardwright.trust.errors import UntrustedError
from boardwright.trust.issuing import new_key
from boardwright.trust.names import PLANS, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, version_path
from boardwright.trust.offline import (
    LIFE,
    RootKeys,
    add_version,
    delegate_group,
    delegate_plans,
    delegated_keys,
    new_root,
    new_targets,
    next_root,
    read_role,
    signed_by,
)

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC).timestamp()
ROUTING = Target("routing", "8.4.4", "lc-*,rp", "ab" * 32)


def signer() -> CryptoSigner:
    return CryptoSigner.generate_ecdsa()


class Desk:
    """An operator with a key for root and one for targets, and two control boards that sign."""

    def __init__(self) -> None:
        self.root_key, self.targets_key = signer(), signer()
        self.online = [signer(), signer()]
        self.keys = RootKeys(
            [self.root_key.public_key], [self.targets_key.public_key], [one.public_key for one in self.online]
        )
        self.root = new_root(self.keys, [self.root_key], NOW)
        self.targets = new_targets(self.keys.online, self.targets_key, NOW)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def believed(judge: bytes, kind: type, role: str, data: bytes) -> bool:
    """Whether `judge` (root or targets) lets this role be signed as it is."""
    judging, judged = read_role(judge, kind), read_role(data, Targets)
    try:
        judging.signed.verify_delegate(role, judged.signed_bytes, judged.signatures)
    except (exceptions.UnsignedMetadataError, ValueError):
        return False
    return True


class TestTheFirstRoot:
    def test_gives_every_role_to_whom_it_belongs(self, desk: Desk) -> None:
        root = read_role(desk.root, Root).signed
        online = [one.public_key.keyid for one in desk.online]
        assert root.roles[ROOT].keyids == [desk.root_key.public_key.keyid]
        assert root.roles[TARGETS].keyids == [desk.targets_key.public_key.keyid]
        assert root.roles[SNAPSHOT].keyids == root.roles[TIMESTAMP].keyids == online
        assert all(role.threshold == 1 for role in root.roles.values())
        assert root.consistent_snapshot
        assert root.expires.timestamp() == NOW + LIFE

    def test_targets_let_online_keys_sign_plans_and_nothing_else(self, desk: Desk) -> None:
        assert believed(desk.root, Root, TARGETS, desk.targets)
        role = (read_role(desk.targets, Targets).signed.delegations.roles or {})[PLANS]
        assert role.keyids == [one.public_key.keyid for one in desk.online]
        assert role.is_delegated_path("plans/0")
        assert not role.is_delegated_path("software/routing/1/*")


class TestTheNextRoot:
    def test_needs_the_old_and_the_new_keys(self, desk: Desk) -> None:
        heir = signer()
        keys = RootKeys([heir.public_key], desk.keys.targets, desk.keys.online)
        second = next_root(desk.root, keys, [desk.root_key, heir], NOW)
        assert read_role(second, Root).signed.version == 2
        assert RootKeys.of(second).root == (heir.public_key,)
        for missing in ([heir], [desk.root_key]):
            with pytest.raises(RefusedError, match="not signed by the keys of the old and of the new one"):
                next_root(desk.root, keys, missing, NOW)

    def test_drops_a_control_board_but_not_the_last(self, desk: Desk) -> None:
        stolen, other = (one.public_key.keyid for one in desk.online)
        keys = RootKeys.of(next_root(desk.root, desk.keys.without(stolen), [desk.root_key], NOW))
        assert [key.keyid for key in keys.online] == [other]
        with pytest.raises(RefusedError, match="last control board"):
            keys.without(other)
        with pytest.raises(RefusedError, match="has no key that signs"):
            keys.without(stolen)

    def test_takes_the_key_from_the_plans_as_well(self, desk: Desk) -> None:
        stolen, other = desk.online
        left = delegate_plans(desk.targets, [other.public_key], desk.targets_key, NOW)
        plans = add_version(None, ROUTING, 1, stolen, NOW)
        assert believed(desk.targets, Targets, PLANS, plans)
        assert not believed(left, Targets, PLANS, plans)
        assert stolen.public_key.keyid not in read_role(left, Targets).signed.delegations.keys


class TestAGroup:
    def test_is_signed_by_whom_it_is_delegated_to_and_nobody_else(self, desk: Desk) -> None:
        vendor = signer()
        targets = delegate_group(desk.targets, "routing", [vendor.public_key], desk.targets_key, NOW)
        assert read_role(targets, Targets).signed.version == 2
        assert delegated_keys(targets, "routing") == (vendor.public_key.keyid,)
        assert delegated_keys(targets, "platform") == ()
        role = add_version(None, ROUTING, 100, vendor, NOW)
        assert believed(targets, Targets, "software-routing", role)
        for other in (*desk.online, desk.targets_key, signer()):
            assert not believed(targets, Targets, "software-routing", add_version(None, ROUTING, 100, other, NOW))

    def test_reaches_its_own_paths_only(self, desk: Desk) -> None:
        targets = delegate_group(desk.targets, "routing", [signer().public_key], desk.targets_key, NOW)
        role = (read_role(targets, Targets).signed.delegations.roles or {})["software-routing"]
        assert role.is_delegated_path(version_path(ROUTING))
        assert not role.is_delegated_path(version_path(Target("routing2", "1", "*", "")))
        assert not role.is_delegated_path("plans/0")

    def test_is_handed_over_to_another_key(self, desk: Desk) -> None:
        first, second = signer(), signer()
        targets = delegate_group(desk.targets, "routing", [first.public_key], desk.targets_key, NOW)
        targets = delegate_group(targets, "routing", [second.public_key], desk.targets_key, NOW)
        assert delegated_keys(targets, "routing") == (second.public_key.keyid,)
        assert first.public_key.keyid not in read_role(targets, Targets).signed.delegations.keys


class TestAVersion:
    def test_joins_those_that_are_signed_already(self) -> None:
        vendor = signer()
        one = add_version(None, ROUTING, 100, vendor, NOW)
        two = add_version(one, Target("routing", "8.4.5", "lc-*,rp", "cd" * 32), 101, vendor, NOW)
        role = read_role(two, Targets).signed
        assert role.version == 2
        assert {path: info.hashes["sha256"] for path, info in role.targets.items()} == {
            "software/routing/8.4.4/lc-*,rp": "ab" * 32,
            "software/routing/8.4.5/lc-*,rp": "cd" * 32,
        }

    def test_stays_what_it_is(self) -> None:
        vendor = signer()
        one = add_version(None, ROUTING, 100, vendor, NOW)
        assert add_version(one, ROUTING, 100, vendor, NOW) == one
        with pytest.raises(RefusedError, match=r"routing 8\.4\.4 for lc-\*,rp is signed with other content"):
            add_version(one, Target("routing", "8.4.4", "lc-*,rp", "ff" * 32), 100, vendor, NOW)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[" * 100_000, b"\xff", b'{"signed":{"_type":"targets"},"signatures":[]}']
)
def test_what_is_no_signed_metadata_is_refused(data: bytes) -> None:
    with pytest.raises(UntrustedError):
        read_role(data, Targets)


def test_one_role_is_not_another(desk: Desk) -> None:
    with pytest.raises(UntrustedError, match="of the kind root, not targets"):
        read_role(desk.root, Targets)


def test_signed_metadata_is_bounded_before_it_is_read() -> None:
    with pytest.raises(UntrustedError, match="at most 5000000 are read"):
        read_role(bytes(5_000_001), Root)


class Broken(CryptoSigner):
    """A key in a device that is not there."""

    def sign(self, payload: bytes) -> Signature:
        raise FailedError("the key hsm:2 did not sign")


def test_a_device_that_does_not_sign_says_so_itself() -> None:
    with pytest.raises(FailedError, match="the key hsm:2 did not sign"):
        add_version(None, ROUTING, 1, Broken(new_key()), NOW)


@pytest.mark.parametrize("odd", [b"1.5", b'"\\ud800"'])
def test_what_no_signature_can_be_over_is_not_trusted_and_not_signed(desk: Desk, odd: bytes) -> None:
    """Fractions and halves of characters: JSON has them, what signatures are over has not."""
    made = add_version(None, ROUTING, 1, desk.targets_key, NOW).replace(b'"targets":{', b'"x":' + odd + b',"targets":{')
    with pytest.raises(UntrustedError, match="what no signature can be over"):
        signed_by(made, desk.targets_key.public_key)
    with pytest.raises(UntrustedError, match="what no signature can be over"):
        add_version(made, msgspec.structs.replace(ROUTING, version="9"), 1, desk.targets_key, NOW)
