"""Drives one board: asks, follows the plan, chooses, and carries the machines' actions out through its hands.

Rules:

* Nothing here blocks, sleeps or reads a clock: ``wake(now)`` does what is due, ``next_wakeup`` says when again; the
  network, the hands and the servers come in by ``hear``, ``happened`` and ``planned``. One thread calls it all.
* The ledger is written before actions are carried out. If it cannot be written, the actions wait until it can.
* Metadata from the newest, bytes from the nearest: the plan is refreshed after a round that heard of another generation
  than the board has; the choice is made by the wanted manifest (``Searching``).
* One group of the board takes over at a time, and only when the order of the groups permits it.
"""

import math
from collections.abc import Callable

import msgspec

from boardwright import log
from boardwright.agent import deployment as d
from boardwright.agent.asking import Asking
from boardwright.agent.deployment import Action, Deployment, Event
from boardwright.agent.downloads import Account, Download
from boardwright.agent.following import follow
from boardwright.agent.ledger import KnownServer, Ledger
from boardwright.agent.machine import deadline, same, step
from boardwright.agent.neighbourhood import Neighbourhood
from boardwright.agent.pending import Pending
from boardwright.agent.permitting import permissions
from boardwright.agent.plan_source import PlanFound
from boardwright.agent.ports import Hands, Outside, Timings
from boardwright.agent.resume import adopt, resume
from boardwright.agent.searching import Searching
from boardwright.agent.transition_log import Trails, log_transition
from boardwright.config.settings import AgentSettings
from boardwright.model.plan import BoardPlan
from boardwright.model.report import DeploymentState
from boardwright.model.software import Target
from boardwright.protocol import Randomness
from boardwright.protocol.choose import Candidate, choose
from boardwright.protocol.messages import Announcement, Offer, Request
from boardwright.protocol.requester import newest_first

LOOK = 0.5  # seconds between looks at a running download's progress
UNNAMED_RETRIES = 6  # rounds, over about a minute, in which a board that the plan does not name yet asks again

_log = log.get("agent.driver")


class BoardDriver:
    """One board. `now` is monotonic seconds throughout."""

    def __init__(  # noqa: PLR0913 - what a board is made of, each part handed in
        self,
        settings: AgentSettings,
        *,
        hands: Hands,
        outside: Outside,
        ledger: Ledger,
        rng: Randomness,
        now: float,
        timings: Timings = Timings(),
        conflict: str = "",
        fallen: Callable[[Target], str] = lambda target: "",
    ) -> None:
        """`conflict`: why nothing may take over on this board (``agent.place``); `fallen`: see ``OwnRelease``."""
        self.settings = settings
        self.board = settings.board
        self.conflict = conflict
        self.plan: BoardPlan | None = None
        self.trouble = ""  # why nothing is heard of the plan
        self._hands = hands
        self._outside = outside
        self._ledger = ledger
        self._timing = timings.machine
        self._record = ledger.load()
        self.accounts = dict(self._record.accounts)
        self._announced = 0
        self._doubt = 0  # announcements in a row that no plan bore out
        self._doubted = 0  # the last of them
        self._retry_told = 0  # the count of retries that a server spoke of last; 0 once a plan brought one
        self._revocations = 0  # the number of the list of revoked keys in hand
        self._refreshing = False
        self._unheard = False  # no server answered the last round
        self._downloads: dict[str, Download] = {}
        self._pending = Pending()
        self._look_at: float | None = None
        self._received: dict[str, int] = {}
        self._trails = Trails()
        self.asking = Asking(
            self.board,
            settings.cluster.name,
            known={server: known.api for server, known in self._record.servers.items()},
            period=settings.period,
            timing=timings.request,
            rng=rng,
            now=now,
        )
        self._neighbours = Neighbourhood(self.board, outside.neighbour, enabled=settings.relay_enabled)
        self.searching = Searching(self.board, self.asking, timings.request)
        self.groups: dict[str, Deployment] = {}
        self._resume(now, fallen)

    # --- what comes in ---

    @property
    def generation(self) -> int:
        return self._record.generation

    @property
    def era(self) -> int:
        """The one in which the plan of that generation was signed."""
        return self._record.era

    @property
    def sequence(self) -> int:
        return self._record.sequence

    @property
    def retry(self) -> int:
        """The highest count of retries that a plan bore out."""
        return self._record.retry

    def hear(self, message: Offer | Announcement, now: float) -> bool:
        """An offer or an announcement of this cluster. False: it says nothing new (anybody can send any number)."""
        if isinstance(message, Announcement):
            return self.announced(message.generation, now)
        if (message.relay and not self._neighbours.enabled) or not self.asking.hear(message, now):
            return False
        for group, download in self._downloads.items():
            # The choice is made: who comes later joins its failover list.
            manifest = bytes.fromhex(download.target.manifest)
            choice = choose(self.board, (message,), group, manifest, patience=False)
            for candidate in (*choice.ranking, *choice.relays):
                download.join(candidate)
        return True

    def joined(self, manifest: str, candidate: Candidate) -> None:
        """A neighbour that asked this board's relay is a source of the version, too."""
        for download in self._downloads.values():
            if download.target.manifest == manifest:
                download.join(candidate)

    @property
    def fetching(self) -> tuple[Target, ...]:
        """The versions whose download goes on, or is about to."""
        phases = [one.phase for one in self.groups.values()]
        return tuple(phase.target for phase in phases if isinstance(phase, d.Requesting | d.Downloading))

    def requested(self, request: Request, now: float) -> None:
        """Some board's version request was heard; nobody signs those."""
        self._neighbours.requested(request, self._downloads, now)

    def announced(self, generation: int, now: float) -> bool:
        """A server says, by multicast or when it took a report, that there is a plan of this generation.

        Not only a higher one than was announced before: a lie must not make deaf to the truth that comes after it.
        """
        if generation <= self.generation or generation == self._announced:
            return False
        self._announced = generation
        self.asking.announced(now, self._doubt)
        return True

    def retried(self, count: int, now: float) -> None:
        """A server says, when it took a report, that the operator lets this board try again."""
        if count > self.retry and count != self._retry_told:
            self._retry_told = count
            self.asking.announced(now, self._doubt)

    def revoked(self, number: int, servers: frozenset[str]) -> None:
        """The list of revoked keys with this number holds; `servers` are none any more."""
        self._revocations = number
        self.asking.drop(servers)

    def planned(self, found: PlanFound, now: float) -> None:
        """The answer to ``Outside.refresh``."""
        self._refreshing, plan = False, found.plan
        self.asking.verified(found.silent, now)
        if plan is not None and found.era != self.era:
            # A key was dropped that may have made up the highest numbers there are.
            self._record = msgspec.structs.replace(
                self._record, era=found.era, generation=0, retry=min(self.retry, plan.retry)
            )
        if plan is None or plan.generation < self.generation:
            problems = "; ".join(found.problems)
            self.trouble = f"no server gave a plan: {problems}"
            _log.warning("no plan", board=self.board.id, problems=problems)
            self.asking.fruitless(now)
        else:
            self.trouble, self.plan = "", plan
            self._follow(plan, now)
            if plan.retry > self.retry:
                self._record, self._retry_told = msgspec.structs.replace(self._record, retry=plan.retry), 0
            self._record = msgspec.structs.replace(self._record, generation=plan.generation)
            self._note_fruit(now)
            self._save_and_do(now)
        self._search(now)

    def happened(self, group: str, event: Event, now: float) -> None:
        """Something that the hands were asked for has come about."""
        self._step(group, event, now)
        self._permit(now)
        self._save_and_do(now)

    # --- what is due ---

    def wake(self, now: float) -> None:
        """Do everything that is due at `now`."""
        self._look(now)
        for group in [group for group in self.groups if not self._pending.holds(group)]:
            self._step(group, d.Tick(), now)
        self._ask(now)
        self._search(now)
        self._permit(now)
        self._save_and_do(now)

    def next_wakeup(self) -> float:
        """When ``wake`` is to be called again at the latest."""
        times = [self._pending.retry_at, self._look_at, self._neighbours.next_wakeup()]
        times += [deadline(one) for group, one in self.groups.items() if not self._pending.holds(group)]
        if self.asking.asking or not self._refreshing:
            times.append(self.asking.next_wakeup())
        if not self.asking.asking and not self._refreshing:
            times.append(self.searching.next_wakeup())
        return min((time for time in times if time is not None), default=math.inf)

    # --- asking and the plan ---

    def _ask(self, now: float) -> None:
        if self._refreshing and not self.asking.asking:
            return
        datagrams = self.asking.datagrams(now, self.generation, lambda: self.searching.queries(self.groups.values()))
        if datagrams:
            self._outside.send(datagrams)
        if self.asking.take(now):
            self._after_round(now)

    def _after_round(self, now: float) -> None:
        offers = newest_first(self.asking.offers)
        if not offers:
            self.trouble = "no server answered"
            self._unheard = True
            return
        if self._unheard:
            self._unheard = False
            self.searching.hurry(now)
            for group in self.groups:
                self._step(group, d.ServersBack(), now)
        servers = {server: KnownServer(api) for server, api in self.asking.apis.items()}
        self._record = msgspec.structs.replace(self._record, servers=servers)
        news = any(offer.revocations > self._revocations for offer in offers)
        if self.plan is not None and offers[0].generation == self.generation and self._up_to_date and not news:
            self.trouble = ""
            self._note_fruit(now)
        else:
            self._refreshing = True
            self._outside.refresh(offers, self.generation)

    def _note_fruit(self, now: float) -> None:
        """A board that the plan does not name yet, or that heard of a newer plan, asks again before long."""
        if self._up_to_date and self._announced <= self.generation:
            self.asking.fruitful()
            self._doubt = 0
        else:
            if self._announced > self.generation and self._announced != self._doubted:
                self._doubt, self._doubted = self._doubt + 1, self._announced
            self.asking.fruitless(now, attempts=UNNAMED_RETRIES)

    @property
    def _up_to_date(self) -> bool:
        """Whether the plan in hand names something and bears out every retry that was heard of."""
        plan = self.plan
        return plan is not None and bool(plan.groups or plan.withheld) and self._retry_told <= self.retry

    def _follow(self, plan: BoardPlan, now: float) -> None:
        for group in (*plan.groups, *plan.withheld):
            # What this board was never meant to run is not installed, whoever has signed it.
            if group not in self.groups and group in self.board.groups:
                self.groups[group] = adopt(group, self._hands.running(group))
        for group, event in follow(plan, tuple(self.groups), self.retry):
            self._step(group, event, now)

    def _search(self, now: float) -> None:
        if self.asking.asking or self._refreshing:
            return
        for group, event in self.searching.look(now):
            self._step(group, event, now)

    # --- the machines ---

    def _resume(self, now: float, fallen: Callable[[Target], str]) -> None:
        names = dict.fromkeys((*self.board.groups, *self._record.groups))
        for group in names:
            found = self._hands.running(group)
            recorded = self._record.groups.get(group)
            if recorded is None:
                self.groups[group] = adopt(group, found)
                continue
            staged = recorded.target is None or self._hands.holds(recorded.target)
            for kept in (recorded.running, recorded.previous):
                if kept is not None:
                    self._hands.holds(kept)  # so that its requirements are known
            fell = fallen(recorded.target) if recorded.target is not None else ""
            self.groups[group], actions = resume(
                recorded, found, now, self._timing, staged=staged, conflict=self.conflict, fallen=fell
            )
            self._pending.add(group, actions)
        self._save_and_do(now)

    def _step(self, group: str, event: Event, now: float) -> None:
        before = self.groups[group]
        after, actions = step(before, event, now, self._timing)
        if after.state is not before.state:
            log_transition(self.board.id, before, after)
            after = self._trails.moved(before, after, now)
        self.groups[group] = after
        self._pending.add(group, actions)

    def _permit(self, now: float) -> None:
        """Let the first staged group that may take over do so, and tell the others why not."""
        for group, event in permissions(self.groups, self._hands, self.conflict):
            self._step(group, event, now)

    def _save_and_do(self, now: float) -> None:
        """Write the ledger, then carry out what is pending; steps that this causes come back here."""
        if self._pending.waits(now):
            return
        if not self.save():
            self._pending.stall(now)
            return
        if self._pending.stalled:
            self.trouble = ""
        for group, action in self._pending.release(self.groups, now):
            self._do(group, action, now)

    def save(self, sequence: int | None = None) -> bool:
        """Write the ledger; False if the disk does not take it."""
        if sequence is not None:
            self._record = msgspec.structs.replace(self._record, sequence=sequence)
        try:
            # What is under way would be written twice a second, and begins anew after a restart.
            over = {group: account for group, account in self.accounts.items() if group not in self._downloads}
            self._ledger.save(msgspec.structs.replace(self._record, groups=self.groups, accounts=over))
        except OSError as error:
            self.trouble = f"the ledger {self._ledger.path} cannot be written: {error.strerror}"
            _log.error("ledger not written", board=self.board.id, error=str(error))
            return False
        return True

    def _do(self, group: str, action: Action, now: float) -> None:
        match action:
            case d.FindSources(target, after):
                self.searching.begin(group, target, now + after)
                if after == 0.0:  # a new deployment, not another attempt
                    self.accounts.pop(group, None)
            case d.Download(target):
                self._download(group, target, now)
            case d.Stop():
                self.searching.end(group)
                self._end_download(group)
                self._hands.stop(group)
            case d.Activate():
                self._hands.activate(action)
            case d.Probe():
                self._hands.probe(action)
            case d.RollBack():
                self._hands.roll_back(action)
            case d.Confirm():
                self._hands.confirm(action)
            case d.Discard():
                self._hands.discard(action)

    # --- downloads ---

    def _download(self, group: str, target: Target, now: float) -> None:
        self._end_download(group)
        relaying = self._neighbours.begin(target, now)
        ranking, account = self.searching.ranking(group), self.accounts.get(group)
        download = Download(self._outside.source, target, ranking, account, relaying)
        self._downloads[group] = download
        self._look_at = now + LOOK
        others = tuple(
            other.phase.target
            for other in self.groups.values()
            if other.group != group and isinstance(other.phase, d.Requesting | d.Downloading)
        )
        self._hands.download(download, others)

    def _look(self, now: float) -> None:
        """Take progress over from running downloads, and end the accounts of those that are over."""
        for group, download in list(self._downloads.items()):
            received = download.received
            if received != self._received.get(group, 0):
                self._received[group] = received
                self._step(group, d.Progressed(download.target.manifest), now)
            self.accounts[group] = download.account
            if not isinstance(self.groups[group].phase, d.Downloading):
                self._end_download(group)
        self._look_at = now + LOOK if self._downloads else None
        if self._neighbours.due(now):
            self.asking.ask_by(now)

    def _end_download(self, group: str) -> None:
        self._neighbours.end(group)
        download = self._downloads.pop(group, None)
        self._received.pop(group, None)
        if download is not None:
            self.accounts[group] = download.account

    def account(self, group: str) -> Account:
        """What the group's deployment has moved so far."""
        download = self._downloads.get(group)
        return download.account if download else self.accounts.get(group, Account())

    # --- how it stands ---

    @property
    def stalled(self) -> bool:
        """Whether nothing is begun because the ledger cannot be written; `trouble` says why."""
        return self._pending.stalled

    @property
    def settled(self) -> bool:
        """Whether a plan is known and no group will go on by itself."""
        if self.plan is None or self._refreshing or self.asking.asking or self._pending:
            return False
        return all(
            isinstance(one.phase, d.Idle | d.Confirmed | d.Failed | d.Staged) and not _goes_on(one)
            for one in self.groups.values()
        )

    @property
    def as_wanted(self) -> bool:
        """Whether what runs is what is wanted."""
        return all(
            one.state is not DeploymentState.FAILED and (one.wanted is None or same(one.wanted, one.running))
            for one in self.groups.values()
        )


def _goes_on(deployment: Deployment) -> bool:
    return deadline(deployment) == 0.0
