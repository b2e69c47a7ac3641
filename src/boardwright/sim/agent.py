"""The agent's real machine on a simulated board: its ledger, its choices and its order are real, the work is not.

Rules:

* As the real agent does, it writes the ledger (encoded) before it carries an action out, and goes on from it after a
  power cut. What a board keeps over a power cut: the ledger, what is fetched, staged and installed. Nothing else.
* A download takes ``size / rate`` seconds in steps; a source that is dead or does not hold the version is left for the
  next of the board's failover list, and what was fetched stays.
* ``Behaviour`` says by version how activation and health checks end.
"""

from collections import Counter
from collections.abc import Callable

import msgspec

from boardwright.agent import deployment as d
from boardwright.agent.deployment import Action, Deployment, Event
from boardwright.agent.machine import deadline, step
from boardwright.agent.order import Release, objection
from boardwright.agent.resume import resume
from boardwright.model.plan import BoardPlan
from boardwright.model.report import DeploymentState
from boardwright.model.software import Target
from boardwright.protocol.messages import Holding
from boardwright.sim.board import Chosen, SimBoard
from boardwright.sim.clock import Timer, VirtualTime
from boardwright.sim.server import SimServer


class Behaviour(msgspec.Struct, frozen=True):
    """How the simulated work goes: bytes, bytes and seconds, and the versions that are not as they should be."""

    size: int = 64 * 2**20
    rate: float = 100e6
    step: int = 4 * 2**20
    activation: float = 2.0
    probing: float = 1.0
    vetoed: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()
    sick: frozenset[str] = frozenset()
    requires: dict[str, dict[str, str]] = {}  # version -> group -> requirement


class SimAgent:
    """The agent of one simulated board."""

    def __init__(self, board: SimBoard, time: VirtualTime, servers: dict[str, SimServer], behaviour: Behaviour) -> None:
        self.board = board
        self.behaviour = behaviour
        # What lasts over a power cut.
        self.ledger: dict[str, bytes] = {}
        self.fetched: Counter[str] = Counter()  # bytes by manifest
        self.staged: set[str] = set()
        self.installed: dict[str, Target] = {}
        # What a test looks at.
        self.served: Counter[str] = Counter()  # bytes by server
        self.failovers = 0
        self.steps = 0
        self.on_step: Callable[[], None] | None = None
        self._time = time
        self._servers = servers
        self._deployments: dict[str, Deployment] = {}
        self._chosen: dict[str, str] = {}
        self._ticks: dict[str, Timer] = {}
        self._life = 0  # what was scheduled in an earlier life does not happen
        board.listener = self

    def state(self, group: str) -> DeploymentState:
        return self.deployment(group).state

    def deployment(self, group: str) -> Deployment:
        return self._deployments.get(group, Deployment(group))

    def running(self, group: str) -> str | None:
        """The version that was confirmed last."""
        target = self.deployment(group).running
        return target.version if target else None

    def power_on(self, *, jitter: bool = True) -> None:
        """Start, going on from the ledger if there is one."""
        for group, encoded in self.ledger.items():
            recorded = msgspec.json.decode(encoded, type=Deployment)
            target = recorded.target
            whole = target is None or target.manifest in self.staged
            self._take(*resume(recorded, self.installed.get(group), self._time.now, staged=whole))
        self._permit()
        self.board.power_on(jitter=jitter)

    def power_cut(self) -> None:
        self._life += 1
        self._deployments.clear()
        self._chosen.clear()
        self._ticks.clear()
        self.board.power_off()

    # --- what the board's rounds tell ---------------------------------------------------------------------------

    def plan(self, plan: BoardPlan) -> None:
        for group in self.board.board.groups:
            self.happen(group, d.Wanted(plan.groups.get(group)))

    def chosen(self, chosen: Chosen) -> None:
        self._chosen[chosen.group] = chosen.server
        self.happen(chosen.group, d.SourceFound(chosen.manifest.hex()))

    def nothing(self, group: str, manifest: bytes, reason: str) -> None:
        self.happen(group, d.NoSource(manifest.hex(), reason))

    # --- driving the machine --------------------------------------------------------------------------------------

    def happen(self, group: str, event: Event) -> None:
        """One event of one group's machine, and what follows from it."""
        before = self.deployment(group)
        after, actions = step(before, event, self._time.now)
        self._take(after, actions)
        if after.state is not before.state and after.state in (DeploymentState.STAGED, DeploymentState.CONFIRMED):
            self._permit()

    def _take(self, deployment: Deployment, actions: tuple[Action, ...]) -> None:
        group = deployment.group
        changed = self._deployments.get(group) != deployment
        self._deployments[group] = deployment
        self.ledger[group] = msgspec.json.encode(deployment)
        if group in self._ticks:
            self._ticks.pop(group).cancel()
        due = deadline(deployment)
        if due is not None:
            self._ticks[group] = self._time.at(due, self._in_this_life(lambda: self.happen(group, d.Tick())))
        life = self._life
        if changed:
            self.steps += 1
            if self.on_step is not None:
                self.on_step()
        for action in actions:
            if life == self._life:  # the power may have been cut between the ledger and the action
                self._carry_out(group, action)

    def _in_this_life(self, callback: Callable[[], None]) -> Callable[[], None]:
        life = self._life
        return lambda: callback() if life == self._life else None

    def _later(self, seconds: float, callback: Callable[[], None]) -> None:
        self._time.after(seconds, self._in_this_life(callback))

    def _permit(self) -> None:
        for group, deployment in list(self._deployments.items()):
            target = deployment.target
            if deployment.state is not DeploymentState.STAGED or target is None:
                continue
            running = {
                other: self._release(of.running) for other, of in self._deployments.items() if of.running is not None
            }
            reason = objection(group, self._release(target), running)
            if reason is None:
                self.happen(group, d.Permitted(target.manifest, 60.0))
            else:
                self.happen(group, d.Held(target.manifest, reason))

    def _release(self, target: Target | None) -> Release:
        assert target is not None
        return Release(target.version, self.behaviour.requires.get(target.version, {}))

    # --- simulated work -------------------------------------------------------------------------------------------

    def _carry_out(self, group: str, action: Action) -> None:
        match action:
            case d.FindSources(after=after):
                self.board.ask_in(after)
            case d.Download(target):
                self._fetch(group, target, 0)
            case d.Activate(target):
                self._activate(group, target)
            case d.Probe(target):
                self._later(self.behaviour.probing, lambda: self._probe(group, target))
            case d.RollBack(target, to):
                self._later(self.behaviour.activation / 2, lambda: self._install(group, to))
                rolled_back = d.RolledBack(target.manifest)
                self._later(self.behaviour.activation, lambda: self.happen(group, rolled_back))
            case d.Discard(target):
                self.staged.discard(target.manifest)
                self.fetched.pop(target.manifest, None)
            case d.Stop() | d.Confirm():
                pass  # late answers are nothing to the machine, and the simulated disk is endless

    def _fetch(self, group: str, target: Target, attempt: int) -> None:
        """One step of a download; `attempt` is the place in the failover list."""
        if self.deployment(group).target != target or self.state(group) is not DeploymentState.DOWNLOADING:
            return
        left = self.behaviour.size - self.fetched[target.manifest]
        if left <= 0:
            self.happen(group, d.Fetched(target.manifest))
            self.staged.add(target.manifest)
            self.happen(group, d.StageSucceeded(target.manifest))
            return
        sources = self.board.ranking(group)
        if attempt >= len(sources):
            self.happen(group, d.DownloadFailed(target.manifest, f"all {len(sources)} sources failed"))
            return
        source = self._servers[sources[attempt]]
        if not self._serves(source, target):
            self.failovers += 1
            self._fetch(group, target, attempt + 1)
            return
        count = min(self.behaviour.step, left)

        def arrived() -> None:
            if self._serves(source, target) and self.state(group) is DeploymentState.DOWNLOADING:
                self.fetched[target.manifest] += count
                self.served[source.id] += count
                self.happen(group, d.Progressed(target.manifest))
            self._fetch(group, target, attempt)

        self._later(count / self.behaviour.rate, arrived)

    def _serves(self, source: SimServer, target: Target) -> bool:
        held = source.holdings.get(bytes.fromhex(target.manifest))
        return source.alive and held is not None and held.holding is Holding.ALL

    def _activate(self, group: str, target: Target) -> None:
        version, manifest = target.version, target.manifest
        if version in self.behaviour.vetoed:
            self._later(0.1, lambda: self.happen(group, d.Vetoed(manifest, "the hook bin/check said no")))
            return
        self._later(self.behaviour.activation / 2, lambda: self._install(group, target))
        outcome: Event = d.Activated(manifest, 60.0)
        if version in self.behaviour.broken:
            outcome = d.ActivationFailed(manifest, "the link could not be set")
        self._later(self.behaviour.activation, lambda: self.happen(group, outcome))

    def _install(self, group: str, target: Target | None) -> None:
        self.installed.pop(group, None)
        if target is not None:
            self.installed[group] = target

    def _probe(self, group: str, target: Target) -> None:
        sick = target.version in self.behaviour.sick
        unhealthy = d.Unhealthy(target.manifest, "the health check ended with 1")
        self.happen(group, unhealthy if sick else d.Healthy(target.manifest))
