"""The words of the deployment machine: what a group on a board is doing, what may happen to it, what it asks for.

Rules:

* A ``Deployment`` is everything that is known of one (board, group); it is what the ledger keeps. What lasts is in
  the deployment itself (`running`, `previous`, `bad`, `wanted`), what belongs to one state rides in its `phase`.
* `running` is the version that was confirmed last and that a rollback returns to; while a new version is activated or
  probed, `running` is still the old one.
* Events that answer an action name the manifest they are about, so that a late answer of abandoned work is nothing.
* Times are seconds of a monotonic clock. They do not survive a restart: ``machine.resume`` sets them anew.
"""

import msgspec

from boardwright.model.report import DeploymentState
from boardwright.model.software import Target


class _Phase(msgspec.Struct, frozen=True, tag_field="state", kw_only=True, omit_defaults=True):
    """`deadline` is when the state has lasted too long (or is due to go on), None: it may last."""

    deadline: float | None = None


class Idle(_Phase, frozen=True, tag="idle"):
    """Nothing to do; `reason` says why if that is not plain."""

    reason: str = ""


class Requesting(_Phase, frozen=True, tag="requesting"):
    """Looks for somebody who has `target`; `attempt` counts failures so far, `reason` is that of the last one."""

    target: Target
    since: float
    attempt: int = 0
    reason: str = ""


class Downloading(_Phase, frozen=True, tag="downloading"):
    """`target` comes in; `fetched`: all bytes are there and the version is being built on disk."""

    target: Target
    since: float
    attempt: int = 0
    fetched: bool = False


class Staged(_Phase, frozen=True, tag="staged"):
    """`target` lies ready on disk and waits for permission to be activated."""

    target: Target
    since: float
    reason: str = ""


class Activating(_Phase, frozen=True, tag="activating"):
    """Hooks run and `target` takes over; `attempt` counts restarts of the agent in the middle of it."""

    target: Target
    since: float
    attempt: int = 0


class Probing(_Phase, frozen=True, tag="probing"):
    """`target` runs and must prove itself healthy."""

    target: Target
    since: float
    attempt: int = 0


class Confirmed(_Phase, frozen=True, tag="confirmed"):
    """The deployment's `running` is healthy; `seconds` is how long its deployment took."""

    seconds: float = 0.0


class RollingBack(_Phase, frozen=True, tag="rolling-back"):
    """`target` was not healthy and the deployment's `running` takes over again; `reason` and `log` say why.

    `bad`: the version is to blame. `waits`: why the disk does not take the step back; it is tried at the deadline.
    `removal`: nothing went wrong, the plan names no version any more, and nothing runs after this.
    """

    target: Target
    since: float
    attempt: int = 0
    reason: str = ""
    log: str = ""
    bad: bool = True
    waits: str = ""
    removal: bool = False


class Failed(_Phase, frozen=True, tag="failed"):
    """`target` did not come to run; `deadline` is when it is tried again, None: never, it is a bad version."""

    target: Target
    reason: str
    log: str = ""
    seconds: float = 0.0


Phase = Idle | Requesting | Downloading | Staged | Activating | Probing | Confirmed | RollingBack | Failed

STATE_OF: dict[type[Phase], DeploymentState] = {
    Idle: DeploymentState.IDLE,
    Requesting: DeploymentState.REQUESTING,
    Downloading: DeploymentState.DOWNLOADING,
    Staged: DeploymentState.STAGED,
    Activating: DeploymentState.ACTIVATING,
    Probing: DeploymentState.PROBING,
    Confirmed: DeploymentState.CONFIRMED,
    RollingBack: DeploymentState.ROLLING_BACK,
    Failed: DeploymentState.FAILED,
}


class BadVersion(msgspec.Struct, frozen=True):
    """A version that was tried and must not be tried again while the plan goes on naming it."""

    manifest: str
    reason: str
    log: str = ""


class Deployment(msgspec.Struct, frozen=True):
    """One software group on one board. `unwanted`: the plan names no version, and what runs is to go."""

    group: str
    phase: Phase = msgspec.field(default_factory=Idle)
    running: Target | None = None
    previous: Target | None = None
    wanted: Target | None = None
    bad: tuple[BadVersion, ...] = ()
    unwanted: bool = False

    @property
    def state(self) -> DeploymentState:
        return STATE_OF[type(self.phase)]

    @property
    def target(self) -> Target | None:
        """The version that is being worked on or has failed, if any."""
        if isinstance(self.phase, Idle | Confirmed):
            return None
        return self.phase.target

    def badness(self, target: Target) -> BadVersion | None:
        return next((bad for bad in self.bad if bad.manifest == target.manifest), None)


# --- events: what happened -------------------------------------------------------------------------------------------


class Wanted(msgspec.Struct, frozen=True):
    """The plan names `target` (None: no version; then `reason` says how that comes).

    `bad`: the servers know that this board has tried it and must not try it again. `leave`: with no version named, what
    runs is to go as well.
    """

    target: Target | None
    reason: str = ""
    bad: BadVersion | None = None
    leave: bool = False


class Retried(msgspec.Struct, frozen=True):
    """The operator lets the board try again what it failed at."""


class SourceFound(msgspec.Struct, frozen=True):
    """Somebody has the version and was chosen."""

    manifest: str


class NoSource(msgspec.Struct, frozen=True):
    """Everybody was asked and nobody can serve the version."""

    manifest: str
    reason: str


class Progressed(msgspec.Struct, frozen=True):
    """Bytes came in."""

    manifest: str


class Fetched(msgspec.Struct, frozen=True):
    """All bytes are on the board; building the version begins."""

    manifest: str


class DownloadFailed(msgspec.Struct, frozen=True):
    """Every source failed, or the board could not take the bytes in; the version itself is not to blame."""

    manifest: str
    reason: str


class StageSucceeded(msgspec.Struct, frozen=True):
    """The version lies complete and durable on disk."""

    manifest: str


class StageFailed(msgspec.Struct, frozen=True):
    """The version cannot be installed on this board; `bad`: trying again cannot help."""

    manifest: str
    reason: str
    log: str = ""
    bad: bool = True


class Permitted(msgspec.Struct, frozen=True):
    """Nothing stands against activation; it may take `limit` seconds."""

    manifest: str
    limit: float


class Held(msgspec.Struct, frozen=True):
    """Something stands against activation."""

    manifest: str
    reason: str


class Activated(msgspec.Struct, frozen=True):
    """The version took over; its health check may take `limit` seconds."""

    manifest: str
    limit: float


class Vetoed(msgspec.Struct, frozen=True):
    """A hook said no before anything was changed."""

    manifest: str
    reason: str
    log: str = ""


class ActivationFailed(msgspec.Struct, frozen=True):
    """Something was changed, or may have been, and then it went wrong; `bad`: the version is to blame."""

    manifest: str
    reason: str
    log: str = ""
    bad: bool = True


class Healthy(msgspec.Struct, frozen=True):
    manifest: str


class Unhealthy(msgspec.Struct, frozen=True):
    manifest: str
    reason: str
    log: str = ""


class RolledBack(msgspec.Struct, frozen=True):
    manifest: str


class RollBackFailed(msgspec.Struct, frozen=True):
    """`disk`: the board's disk did not take it, which may pass."""

    manifest: str
    reason: str
    disk: bool = False


class ServersBack(msgspec.Struct, frozen=True):
    """A server was heard after a time in which none was: what waits to be tried again need not wait longer."""


class Tick(msgspec.Struct, frozen=True):
    """The phase's deadline may have come."""


Event = (
    Wanted
    | Retried
    | SourceFound
    | NoSource
    | Progressed
    | Fetched
    | DownloadFailed
    | StageSucceeded
    | StageFailed
    | Permitted
    | Held
    | Activated
    | Vetoed
    | ActivationFailed
    | Healthy
    | Unhealthy
    | RolledBack
    | RollBackFailed
    | ServersBack
    | Tick
)


# --- actions: what is to be done -------------------------------------------------------------------------------------


class FindSources(msgspec.Struct, frozen=True):
    """Find out who has `target`, not sooner than in `after` seconds; answer SourceFound or NoSource."""

    target: Target
    after: float = 0.0


class Download(msgspec.Struct, frozen=True):
    """Fetch and stage `target`; answer Progressed, Fetched, then StageSucceeded, StageFailed or DownloadFailed."""

    target: Target


class Stop(msgspec.Struct, frozen=True):
    """Stop working on `target`; its answers no longer count."""

    target: Target


class Activate(msgspec.Struct, frozen=True):
    """Let `target` take over from `running`; answer Activated, Vetoed or ActivationFailed."""

    target: Target
    running: Target | None


class Probe(msgspec.Struct, frozen=True):
    """Check the health of `target`; answer Healthy or Unhealthy."""

    target: Target


class Confirm(msgspec.Struct, frozen=True):
    """Make `running` lasting and collect what neither it nor a rollback to `previous` needs; no answer."""

    running: Target
    previous: Target | None


class RollBack(msgspec.Struct, frozen=True):
    """Let `to` (None: nothing) take over again from `target`; answer RolledBack or RollBackFailed."""

    target: Target
    to: Target | None


class Discard(msgspec.Struct, frozen=True):
    """Remove what was staged of `target`, which will not be activated; no answer."""

    target: Target


Action = FindSources | Download | Stop | Activate | Probe | Confirm | RollBack | Discard
