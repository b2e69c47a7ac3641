"""What boards and servers say about themselves: states, reports, explanations.

The same structs travel from agent to server, from server to server and, as the documented JSON of
``docs/json.md``, to people.
"""

import enum

import msgspec

from boardwright.model.inventory import Board
from boardwright.model.location import Tier

MAX_LOG = (
    8 * 1024
)  # characters of a group's log in a report: 250 boards' reports go in one body; the tail is what tells
SILENT_AFTER = 30.0  # seconds without a word; six idle reports: five may be lost before a board counts as silent


class DeploymentState(enum.Enum):
    """The states of the agent's machine (design section 6), as printed by ``boards``."""

    IDLE = "idle"
    REQUESTING = "requesting"
    DOWNLOADING = "downloading"
    STAGED = "staged"
    ACTIVATING = "activating"
    PROBING = "probing"
    CONFIRMED = "confirmed"
    ROLLING_BACK = "rolling-back"
    FAILED = "failed"


class Source(msgspec.Struct, frozen=True):
    """Where a version's files come from: a server or relay with its place as seen from the board."""

    id: str
    chassis: str
    slot: str
    tier: Tier


class GroupReport(msgspec.Struct, frozen=True):
    """One group on one board. `version` is what runs, `wanted` what the plan says; `reason` is one sentence.

    `bytes` counts blob bytes received by tier since the deployment began, `total` what it needs to fetch,
    `seconds` its duration so far; `log` is the tail of hook and health output of a failed deployment. `held` is the
    digest of the wanted manifest if the board has tried it and will not try it again. `relayed` are those of `bytes`
    that came from other boards' relays; `givers` counts bytes by the id of the server or board that sent them.
    """

    version: str | None = None
    wanted: str | None = None
    state: DeploymentState = DeploymentState.IDLE
    reason: str = ""
    server: Source | None = None
    bytes: dict[Tier, int] = {}
    total: int = 0
    failovers: int = 0
    seconds: float = 0.0
    log: str = ""
    held: str = ""
    relayed: int = 0
    givers: dict[str, int] = {}


class HeardOffer(msgspec.Struct, frozen=True):
    """One line of an explanation: an offer, its rank (1 is best, None fell out) and why."""

    source: Source
    load: float
    generation: int
    holding: str
    rank: int | None
    reason: str


class Explanation(msgspec.Struct, frozen=True):
    """Why a board chose this server for a group: every offer heard, and the reason in one sentence.

    `ignored` are datagrams (and, as `metadata`, plans) that the board did not believe since it started, by reason.
    """

    group: str
    manifest: str
    offers: tuple[HeardOffer, ...]
    reason: str
    milliseconds: float
    ignored: dict[str, int] = {}


class BoardReport(msgspec.Struct, frozen=True):
    """What an agent posts to a server; `sequence` grows with every report, so late ones are dropped.

    `retry` is the highest count of retries that the board has heard of. `conflict`: why nothing may take over on it
    (``agent.place``); '' if nothing is in the way.
    """

    board: Board
    generation: int
    sequence: int
    groups: dict[str, GroupReport] = {}
    explanations: tuple[Explanation, ...] = ()
    retry: int = 0
    conflict: str = ""
