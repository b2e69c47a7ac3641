"""Finding out who has a version: from the offers of a round to a ranking, or to a reason why there is none (sans I/O).

Rules:

* A choice is made by offers that were heard just now; without them a round is asked for.
* A version that nobody offered, or that a nearer server with an older plan may have, is asked for by ``want`` once more
  before the choice: else every step of a rollout would send boards to the server that heard of the new plan first.
* A nearer server that prepares is waited for, a bounded time, and longer as long as what it has copied grows: else a
  whole chassis would fetch over the link what its server is about to have.
* Every choice leaves its explanation.
"""

from collections.abc import Iterable

import msgspec

from boardwright.agent.asking import Asking
from boardwright.agent.deployment import Deployment, NoSource, SourceFound
from boardwright.boot.names import RELEASE_GROUPS
from boardwright.model.inventory import Board
from boardwright.model.report import Explanation
from boardwright.model.software import Target
from boardwright.protocol.choose import Candidate, choose
from boardwright.protocol.messages import GroupQuery, Holding, Offer
from boardwright.protocol.timing import RequestTiming


class _Search(msgspec.Struct):
    """A group that looks for a source; `waiting_since`: a nearer server prepares, and has `copied` no more bytes."""

    target: Target
    not_before: float
    waiting_since: float | None = None
    copied: int = 0
    until: float = 0.0  # no longer, whatever is copied
    reason: str = ""


class Searching:
    """The searches of one board, by group."""

    def __init__(self, board: Board, asking: Asking, timing: RequestTiming) -> None:
        self.explanations: dict[str, Explanation] = {}
        self._board = board
        self._asking = asking
        self._timing = timing
        self._searches: dict[str, _Search] = {}
        self._rankings: dict[str, tuple[Candidate, ...]] = {}

    def begin(self, group: str, target: Target, when: float) -> None:
        """Look for `target`, not sooner than `when`."""
        self._searches[group] = _Search(target, when)

    def hurry(self, now: float) -> None:
        """Do not wait any longer with what is to be looked for later."""
        for search in self._searches.values():
            search.not_before = min(search.not_before, now)

    def end(self, group: str) -> None:
        self._searches.pop(group, None)

    def ranking(self, group: str) -> tuple[Candidate, ...]:
        """What the group's last search has found, best first; it is given out once."""
        return self._rankings.pop(group, ())

    def reason(self, group: str) -> str:
        """Why a group that looks for a source has none yet."""
        search = self._searches.get(group)
        return search.reason if search else ""

    def target(self, group: str) -> Target | None:
        """What the group looks for."""
        search = self._searches.get(group)
        return search.target if search else None

    def queries(self, deployments: Iterable[Deployment]) -> tuple[GroupQuery, ...]:
        """What a round asks for: every group, with the version that it looks for or that is wanted.

        Groups of Boardwright itself are not asked for where nobody has ever wanted one.
        """
        queries = []
        for one in deployments:
            target = self.target(one.group) or one.wanted
            running = one.running.version if one.running else None
            if one.group in RELEASE_GROUPS and target is None and running is None:
                continue
            queries.append(GroupQuery(one.group, running, bytes.fromhex(target.manifest) if target else None))
        return tuple(queries)

    def next_wakeup(self) -> float | None:
        return min((search.not_before for search in self._searches.values()), default=None)

    def look(self, now: float) -> list[tuple[str, SourceFound | NoSource]]:
        """Take the searches that are due as far as the last round goes."""
        found = []
        for group, search in list(self._searches.items()):
            if now >= search.not_before:
                event = self._choose(group, search, now)
                if event is not None:
                    del self._searches[group]
                    found.append((group, event))
        return found

    def _choose(self, group: str, search: _Search, now: float) -> SourceFound | NoSource | None:
        digest = search.target.manifest
        manifest = bytes.fromhex(digest)
        if not self._asking.fresh(now):
            self._ask(search, now)
            return None
        copied = _copied(self._board, self._asking.offers, manifest)
        if search.waiting_since is not None and copied > search.copied and now < search.until:
            search.waiting_since = now
        search.copied = max(copied, search.copied)
        since = search.waiting_since
        patience = since is None or now - since < self._timing.preparing_wait
        choice = choose(self._board, self._asking.offers, group, manifest, patience=patience)
        self.explanations[group] = Explanation(group, digest, choice.heard, choice.reason, self._asking.milliseconds())
        search.reason = choice.reason
        if choice.wait:
            if since is None:
                search.waiting_since, search.until = now, now + self._timing.preparing_longest
            self._ask(search, now + self._timing.preparing_repeat)
            return None
        asked = self._asking.asked_for(group, manifest)
        if not asked and (not choice.ranking or choice.unasked):
            self._ask(search, now)
            return None
        if not choice.ranking:
            return NoSource(digest, choice.reason)
        self._rankings[group] = (*choice.ranking, *choice.relays)
        return SourceFound(digest)

    def _ask(self, search: _Search, when: float) -> None:
        search.not_before = when
        self._asking.ask_by(when)


def _copied(board: Board, offers: Iterable[Offer], manifest: bytes) -> int:
    """Bytes that the servers of the own chassis have copied of a version."""
    return sum(
        entry.copied or 0
        for offer in offers
        if offer.chassis == board.location.chassis and not offer.relay
        for entry in offer.groups
        if entry.manifest == manifest and entry.holding is Holding.PREPARING
    )
