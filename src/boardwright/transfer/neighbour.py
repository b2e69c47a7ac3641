"""A neighbour's relay as a source: what ``http_source`` does, and news of pieces in both directions.

Rules:

* Each request says what this board has and where its own relay is, each answer what the neighbour has (``sharing``).
* A relay that has not, or no longer, what it is asked for is asked again later: it may get it.
* A neighbour that hangs is left sooner than a server: there are others.
"""

from collections.abc import Callable, Iterable

from boardwright.transfer.http_source import HttpRange, HttpSource, LacksError, Lines
from boardwright.transfer.sharing import HEADER, Sharing
from boardwright.transfer.source_line import Head, SourceLine
from boardwright.transfer.sources import SourceError

STALL = 1.0  # seconds without a byte
LACKS = 1.0  # seconds until a relay is asked again that had not what it was asked for
ADDRESS = "Boardwright-Relay"  # header: where the asker's own relay is
_FOUND, _NONE = 200, 404


class NeighbourSource(HttpSource):
    """The relay at `url`, over lines to boards; `relay` says where this board's own one is, '' if there is none."""

    def __init__(
        self, source_id: str, url: str, lines: Lines, sharing: Sharing, relay: Callable[[], str] = lambda: ""
    ) -> None:
        super().__init__(source_id, url, lines)
        self._sharing = sharing
        self._relay = relay

    def open_range(self, sha256: str, start: int, length: int, timeout: float) -> HttpRange:
        """As ``HttpSource``; raises SourceError."""
        try:
            return super().open_range(sha256, start, length, min(timeout, STALL))
        except LacksError as error:
            raise SourceError(str(error), wait=LACKS) from error

    def ask(self, timeout: float) -> None:
        """Ask for the whole bitmap."""
        line, head = self.get(f"/v1/pieces/{self._sharing.manifest}", (), min(timeout, STALL))
        try:
            if head.status == _FOUND:
                self._sharing.news(self.id, line.read((self._sharing.count + 7) // 8))
            elif head.status == _NONE:
                self._sharing.news(self.id, b"")
            else:
                raise SourceError(f"{self.url} answered {head.status} to what it has")
        except OSError as error:
            raise SourceError(f"{self.url} broke the connection") from error
        finally:
            self.drop(line)

    def get(self, path: str, headers: Iterable[tuple[str, str]], timeout: float) -> tuple[SourceLine, Head]:
        """As ``HttpSource``, with news; raises SourceError."""
        said, relay = self._sharing.says(), self._relay()
        if said and relay:
            headers = [*headers, (HEADER, said), (ADDRESS, relay)]
        line, head = super().get(path, headers, timeout)
        self._sharing.hears(self.id, head.headers.get(HEADER.lower(), ""))
        return line, head
