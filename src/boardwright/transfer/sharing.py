"""What a board knows, during one download, of the pieces that it and others have: ``Pieces`` for many threads.

Rules:

* Who offers, asks and tells news may come before the manifest is there: it counts from when the download begins.
* Pieces are numbered over all blobs of the manifest, also those that this board does not need because it has their
  files: neighbours may need them.
* News travel in the header ``Boardwright-Pieces`` of requests and answers between boards: the first 16 hex digits of
  the manifest's digest, a colon, and the bitmap in hex, if that is not longer than ``MAX_NEWS``. Whatever else
  is in it is nothing.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from boardwright.model.location import Tier
from boardwright.model.software import BlobRef
from boardwright.protocol.bringing import MAX_MATES
from boardwright.protocol.pieces import Pieces, from_bitmap, to_bitmap

HEADER = "Boardwright-Pieces"
MAX_NEWS = 1000  # bytes of a bitmap: a version of 8 GB; for larger ones a neighbour is asked for all of it
MAX_SOURCES = 256  # as in a list of sources
_SAID = re.compile(rf"([0-9a-f]{{16}}):((?:[0-9a-f]{{2}}){{1,{MAX_NEWS}}})")


class Sharing:
    """The pieces of the version with the digest `manifest` (hex), as the board `me` sees them."""

    def __init__(self, me: str, manifest: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.manifest = manifest
        self.changed = threading.Condition()
        self.first: dict[str, int] = {}  # number of the first piece, by blob
        self.pieces: Pieces | None = None  # for who holds `changed`
        self.on_first: Callable[[], None] = lambda: None  # told when there is a first piece; be quick
        self._me = me
        self._clock = clock
        self._joined: dict[str, tuple[Tier, bool, int | None]] = {}
        self._asked: dict[str, None] = {}
        self._starts = [0]

    def join(self, source: str, tier: Tier, *, relay: bool, pieces: bytes | None) -> None:
        """`source` offers all of it (None), or the pieces of this bitmap."""
        has = None if pieces is None else from_bitmap(pieces)
        with self.changed:
            if self.pieces is not None:
                self.pieces.join(source, tier, self._clock(), relay=relay, pieces=has)
                self.changed.notify_all()
            elif source in self._joined or len(self._joined) < MAX_SOURCES:
                self._joined[source] = (tier, relay, has)

    def asks(self, board: str) -> None:
        """`board`, of this chassis, was heard to ask for the version."""
        with self.changed:
            if self.pieces is not None:
                self.pieces.bringers.asks(board)
            elif len(self._asked) < MAX_MATES:
                self._asked[board] = None

    def hears(self, source: str, said: str) -> None:
        """The relay `source`, which is known, has said this in the header."""
        bitmap = read_news(said, self.manifest)
        if bitmap is not None:
            self.news(source, bitmap)

    def news(self, source: str, bitmap: bytes) -> None:
        """The relay `source`, which is known, has the pieces of this bitmap now."""
        with self.changed:
            if self.pieces is not None:
                self.pieces.news(source, from_bitmap(bitmap), self._clock())
                self.changed.notify_all()

    def says(self) -> str:
        """What this board says in the header; '' if nothing."""
        with self.changed:
            if self.pieces is None:
                return ""
            return write_news(self.manifest, to_bitmap(self.pieces.have, self.pieces.count))

    @property
    def bitmap(self) -> bytes:
        """The pieces that this board has; empty before the download begins."""
        with self.changed:
            return b"" if self.pieces is None else to_bitmap(self.pieces.have, self.pieces.count)

    @property
    def count(self) -> int:
        """Pieces of the version; 0 before the manifest is there."""
        return self._starts[-1]

    def begin(self, blobs: Sequence[BlobRef]) -> None:
        """The manifest is there; `blobs` are all that it names."""
        starts = [0]
        for blob in blobs:
            self.first[blob.sha256] = starts[-1]
            starts.append(starts[-1] + blob.piece_count)
        self._starts = starts

    def open(self, needed: Iterable[BlobRef], have: int) -> Pieces:
        """The download of the `needed` blobs begins; the pieces `have` are there."""
        wanted = 0
        for blob in needed:
            wanted |= ((1 << blob.piece_count) - 1) << self.first[blob.sha256]
        now = self._clock()
        with self.changed:
            self.pieces = pieces = Pieces(self._me, bytes.fromhex(self.manifest), self._starts, wanted, have, now)
            for board in self._asked:
                pieces.bringers.asks(board)
            for source, (tier, relay, has) in self._joined.items():
                pieces.join(source, tier, now, relay=relay, pieces=has)
        return pieces


def write_news(manifest: str, bitmap: bytes) -> str:
    """The header's value, '' if it would be too long."""
    return f"{manifest[:16]}:{bitmap.hex()}" if 0 < len(bitmap) <= MAX_NEWS else ""


def read_news(said: str, manifest: str) -> bytes | None:
    """The bitmap in a header, None if it is none of this version."""
    match = _SAID.fullmatch(said)
    return bytes.fromhex(match[2]) if match is not None and match[1] == manifest[:16] else None
