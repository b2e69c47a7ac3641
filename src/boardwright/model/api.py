"""Bodies of the HTTP API that are not reports: what the commands send and what servers answer.

``boards``, ``servers`` and ``software`` are the stable JSON of ``docs/json.md``; every other struct may grow
fields. An error is answered as ``Problem`` with the HTTP status 4xx or 5xx.

====== ================================== ============================ ==========================================
method path                               body                         answer
====== ================================== ============================ ==========================================
GET    /v1/health                                                      Health (any server, engine up or down)
GET    /v1/plan/boards/ID                                              BoardPlan (any server, from its own disk)
POST   /v1/reports                        list of BoardReport          202 ReportsTaken (passed on to the active)
GET    /v1/boards, /v1/boards/ID                                       BoardList (one board: list of one, or 404)
GET    /v1/boards/ID/explanations                                      list of Explanation
POST   /v1/boards/ID/retry[?group=G]                                   Retry, 422 if there is nothing to try again
GET    /v1/servers                                                     ServerList
POST   /v1/servers/status                 ServerWord                   202 (a standby to the active)
POST   /v1/switchover                     SwitchoverRequest            Switchover, 409 with the reason if it cannot be
POST   /v1/upgrade                        UpgradeRequest               UpgradeStatus, 409 with the reason why not
POST   /v1/upgrade/abort                                               UpgradeStatus, 409 if there is nothing to abort
GET    /v1/upgrade                                                     UpgradeStatus of the newest one
GET    /v1/alarms                                                      AlarmList (of every server)
GET    /v1/diagnosis                                                   Diagnosis (any server, of itself)
GET    /v1/software, /v1/software/GROUP                                SoftwareList
POST   /v1/blobs/missing                  list of SHA-256 (hex)        those that the server lacks
PUT    /v1/blobs/SHA256                   the bytes                    201, or 422 if the bytes are others
POST   /v1/blobs/room                     RoomRequest                  the same, or 413 if that does not fit
POST   /v1/blobs/SHA256/verify                                         202, 404 (any server; hashed in its turn)
POST   /v1/versions                       Publication                  201 VersionSummary, 200 if it was there
                                                                       already, 409 if the name has other content
                                                                       or nobody has signed it
GET    /v1/metadata/FILE                                               signed metadata as TUF clients ask for it
GET    /v1/metadata/targets/plans/FILE                                 a part of the plan that it names (any server)
GET    /v1/trust                                                       SignedMetadata, for who signs the next
POST   /v1/trust                          TrustChange                  SignedMetadata after it
POST   /v1/deployments                    DeploymentRequest            Deployment (dry run: nothing changes)
GET    /v1/rollouts, /v1/rollouts/ID                                   RolloutList
GET    /v1/revocations[?above=N]                                       the list of revoked keys as it is signed, 204
                                                                       if its number is not above N (any server)
POST   /v1/revocations                    the list, signed             204, 422 if it is not (any server, anybody)
GET    /v1/audit[?after=N&limit=M]                                      AuditPage (any server, its own copy)
GET    /v1/backup                                                      the file of a backup (``model/backup.py``)
POST   /v1/restore                        Restoration                  Restored
GET    /v1/authority                                                   ClusterAuthority (any server, anybody)
POST   /v1/joins                          Joining                      JoinAnswer, 202 to who waits (anybody)
GET    /v1/joins                                                       JoinerList
POST   /v1/joins/KEY/approval             Approval                     Joiner
DELETE /v1/joins/KEY                                                   Joiner, who is dismissed
POST   /v1/tokens                         NewToken                     201 TokenStatus
GET    /v1/tokens                                                      TokenList
DELETE /v1/tokens/DIGEST                                               TokenStatus, of what was dropped
====== ================================== ============================ ==========================================

Who may call what stands in one table, ``server/api/callers.py``. The session calls are in ``model/sessions.py``.
The bodies of the last ones are in ``model/admission.py``.

Everything but health, plan, metadata, reports, audit, diagnosis, authority and verify is answered by the active; a
standby answers 307 to the active's URL, or 503 when it knows no active.

A caller that names its cluster in the header ``Boardwright-Cluster`` is refused (409) by a server of another one: an
address that was given to somebody else must not take an operator's change.
"""

import msgspec

from boardwright.model.report import GroupReport
from boardwright.model.upgrade import UpgradeStatus

CLUSTER_HEADER = "Boardwright-Cluster"
REVOCATIONS_HEADER = "Boardwright-Revocations"  # of every answer: the number of the server's list of revoked keys
_DIGITS = 15  # of such a number; what is longer is none


class ReportsTaken(msgspec.Struct, frozen=True):
    """The generation of the plan that the server knows: a board with an older one has missed an announcement.

    `retries` names the boards of the batch that may try again what they failed at, with the count that says so.
    `revocations` is the number of the server's list of revoked keys.
    """

    generation: int = 0
    retries: dict[str, int] = {}
    revocations: int = 0


class Problem(msgspec.Struct, frozen=True):
    """Why a call was not done; `exit_code` is what a command should end with."""

    error: str
    hint: str | None = None
    exit_code: int = 1


class Health(msgspec.Struct, frozen=True):
    """`engine` is '' when changes are taken, else why not; `release` is Boardwright's version.

    `active` is the API's URL of the active server, `blobs` the base URL of this server's blob port. `works` and `waits`
    are sentences for people: what this server does, and what does not go on now and why. `running` is the release that
    runs, by the name of its directory (version and beginning of its manifest's digest); '' for the installed program.
    """

    server: str
    cluster: str
    role: str  # "active" or "standby"
    generation: int
    release: str
    engine: str = ""
    active: str | None = None
    blobs: str = ""
    works: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    running: str = ""


class BoardStatus(msgspec.Struct, frozen=True):
    """`seen` is the age in seconds of the last word from the board, None if never heard; `conflict` see BoardReport.

    `key` is the digest of the key that it proved itself with first, None if it has not yet.
    """

    id: str
    chassis: str
    slot: str
    type: str
    generation: int
    seen: float | None
    groups: dict[str, GroupReport]
    conflict: str = ""
    key: str | None = None


class BoardList(msgspec.Struct, frozen=True):
    boards: tuple[BoardStatus, ...]


class ServerStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """`health` is "healthy", "preparing", "silent" or a sentence; `versions` are "group version variant" names
    held completely; `bytes_served` counts granted ranges; `arbitration` is what the hardware says of the board: "yes",
    "no", "unknown"; left out if it is not asked. `release` is the version of the group `boardwright` that runs, left
    out for the installed program."""

    id: str
    chassis: str
    slot: str
    role: str
    health: str
    epoch: int
    generation: int
    versions: tuple[str, ...]
    bytes_served: int
    arbitration: str = ""
    release: str = ""


class ServerList(msgspec.Struct, frozen=True, omit_defaults=True):
    """`upgrade` is the newest upgrade of Boardwright itself, left out if there was none."""

    servers: tuple[ServerStatus, ...]
    upgrade: UpgradeStatus | None = None


class Alarm(msgspec.Struct, frozen=True):
    """What somebody should look at; `kind` is a named value, `subject` what it is about, `seconds` since it began."""

    server: str
    kind: str
    subject: str
    sentence: str
    seconds: float
    count: int = 1


class AlarmList(msgspec.Struct, frozen=True):
    """The oldest alarm first."""

    alarms: tuple[Alarm, ...]


class ServerWord(ServerStatus, frozen=True):
    """What a server tells the active about itself twice a second; `clock` is its own, in seconds since the epoch."""

    alarms: tuple[Alarm, ...] = ()
    clock: float = 0.0


class VersionSummary(msgspec.Struct, frozen=True):
    """`retired`: the stores dropped its files to make room; publishing the same content again revives it."""

    group: str
    version: str
    variant: str
    manifest: str
    size: int
    published: float
    retired: bool = False


class SwitchoverRequest(msgspec.Struct, frozen=True):
    """`server` shall be the active, "" for the best; nothing is done if `epoch` is over, the call was repeated then."""

    server: str = ""
    epoch: int = 0


class Switchover(msgspec.Struct, frozen=True):
    """Who is the active now, since which epoch, and who was before."""

    server: str
    epoch: int
    before: str


class RoomRequest(msgspec.Struct, frozen=True):
    """`bytes` that a publish is about to upload."""

    bytes: int


class Publication(msgspec.Struct, frozen=True):
    """A version that enters the catalog: the digest of its manifest, a blob that was uploaded, and who signed it.

    `software` is the next signed role of its group, `targets` the role that delegates the group, if that is new; None
    for what is there already.
    """

    manifest: str
    software: bytes | None = None
    targets: bytes | None = None


class TrustChange(msgspec.Struct, frozen=True):
    """What the operator has signed: the next root, the next targets role, or both."""

    root: bytes | None = None
    targets: bytes | None = None


class SignedMetadata(msgspec.Struct, frozen=True):
    """Every root, the first one first, and the newest of every other role by its name, as they were signed."""

    roots: tuple[bytes, ...]
    roles: dict[str, bytes]


class Restoration(TrustChange, frozen=True):
    """A backup's file, with what the operator has signed for the servers that are there now.

    `replace`: over a state that is not empty.
    """

    backup: bytes = b""
    replace: bool = False


class Restored(msgspec.Struct, frozen=True):
    """What the state has now; `lacking` are "group version variant" names whose files this server lacks."""

    generation: int
    boards: int
    versions: int
    lacking: tuple[str, ...] = ()


class SoftwareList(msgspec.Struct, frozen=True):
    software: tuple[VersionSummary, ...]


class DeploymentRequest(msgspec.Struct, frozen=True):
    """`selectors` as the operator typed them; a selector that matches nothing is an error."""

    group: str
    version: str
    selectors: tuple[str, ...] = ()
    strategy: str = "all-at-once"
    dry_run: bool = False


class PlanChange(msgspec.Struct, frozen=True):
    """One board's step; `reason` is empty if the board will change, else why it will not."""

    board: str
    group: str
    before: str | None
    after: str | None
    reason: str = ""


class Deployment(msgspec.Struct, frozen=True):
    """`rollout` is None for a dry run."""

    rollout: str | None
    generation: int
    changes: tuple[PlanChange, ...]


class Retry(msgspec.Struct, frozen=True):
    """The board tries these again; `versions` is by group, `retry` the count that tells it so."""

    board: str
    versions: dict[str, str]
    retry: int


class RolloutStatus(msgspec.Struct, frozen=True):
    """`state` is "running", "done" or "failed"; the counts are boards, `by` is the id of who deployed."""

    id: str
    group: str
    version: str
    selectors: tuple[str, ...]
    strategy: str
    generation: int
    state: str
    boards: int
    confirmed: int
    failed: int
    reasons: dict[str, str] = {}
    by: str = ""


class RolloutList(msgspec.Struct, frozen=True):
    rollouts: tuple[RolloutStatus, ...]


def list_number(text: str | None) -> int:
    """What ``REVOCATIONS_HEADER`` says; 0 if it is not there, or no number."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= _DIGITS else 0
