"""Which records the cluster keeps in its replicated state, and their keys.

Only transitions are state: heartbeats and progress stay in the servers' memory. Every record is JSON of the struct
named here (msgspec, keys sorted) beside ``schema``, the version of its form; signed metadata is kept byte for byte.
Readers ignore fields that they do not know and new fields have defaults, so that the release before can read what
this one wrote.
"""

from typing import Any

import msgspec

from boardwright.model.policy import Assignment, Selector

SCHEMA = 1  # of all records: grows when a release adds a field or a kind of record
LEASE = "lease/active"  # LeaseRecord
POLICY = "policy"  # model.policy.Policy
PLAN = "plan"  # model.plan.Plan
BOARDS = "boards/"  # + board id: model.inventory.Board
SERVERS = "servers/"  # + server id: ServerRecord
CATALOG = "catalog/"  # + group/version/variant: CatalogRecord
ROLLOUTS = "rollouts/"  # + rollout id: RolloutRecord
HELD = "held/"  # + board id/group: HeldRecord
RETRIES = "retries/"  # + board id: RetryRecord
TRUST = "trust/"  # everything below is signed metadata
TRUST_ROOTS = "trust/roots/"  # + version, five digits: signed metadata as it is, not a record
TRUST_ROLES = "trust/roles/"  # + role: the same of every other role
TOKENS = "tokens/"  # + digest of a join token's secret: trust.joining.JoinRecord
AUDIT = "audit/"  # + number, twelve digits: a line of the audit log as it is, see model.audit
AUDIT_HEAD = "audit/head"  # AuditHead
RESTORING = "restore/running"  # RestoringRecord: while it is there, nobody changes or believes the state
RESTORED = "restore/last"  # RestoredRecord
UPGRADE = "upgrade"  # model.upgrade.UpgradeRecord, of the newest one
JOINS = "joins/"  # + digest of a public key: model.admission.Joiner, who waits for approval or got it

MAX_REASONS = 50  # in a rollout's record; a cluster that fails as a whole fails for the same few reasons
MAX_REASON = 300  # characters of one of them
MAX_HELD_LOG = 2048  # characters of the output of a held version; its end is what tells


class LeaseRecord(msgspec.Struct, frozen=True):
    """Who is active; `epoch` grows by one with every new holder, `beat` with every renewal.

    A holder of "" means free; then `successor` is who may take it first.
    """

    holder: str
    epoch: int
    beat: int = 0
    successor: str = ""


class ServerRecord(msgspec.Struct, frozen=True):
    """A server announces itself when it starts; URLs without a slash at the end."""

    id: str
    chassis: str
    slot: str
    api: str
    blobs: str
    release: str


class CatalogRecord(msgspec.Struct, frozen=True):
    """A published version; `published` is seconds since the epoch, for people only.

    `requires` repeats the manifest's, so that plans can be made without fetching manifests. `retired`: the stores
    dropped its files to make room; the name stays bound to its content, and publishing that again revives it.
    """

    group: str
    version: str
    variant: str
    manifest: str
    size: int
    published: float
    requires: dict[str, str] = {}
    retired: bool = False


class RolloutRecord(msgspec.Struct, frozen=True):
    """The way from one policy to the next; `generation` is the plan that began it.

    `outcome` is how it ended: '' (not yet), "done" or "failed"; `boards`, `confirmed`, `failed` and `reasons` (by
    board, the first ``MAX_REASONS``) are how it stood then, so that it can be told when others have taken its boards.
    `by` is the id of who deployed; the audit log says more of that.
    """

    id: str
    group: str
    version: str
    selectors: tuple[Selector, ...]
    strategy: str
    generation: int
    started: float
    outcome: str = ""
    boards: int = 0
    confirmed: int = 0
    failed: int = 0
    reasons: dict[str, str] = {}
    by: str = ""

    @property
    def assignment(self) -> Assignment:
        """What it wanted."""
        return Assignment(self.group, self.version, self.selectors)


class HeldRecord(msgspec.Struct, frozen=True):
    """A version that a board tried, rolled back from and is not offered again; `reason` and `log` are the board's."""

    manifest: str
    version: str
    reason: str = ""
    log: str = ""


class AuditHead(msgspec.Struct, frozen=True):
    """The newest record of the audit log, and the number of the oldest one that the state still has.

    `revocations` is the number of the list of revoked keys that was recorded last.
    """

    number: int = 0
    digest: str = ""
    oldest: int = 1
    revocations: int = 0


class RestoringRecord(msgspec.Struct, frozen=True):
    """A restore that is under way, or was cut off."""

    id: str


class RestoredRecord(msgspec.Struct, frozen=True):
    """The last restore: `generation` is the plan's that it began with, `source` that of the plan in the backup."""

    id: str
    generation: int
    source: int


class RetryRecord(msgspec.Struct, frozen=True):
    """How often the operator let the board try again; what it held before it heard of `count` is over."""

    count: int


def encode_record(record: msgspec.Struct) -> bytes:
    """A record as the state keeps it: JSON with its schema version, keys sorted."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    return msgspec.json.encode({**fields, "schema": SCHEMA}, order="deterministic")


def root_key(version: int) -> str:
    return f"{TRUST_ROOTS}{version:05d}"


def audit_key(number: int) -> str:
    return f"{AUDIT}{number:012d}"


def audit_number(key: str) -> int:
    """The number of the record under this key, 0 for any other key."""
    digits = key.removeprefix(AUDIT)
    return int(digits) if key.startswith(AUDIT) and len(digits) == 12 and digits.isascii() and digits.isdigit() else 0


def catalog_key(group: str, version: str, variant: str) -> str:
    return f"{CATALOG}{group}/{version}/{variant}"
