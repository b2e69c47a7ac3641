"""What happened in a chaos run, as a typed list of events; kept as JSON lines, so that a failing run can be read again.

Rules:

* `at` is seconds of the run's own monotonic clock, whatever the clocks of the programs say. Events lie in that order,
  except what the engine committed, which has the engine's revisions and comes at the end.
* A call is one attempt of one change; nothing is repeated under its number. "ok" was acknowledged, "refused" was
  answered with the word that nothing was done, "unknown" is all the rest: an answer that never came.
* Versions are of one group, fit every board and require nothing; each has one content. So the plan follows from the
  order of the deployments alone. No two deployments have the same version and the same selectors.
* What the engine committed is read from the engine itself, past the servers; what boards run, from their disks.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

GROUP = "platform"


class Event(msgspec.Struct, frozen=True, tag_field="event"):
    """One line of the history."""


class BoardIs(Event, frozen=True):
    """A board of the cluster, as the operator's list has it."""

    board: str
    chassis: str
    slot: str
    type: str


class Published(Event, frozen=True):
    """A call: bring in a version whose manifest has this digest and whose file has this content (SHA-256)."""

    at: float
    call: int
    version: str
    manifest: str
    content: str


class Deployed(Event, frozen=True):
    """A call: the boards that any selector matches (none: all) are to run the version."""

    at: float
    call: int
    version: str
    selectors: tuple[str, ...] = ()


class Answered(Event, frozen=True):
    """The end of a call; `rollout` and `generation` are what a deployment was told."""

    at: float
    call: int
    outcome: str
    rollout: str = ""
    generation: int = 0
    said: str = ""


class FaultBegan(Event, frozen=True):
    at: float
    fault: int
    what: str
    whom: tuple[str, ...]


class FaultEnded(Event, frozen=True):
    at: float
    fault: int


class Healed(Event, frozen=True):
    """Nothing is wrong any more and no more changes come; boards have `bound` seconds to converge."""

    at: float
    bound: float


class Seen(Event, frozen=True):
    """A board's ledger: the plan that it has taken, what that wants and what runs (digests of manifests, '' none)."""

    at: float
    board: str
    generation: int
    wanted: str
    running: str
    state: str


class Runs(Event, frozen=True):
    """What really lies in place on a board: the version's name, and the digest of its file."""

    at: float
    board: str
    version: str
    content: str


class Said(Event, frozen=True):
    """A server's own word."""

    at: float
    server: str
    role: str
    generation: int


class Died(Event, frozen=True):
    """A program that ended although nobody ended it."""

    at: float
    program: str
    code: int
    told: str = ""


class Refetched(Event, frozen=True):
    """Bytes of verified pieces that came again, as the agent of a board counted them in one download."""

    board: str
    version: str
    bytes: int


class Listed(Event, frozen=True):
    """At the end the API lists this version, by its manifest's digest."""

    version: str
    manifest: str


class Lease(Event, frozen=True):
    """Committed: who is active; '' is nobody."""

    revision: int
    holder: str
    epoch: int


class Catalog(Event, frozen=True):
    """Committed: a version; '' as manifest is its removal."""

    revision: int
    version: str
    manifest: str


class Rollout(Event, frozen=True):
    """Committed: the record of a rollout, at its beginning or its end."""

    revision: int
    rollout: str
    version: str
    selectors: tuple[str, ...]
    generation: int


class Plan(Event, frozen=True):
    """Committed: what every board shall run (digests of manifests)."""

    revision: int
    generation: int
    parent: int
    boards: dict[str, str]


Happening = (
    BoardIs
    | Published
    | Deployed
    | Answered
    | FaultBegan
    | FaultEnded
    | Healed
    | Seen
    | Runs
    | Said
    | Died
    | Refetched
    | Listed
    | Lease
    | Catalog
    | Rollout
    | Plan
)

_decode = msgspec.json.Decoder(Happening).decode


def write(path: Path, history: Iterable[Happening]) -> None:
    """Write one event per line."""
    path.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in history))


def read(path: Path) -> list[Happening]:
    """Read what ``write`` wrote; raises msgspec.DecodeError for anything else."""
    return [_decode(line) for line in path.read_bytes().splitlines()]
