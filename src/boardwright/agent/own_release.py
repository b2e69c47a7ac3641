"""The agent's own release, the group `boardwright-agent`: hands that know that what they install is themselves.

Rules:

* The take-over ends in another process: once the ledger says that the new release is probed, the old one starts the
  boot stage anew (``due``), and the new one finds that state in the ledger and goes on with it.
* The new release proves itself: it is healthy by its manifest, has a plan from a server and a server has taken its
  report, within ``PROOF`` seconds. Only then it is the confirmed one, and the alarm of the boot stage is taken back.
* The trial's file is written before the link on the way back, and after the proof on the way forward (``boot.trial``);
  where the disk does not take it, nothing is begun.
* A release that has fallen at the boot stage was rolled back from there; the release before finds that (`fallen`).
* What the boot stage does not follow (a second board of one process, a program that was started without it) cannot
  take over: that is a veto.
"""

import math
from collections.abc import Callable
from pathlib import Path

from boardwright import log
from boardwright.agent import deployment as d
from boardwright.agent.deployment import Deployment, Event
from boardwright.agent.downloads import Download
from boardwright.agent.order import Release
from boardwright.agent.ports import Hands
from boardwright.agent.versions import directory_name
from boardwright.boot.names import AGENT_GROUP
from boardwright.boot.release import Boot, named
from boardwright.boot.trial import PROOF, Trial, read_trial, write_trial
from boardwright.model.software import Target

Post = Callable[[str, Event], None]
_log = log.get("agent.release")


class OwnRelease:
    """The hands of one board, `hands` for everything else. `post` answers; all in the loop's thread.

    `boot` is what the boot stage told this process, None if there was none; `disarm` takes its alarm back.
    """

    def __init__(self, hands: Hands, root: Path, boot: Boot | None, post: Post, disarm: Callable[[], object]) -> None:
        self._hands = hands
        self._directory = root / AGENT_GROUP
        self._boot = boot if boot is not None and boot.directory == str(self._directory) else None
        self._post = post
        self._disarm = disarm
        self._proving: d.Probe | None = None
        self._until = 0.0
        self._proved = False

    def fallen(self, target: Target) -> str:
        """Why the boot stage went back from `target`; '' if it did not."""
        trial = read_trial(self._directory)
        is_it = target.group == AGENT_GROUP and trial.fallen == directory_name(target)
        return trial.reason or "it fell" if is_it else ""

    def resumed(self, deployment: Deployment | None) -> None:
        """The ledger is read. What it calls the running release is no trial, whatever became of the trial's file."""
        running = deployment.running if deployment is not None else None
        if self._boot is not None and running is not None and self._boot.entered == directory_name(running):
            self._written(lambda trial: trial.confirm(directory_name(running)))
            self._disarm()

    def due(self, deployment: Deployment | None) -> bool:
        """Whether another release is to run: the link is where the ledger says, and not what the boot stage saw."""
        if self._boot is None or deployment is None or not self._boot.moved():
            return False
        phase = deployment.phase
        if isinstance(phase, d.Activating | d.RollingBack):
            return False  # a hand is on it
        return not isinstance(phase, d.Probing) or named(self._directory) == directory_name(phase.target)

    def proved(self) -> None:
        """A server has given a plan, and one has taken a report, since this process began."""
        self._proved = True
        if self._proving is not None:
            probe, self._proving = self._proving, None
            self._hands.probe(probe)

    def wake(self, now: float) -> None:
        """Give up what has not proved itself in time."""
        if self._proving is not None and self._until == 0.0:
            self._until = now + PROOF
        if self._proving is not None and now >= self._until:
            target, self._proving = self._proving.target, None
            reason = f"the new agent got no plan from a server and no report to one within {PROOF:g} s"
            self._post(AGENT_GROUP, d.Unhealthy(target.manifest, reason))

    def next_wakeup(self) -> float:
        return math.inf if self._proving is None else self._until

    def heard(self, group: str, event: Event) -> Event:
        """What the driver is told instead of `event`, which the hands have answered."""
        if group != AGENT_GROUP or self._boot is None or not isinstance(event, d.Healthy):
            return event
        try:
            write_trial(self._directory, read_trial(self._directory).confirm(self._boot.entered))
        except OSError as error:
            return d.Unhealthy(event.manifest, f"the new agent cannot be confirmed: {error.strerror}")
        self._disarm()
        _log.info("confirmed", release=self._boot.entered)
        return event

    # The hands.

    def activate(self, action: d.Activate) -> None:
        if action.target.group != AGENT_GROUP:
            self._hands.activate(action)
            return
        manifest = action.target.manifest
        if self._boot is None:
            self._post(AGENT_GROUP, d.Vetoed(manifest, "this agent does not follow the releases of this board"))
            return
        if self._boot.entered != directory_name(action.target) and not self._written(Trial.begin):
            self._post(AGENT_GROUP, d.ActivationFailed(manifest, "the trial cannot be written", bad=False))
            return
        self._hands.activate(action)

    def probe(self, action: d.Probe) -> None:
        if action.target.group != AGENT_GROUP or self._boot is None:
            self._hands.probe(action)
        elif self._boot.seen == directory_name(action.target) != self._boot.entered:
            reason = "the boot stage could not start it; the agent's log says why"
            self._post(AGENT_GROUP, d.Unhealthy(action.target.manifest, reason))
        elif self._boot.entered != directory_name(action.target):
            return  # it is probed by itself
        elif self._proved:
            self._hands.probe(action)
        else:
            self._proving, self._until = action, 0.0

    def roll_back(self, action: d.RollBack) -> None:
        self._proving = None if action.target.group == AGENT_GROUP else self._proving
        to = "" if action.to is None else directory_name(action.to)
        if action.target.group == AGENT_GROUP and not self._written(lambda trial: trial.confirm(to)):
            event = d.RollBackFailed(action.target.manifest, "the trial cannot be written", disk=True)
            self._post(AGENT_GROUP, event)
            return
        self._hands.roll_back(action)

    def confirm(self, action: d.Confirm) -> None:
        self._hands.confirm(action)

    def running(self, group: str) -> Target | None:
        return self._hands.running(group)

    def holds(self, target: Target) -> bool:
        return self._hands.holds(target)

    def release(self, target: Target) -> Release:
        return self._hands.release(target)

    def activation_limit(self, target: Target) -> float:
        return self._hands.activation_limit(target)

    def download(self, download: Download, others: tuple[Target, ...]) -> None:
        self._hands.download(download, others)

    def discard(self, action: d.Discard) -> None:
        self._hands.discard(action)

    def stop(self, group: str) -> None:
        self._hands.stop(group)

    def _written(self, change: Callable[[Trial], Trial]) -> bool:
        try:
            if self._directory.is_dir():
                write_trial(self._directory, change(read_trial(self._directory)))
        except OSError as error:
            _log.error("the trial cannot be written", directory=self._directory, error=error.strerror)
            return False
        return True
