"""What a board hears of its neighbours while it downloads, and when it asks for more of them (sans I/O).

Rules:

* Whoever of the own chassis asks for a group within ``LATELY`` is taken for somebody who is about to fetch the version
  that this board fetches: after an announcement boards ask before they know which one it is. Who names another one
  (``want``) is not. Anybody can send a request, so it only makes a mate of the order (``protocol.bringing``).
* A board that downloads asks again, quickly at first, then each ``AGAIN``: neighbours have pieces only after a while,
  and who asks shows that it is still at it.
* Where the board does not relay, nothing of this happens.
"""

from collections.abc import Callable, Mapping

from boardwright.agent.downloads import Download, Relaying
from boardwright.model.inventory import Board
from boardwright.model.software import Target
from boardwright.protocol.messages import Request
from boardwright.transfer.sharing import Sharing
from boardwright.transfer.sources import FetchSource

LATELY = 2.0  # seconds; boards ask within half a second of an announcement and then fetch plan and manifest
FIRST = (0.2, 0.5, 1.0)  # seconds after the download's begin: a first piece takes some tenths of a second
AGAIN = 2.0  # seconds; a relay that is there is heard of by its answers, too
MAX_HEARD = 256  # boards and groups; a chassis has a few dozen


class Neighbourhood:
    """That of `board`; `connect` comes to the relay of a neighbour."""

    def __init__(self, board: Board, connect: Callable[[str, str, Sharing], FetchSource], *, enabled: bool) -> None:
        self.enabled = enabled
        self._board = board
        self._connect = connect
        self._heard: dict[tuple[str, str], tuple[float, bytes | None]] = {}  # who comes last is at the end
        self._asks: dict[str, tuple[float, int]] = {}  # by group: the begin of its download, the questions so far

    def requested(self, request: Request, downloads: Mapping[str, Download], now: float) -> None:
        """Some board has asked; this one has these `downloads` by group."""
        if not self.enabled or request.chassis != self._board.location.chassis or request.board == self._board.id:
            return
        for query in request.groups:
            self._heard.pop((request.board, query.group), None)
            self._heard[request.board, query.group] = (now, query.want)
            download = downloads.get(query.group)
            if download is not None and download.sharing is not None and _same(query.want, download.target):
                download.sharing.asks(request.board)
        while len(self._heard) > MAX_HEARD:
            del self._heard[next(iter(self._heard))]

    def begin(self, target: Target, now: float) -> Relaying | None:
        """A download of `target` begins: with whom it shares its pieces."""
        if not self.enabled:
            return None
        sharing = Sharing(self._board.id, target.manifest)
        for (board, group), (at, want) in self._heard.items():
            if group == target.group and now - at <= LATELY and _same(want, target):
                sharing.asks(board)
        self._asks[target.group] = (now, 0)
        return Relaying(sharing, self._connect)

    def end(self, group: str) -> None:
        """The group's download is over."""
        self._asks.pop(group, None)

    def due(self, now: float) -> bool:
        """Whether a question is due; it is taken for asked."""
        late = [group for group in self._asks if self._next(group) <= now]
        for group in late:
            begun, count = self._asks[group]
            self._asks[group] = (begun, count + 1)
        return bool(late)

    def next_wakeup(self) -> float | None:
        return min(map(self._next, self._asks), default=None)

    def _next(self, group: str) -> float:
        begun, count = self._asks[group]
        return begun + (FIRST[count] if count < len(FIRST) else FIRST[-1] + AGAIN * (count - len(FIRST) + 1))


def _same(want: bytes | None, target: Target) -> bool:
    return want is None or want.hex() == target.manifest
