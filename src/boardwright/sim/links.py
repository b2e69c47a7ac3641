"""Links with a rate that flows share: how long bytes take in virtual time.

Rules:

* A link shares its rate evenly among its flows; what one of them cannot use, because it is narrower elsewhere, is
  shared among the others (max-min fairness, as TCP comes near to).
* When a flow begins or ends, the shares of its links and of their neighbours are worked out anew, and no farther: near
  enough, and hundreds of boards stay a matter of seconds.
"""

from collections.abc import Callable, Iterable, Sequence

from boardwright.sim.clock import Timer, VirtualTime


class Link:
    """One direction of a cable: `rate` in bytes per second; `carried` counts what has gone over it."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.carried = 0.0
        self.share = rate  # what a flow gets that is held back nowhere else
        self.flows: dict[Flow, None] = {}

    def share_out(self) -> None:
        """Work the share out anew, by what the flows can use at most on their other links."""
        left, count = self.rate, len(self.flows)
        for limit in sorted(flow.limit_but(self) for flow in self.flows):
            if limit >= left / count:
                break
            left -= limit
            count -= 1
        self.share = left / count if count else self.rate


class Flow:
    """`size` bytes over `links`; `done` is called when the last has arrived, unless it is cut."""

    def __init__(self, time: VirtualTime, links: Sequence[Link], size: float, done: Callable[[], None]) -> None:
        self._time = time
        self._links = links
        self._left = size
        self._done = done
        self._rate = 0.0
        self._since = time.now
        self._timer: Timer | None = None
        self._over = False
        for link in links:
            link.flows[self] = None
        _share_anew(links)

    def cut(self) -> None:
        """Nothing more arrives."""
        if not self._over:
            self._leave()

    def limit_but(self, link: Link) -> float:
        """Bytes per second that its other links leave it."""
        return min(other.share for other in self._links if other is not link)

    def pace(self) -> None:
        """Take over what the links share out now."""
        rate = min(link.share for link in self._links)
        if rate != self._rate:
            self._settle()
            self._rate = rate
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._time.after(self._left / rate, self._finish)

    @property
    def links(self) -> Sequence[Link]:
        return self._links

    def _finish(self) -> None:
        self._leave()
        self._done()

    def _leave(self) -> None:
        self._settle()
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        for link in self._links:
            link.flows.pop(self, None)
        _share_anew(self._links)

    def _settle(self) -> None:
        """Count what has arrived until now."""
        arrived = min(self._left, self._rate * (self._time.now - self._since))
        self._left -= arrived
        self._since = self._time.now
        for link in self._links:
            link.carried += arrived


def _share_anew(links: Iterable[Link]) -> None:
    near = dict.fromkeys(links)
    ring = dict.fromkeys(other for link in near for flow in link.flows for other in flow.links if other not in near)
    for link in (*near, *ring, *near):
        link.share_out()
    for flow in dict.fromkeys(flow for link in (*near, *ring) for flow in link.flows):
        flow.pace()
