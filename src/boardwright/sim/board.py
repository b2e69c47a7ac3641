"""A simulated board up to the choice: the real requester, the real codec, the real choosing code.

It does what an agent does before it downloads: ask; refresh the plan from the newest offer; choose by the wanted
manifest; ask again with ``want`` if nobody offered that; wait a bounded time while a nearer server prepares. What
comes after the choice belongs to the agent's machine (``sim/agent.py``).
"""

from collections.abc import Callable
from random import Random
from typing import Protocol

import msgspec

from boardwright.model.inventory import Board
from boardwright.model.plan import BoardPlan
from boardwright.model.software import Target
from boardwright.protocol.choose import Choice, choose
from boardwright.protocol.codec import Received, decode
from boardwright.protocol.messages import Announcement, GroupQuery, Offer
from boardwright.protocol.requester import Requester, newest_first
from boardwright.protocol.timing import (
    RequestTiming,
    ask_after_announcement,
    ask_after_start,
    ask_again_after,
    repeat_after,
)
from boardwright.sim.clock import Timer, VirtualTime
from boardwright.sim.network import Network

FetchPlan = Callable[[str, str], BoardPlan | None]  # (server id, board id) -> the plan API's answer, None: unreachable


class Chosen(msgspec.Struct, frozen=True):
    """A choice that was made for a group, `seconds` after the first request for it."""

    group: str
    manifest: bytes
    choice: Choice
    at: float
    seconds: float
    generation: int

    @property
    def server(self) -> str:
        return self.choice.ranking[0].source.id


class Listener(Protocol):
    """What an agent hears of its board's rounds."""

    def plan(self, plan: BoardPlan) -> None: ...

    def chosen(self, chosen: Chosen) -> None: ...

    def nothing(self, group: str, manifest: bytes, reason: str) -> None:
        """Everybody was asked for this manifest and nobody has it; the agent decides when to ask again."""


class SimBoard:
    """A board on the simulated network, named ``board:ID`` there."""

    def __init__(
        self, board: Board, cluster: str, time: VirtualTime, network: Network, rng: Random, fetch_plan: FetchPlan
    ) -> None:
        self.board = board
        self.cluster = cluster
        self.timing = RequestTiming()
        self.period = 300.0
        self.known_servers: frozenset[str] = frozenset()
        self.generation = 0
        self.chosen: dict[str, Chosen] = {}
        self.history: list[Chosen] = []
        self.listener: Listener | None = None
        self.requester: Requester | None = None
        self.rounds = 0
        self.transmissions = 0
        self._time = time
        self._network = network
        self._rng = rng
        self._fetch_plan = fetch_plan
        self._wants: dict[str, bytes] = {}
        self._since: float | None = None
        self._fruitless = 0
        self._wakeup: Timer | None = None
        self._next_round: Timer | None = None
        self._announced = 0

    @property
    def node(self) -> str:
        return f"board:{self.board.id}"

    def power_on(self, *, listens: bool = True, jitter: bool = True) -> None:
        """Join and ask, spread by the start jitter; `listens`: to announcements."""
        self._network.join(self.node, self._receive, listens=listens)
        self.ask_in(ask_after_start(self.timing, self._rng) if jitter else 0.0)

    def power_off(self) -> None:
        self._network.leave(self.node)
        for timer in (self._wakeup, self._next_round):
            if timer is not None:
                timer.cancel()

    def ask(self) -> None:
        """Begin a round of asking now."""
        if self._since is None:
            self._since = self._time.now
        self.rounds += 1
        self.requester = Requester(
            cluster=self.cluster,
            board=self.board,
            queries=tuple(GroupQuery(group, want=self._wants.get(group)) for group in self.board.groups),
            generation=self.generation,
            known_servers=self.known_servers,
            timing=self.timing,
            rng=self._rng,
            now=self._time.now,
        )
        self._step()

    def ranking(self, group: str) -> list[str]:
        """The ids of the failover list as of now, with the offers that came after the choice."""
        if self.requester is None or group not in self._wants:
            return []
        choice = choose(self.board, self.requester.offers, group, self._wants[group], patience=False)
        return [candidate.source.id for candidate in choice.ranking]

    def ask_in(self, delay: float) -> None:
        """Begin the next round in `delay` seconds instead of when it was due."""
        if self._next_round is not None:
            self._next_round.cancel()
        self._next_round = self._time.after(delay, self.ask)

    def _receive(self, data: bytes, sender: str) -> None:
        received = decode(data, self.cluster)
        if not isinstance(received, Received):
            return
        message = received.message
        if isinstance(message, Announcement) and message.generation > self.generation:
            self._announced = max(self._announced, message.generation)
            self.ask_in(ask_after_announcement(self.timing, self._rng))
        elif isinstance(message, Offer) and self.requester is not None and self.requester.hear(message, self._time.now):
            self._step()

    def _step(self) -> None:
        requester = self.requester
        if requester is None or requester.decided_at is not None:
            return  # later offers only join the failover list
        for datagram in requester.datagrams(self._time.now):
            self.transmissions += 1
            self._network.multicast(self.node, datagram)
        if self._wakeup is not None:
            self._wakeup.cancel()
            self._wakeup = None
        if requester.decided(self._time.now):
            self._settle(requester)
            return
        wakeup = requester.next_wakeup()
        assert wakeup is not None
        self._wakeup = self._time.at(wakeup, self._step)

    def _settle(self, requester: Requester) -> None:
        plan = self._newest_plan(requester.offers)
        if plan is None:
            self._retry()
            return
        self.generation = plan.generation
        if self.listener is not None:
            self.listener.plan(plan)
        open_groups = [self._choose(group, target, requester) for group, target in self._planned(plan)]
        if "missing" in open_groups:
            self._retry()
        elif "waiting" in open_groups:
            self.ask_in(self.timing.preparing_repeat)
        else:
            self._rest()

    def _planned(self, plan: BoardPlan) -> list[tuple[str, Target]]:
        return [(group, plan.groups[group]) for group in self.board.groups if group in plan.groups]

    def _choose(self, group: str, target: Target, requester: Requester) -> str:
        """Choose for one group; what came of it.

        "missing": ask again soon, by ``want``; "refused": the agent will ask again itself; "waiting"; "chosen".
        """
        assert self._since is not None
        manifest = bytes.fromhex(target.manifest)
        asked_for_it = self._wants.get(group) == manifest
        self._wants[group] = manifest
        seconds = self._time.now - self._since
        patience = seconds < self.timing.preparing_wait
        choice = choose(self.board, requester.offers, group, manifest, patience=patience)
        if choice.unasked and not asked_for_it:
            return "missing"
        if choice.wait:
            return "waiting"
        if choice.ranking:
            self._record(Chosen(group, manifest, choice, self._time.now, seconds, self.generation))
            return "chosen"
        if self.listener is None or not asked_for_it:
            return "missing"
        self.listener.nothing(group, manifest, choice.reason)
        return "refused"

    def _rest(self) -> None:
        self._since = None
        self._fruitless = 0
        if self._announced > self.generation:  # announced while this round was under way
            self.ask_in(ask_after_announcement(self.timing, self._rng))
        elif self._next_round is None or not self._next_round.pending:
            self.ask_in(ask_again_after(self.period, self.timing, self._rng))

    def _record(self, chosen: Chosen) -> None:
        before = self.chosen.get(chosen.group)
        if before is None or before.manifest != chosen.manifest:
            self.chosen[chosen.group] = chosen
            self.history.append(chosen)
        if self.listener is not None:
            self.listener.chosen(chosen)

    def _newest_plan(self, offers: tuple[Offer, ...]) -> BoardPlan | None:
        """From the highest generation that is proved; a board never goes back to an older plan."""
        unproved: list[BoardPlan] = []
        for offer in newest_first(offers):
            plan = self._fetch_plan(offer.server, self.board.id)
            if plan is None or plan.generation < self.generation:
                continue
            if plan.generation >= offer.generation:
                return plan
            unproved.append(plan)
        return max(unproved, key=lambda plan: plan.generation, default=None)

    def _retry(self) -> None:
        self.ask_in(repeat_after(self._fruitless, self.timing, self._rng))
        self._fruitless += 1
