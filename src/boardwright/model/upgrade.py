"""An upgrade of Boardwright itself: its record in the state, and what the API says of it.

Rules:

* The record is one, of the newest upgrade; it says what was wanted and how it ended. How far it is follows from the
  plan and from what servers and agents say, so that any active, of any release, can go on with it.
* A release is a version of the group ``boot.names.SERVER_GROUP``; '' stands for the program that was installed.
"""

import enum

import msgspec

from boardwright.model.software import MAX_NAME

MAX_SOAK = 86400.0  # seconds; who wants to wait longer aborts, or goes on by hand


class Outcome(enum.StrEnum):
    """How an upgrade ended; NONE while it goes on, or back."""

    NONE = ""
    DONE = "done"
    STOPPED = "stopped"
    GONE_BACK = "gone back"


class UpgradeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`order` is that of the servers, the active of its beginning first; `before` is the release that each ran.

    `soak`: seconds that each must stay healthy before the next. `agents`: they follow, by the rollout `rollout` once
    it began, and go back with the servers; `agents_before` is what was wanted of all of them until then. `back`: every
    server goes back. `started` is seconds since the epoch, for people only.
    """

    id: str
    version: str
    order: tuple[str, ...]
    before: dict[str, str] = {}
    soak: float = 0.0
    agents: bool = False
    agents_before: str = ""
    rollout: str = ""
    started: float = 0.0
    by: str = ""
    back: bool = False
    outcome: Outcome = Outcome.NONE
    reason: str = ""

    def goal(self, server: str) -> str:
        """The release that the server shall run."""
        return self.before.get(server, "") if self.back else self.version

    @property
    def running(self) -> bool:
        return self.outcome is Outcome.NONE


class UpgradeRequest(msgspec.Struct, frozen=True):
    """What ``upgrade`` asks for."""

    version: str
    agents: bool = True
    soak: float = 0.0

    def trouble(self) -> str:
        """Why it cannot be meant, as a sentence; '' if it can."""
        if not 1 <= len(self.version) <= MAX_NAME:
            return f"version {self.version[:MAX_NAME]!r} does not have 1 to {MAX_NAME} characters"
        if not 0.0 <= self.soak <= MAX_SOAK:
            return f"soak {self.soak:g} is not between 0 and {MAX_SOAK:g} seconds"
        return ""


class ServerStep(enum.StrEnum):
    """How far one server is."""

    WAITS = "waits"
    CHANGES = "changes"
    PROVEN = "proven"
    FAILED = "failed"


class ServerProgress(msgspec.Struct, frozen=True):
    """`release` is what the server runs now; `word` says more of the step."""

    id: str
    before: str
    release: str
    step: ServerStep
    word: str = ""


class UpgradeStatus(msgspec.Struct, frozen=True):
    """The newest upgrade; `id` is '' if there was none. `state` is "running", "going back" or an outcome.

    `reason` says why it stopped, `waits` what it waits for; `rollout` is that of the agents.
    """

    id: str = ""
    version: str = ""
    state: str = ""
    reason: str = ""
    waits: str = ""
    servers: tuple[ServerProgress, ...] = ()
    rollout: str = ""
    by: str = ""
    started: float = 0.0
