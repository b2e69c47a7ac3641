"""A board serves its neighbours pieces: a small HTTP server on threads (docs/protocol.md, "Relays").

Rules:

* ``GET /v1/pieces/<manifest>`` answers which pieces of a version are here (bitmap), ``GET /v1/blobs/<sha256>`` with a
  range the bytes, if all of them lie in verified pieces, else 404. Each answer with bytes says in ``HEADER`` what this
  board has of the version; so may each request what the asker has, which is handed on as news of that one.
* Only neighbours get in (the `door`), and what they may do is bounded: handshakes at a time, lines of each and of all,
  what they send (``relay_line``), answers at once (``relay_desk``). Who is silent makes room.
* It never hurts its own board: fewer answers while the board downloads itself (503 for the others), one buffer of a
  piece for each, a cap on the rate, and what is sent yields on links that know how to (RFC 8622).
* Nothing that a neighbour does raises; a fault in one line ends that line.
"""

import contextlib
import os
import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import msgspec

from boardwright.errors import BoardwrightError
from boardwright.model.location import Location
from boardwright.model.software import PIECE_SIZE, RANGE_SIZE
from boardwright.transfer.neighbour import ADDRESS
from boardwright.transfer.ranges import Span, parse_range
from boardwright.transfer.rate import TokenBucket
from boardwright.transfer.relay_desk import HEAD_ROOM, Desk
from boardwright.transfer.relay_line import BadRequestError, GoneError, Limits, Line, Request, defer, head_of
from boardwright.transfer.sharing import HEADER, write_news
from boardwright.transfer.shelf import Shelf

MAX_LINES = 24  # a chassis has 16 boards, and each asks some six neighbours over two lines
LINES_EACH = 4  # of one board; it asks over two, and may have some that broke
GREETINGS = 8  # handshakes at a time: whoever cannot show a certificate takes no more
FAIR_IDLE = 2.0  # seconds of silence after which a line is closed if another board wants its place
CAPPED_STEP = 16 * 1024  # bytes at least, under a cap
MAX_URL = 256
BACKLOG = 16
_BLOB = re.compile(r"/v1/blobs/([0-9a-f]{64})")
_PIECES = re.compile(r"/v1/pieces/([0-9a-f]{64})")


class Neighbour(Protocol):
    """Who is at the other end."""

    @property
    def id(self) -> str: ...

    @property
    def location(self) -> Location: ...


class Door(Protocol):
    """What is needed of ``trust.neighbour_door``."""

    def greet(self, line: socket.socket, seconds: float) -> ssl.SSLSocket: ...

    def who(self, line: ssl.SSLSocket) -> Neighbour: ...


class News(msgspec.Struct, frozen=True):
    """A neighbour has told where its own relay is, at the address that it speaks from, and what it has (`HEADER`)."""

    board: str
    location: Location
    url: str
    said: str


class Relay:
    """Serves what is on `shelf` to whom `door` lets in, at `address` (port 0: any); `yields`: the board downloads.

    ``start`` and ``stop`` are for one thread. The counters are read from any.
    """

    def __init__(
        self,
        shelf: Shelf,
        door: Door,
        address: tuple[str, int],
        *,
        limits: Limits = Limits(),
        yields: Callable[[], bool] = lambda: False,
        news: Callable[[News], None] = lambda news: None,
    ) -> None:
        self.address = address
        self.bytes_served = 0
        self.refused: Counter[str] = Counter()
        self._shelf = shelf
        self._door = door
        self._limits = limits
        self._news = news
        self._bucket = TokenBucket(limits.rate)
        self._desk = Desk(yields, capped=bool(limits.rate))
        self._lock = threading.Lock()
        self._lines: dict[Line, threading.Thread] = {}
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Listen; raises OSError. `address` then has the port."""
        host, port = self.address
        self._socket = socket.create_server(
            self.address, family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
        )
        self.address = (host, port or self._socket.getsockname()[1])
        threading.Thread(target=self._accept, args=(self._socket,), name="relay", daemon=True).start()

    def stop(self, seconds: float = 1.0) -> None:
        """Close every line, and wait so long at most until nothing is read from the shelf any more."""
        with self._lock:
            listening, self._socket = self._socket, None
            lines = dict(self._lines)
        if listening is not None:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)  # under the thread that waits in it
            listening.close()
        for line in lines:
            line.shut()
        ends = time.monotonic() + seconds
        for thread in lines.values():
            thread.join(max(0.0, ends - time.monotonic()))
        self._desk.clear()

    @property
    def load(self) -> int:
        """The answers under way in thousandths of what there may be."""
        return self._desk.load

    @property
    def lines(self) -> int:
        """How many lines there are."""
        with self._lock:
            return len(self._lines)

    def serves(self, board: str, manifest: str) -> bool:
        """Whether `board` has a line here over which it asks for pieces of the version with this `manifest` (hex)."""
        with self._lock:
            return any(one.board == board and one.manifest == manifest for one in self._lines)

    # --- lines ---

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                plain, peer = listening.accept()
            except OSError:
                if self._socket is not listening:
                    return
                time.sleep(0.1)  # out of files, for a moment: who waits to be accepted waits on
                continue
            line = Line(plain, str(peer[0]))
            thread = threading.Thread(target=self._run, args=(line,), name="relay line", daemon=True)
            if self._take(line, thread, listening):
                thread.start()
            else:
                self.refused["lines"] += 1
                line.shut()
                line.close()

    def _take(self, line: Line, thread: threading.Thread, listening: socket.socket) -> bool:
        """Give the line a place if there is one; another that is silent makes room."""
        with self._lock:
            if self._socket is not listening:
                return False
            if sum(1 for one in self._lines if not one.board) >= GREETINGS:
                return False
            if len(self._lines) >= MAX_LINES:
                now = time.monotonic()
                idle = [one for one in self._lines if one.idle_since and now - one.idle_since > FAIR_IDLE]
                if not idle:
                    return False
                min(idle, key=lambda one: one.idle_since).shut()
            self._lines[line] = thread
            return True

    def _run(self, line: Line) -> None:
        try:
            self._serve(line)
        except (GoneError, BadRequestError, OSError, BoardwrightError, ValueError) as error:
            if not isinstance(error, GoneError):
                self.refused[_why(error)] += 1
        finally:
            line.close()
            with self._lock:
                self._lines.pop(line, None)

    def _serve(self, line: Line) -> None:
        secure = line.secure = self._door.greet(line.plain, self._limits.handshake)
        who = self._door.who(secure)
        board = who.id
        with self._lock:
            if sum(1 for one in self._lines if one.board == board) >= LINES_EACH:
                raise BadRequestError("lines")
            line.board = board
        defer(secure)
        keep = True
        while keep:
            try:
                request = line.request(self._limits)
            except BadRequestError as error:
                self.refused["request"] += 1
                line.say(400, f"Boardwright-Error: {error}\r\n", keep=False)
                return
            self._door.who(secure)  # it may have been revoked since the last request
            self._take_news(line, who, request)
            keep = request.keep
            self._answer(line, request)

    def _take_news(self, line: Line, who: Neighbour, request: Request) -> None:
        said, url = request.headers.get(HEADER.lower(), ""), request.headers.get(ADDRESS.lower(), "")
        if said and len(url) <= MAX_URL and url.startswith((f"https://{line.peer}:", f"https://[{line.peer}]:")):
            self._news(News(who.id, who.location, url, said))

    # --- answers ---

    def _answer(self, line: Line, request: Request) -> None:
        blob, pieces = _BLOB.fullmatch(request.path), _PIECES.fullmatch(request.path)
        if request.method != "GET":
            line.say(405, "Allow: GET\r\n", keep=request.keep)
        elif pieces is not None:
            self._say_pieces(line, pieces[1], request)
        elif blob is not None:
            self._say_blob(line, blob[1], request)
        else:
            line.say(404, keep=request.keep)

    def _say_pieces(self, line: Line, manifest: str, request: Request) -> None:
        bitmap = self._shelf.bitmap(manifest)
        if bitmap is None:
            line.say(404, keep=request.keep)
        else:
            line.manifest = manifest
            line.say(200, "Content-Type: application/octet-stream\r\n", bitmap, keep=request.keep)

    def _say_blob(self, line: Line, sha256: str, request: Request) -> None:
        size = self._shelf.size(sha256)
        span = None if size is None else parse_range(request.headers.get("range"), size, RANGE_SIZE)
        if size is None:
            line.say(404, keep=request.keep)
        elif span is None:
            line.say(400, "Boardwright-Error: ask for a range\r\n", keep=request.keep)
        elif not isinstance(span, Span):
            line.say(416, f"Content-Range: bytes */{size}\r\n", keep=request.keep)
        else:
            self._say_span(line, sha256, span, request)

    def _say_span(self, line: Line, sha256: str, span: Span, request: Request) -> None:
        found = self._shelf.open(sha256, span.start, span.end)
        if found is None:
            line.say(404, keep=request.keep)
            return
        line.manifest = found.manifest
        try:
            said = write_news(found.manifest, self._shelf.bitmap(found.manifest) or b"")
            news = f"{HEADER}: {said}\r\n" if said else ""
            with self._desk.place(line.board, self._limits.patience) as buffer:
                if buffer is None:
                    self.refused["busy"] += 1
                    line.say(503, f"Retry-After: 1\r\n{news}", keep=request.keep)
                else:
                    head = f"Content-Range: bytes {span.start}-{span.end - 1}/{found.size}\r\n{news}"
                    self._send(line, found.fd, span, head_of(206, head, span.end - span.start, request.keep), buffer)
        finally:
            os.close(found.fd)

    def _send(self, line: Line, fd: int, span: Span, head: bytes, buffer: memoryview) -> None:
        """Head and bytes, a piece at a time; the head goes with the first of them."""
        step = self._step
        at, room = span.start, buffer[HEAD_ROOM : HEAD_ROOM + step]
        while at < span.end:
            wanted = min(step, span.end - at)
            self._bucket.take(wanted)
            count = os.preadv(fd, [room[:wanted]], at)
            if not count:
                raise BadRequestError("file")  # it was cut short; the line ends, and the asker sees it
            first = HEAD_ROOM - len(head)
            buffer[first:HEAD_ROOM] = head
            self.bytes_served += count
            line.send(buffer[first : HEAD_ROOM + count], self._limits.piece_time)
            at, head = at + count, b""

    @property
    def _step(self) -> int:
        """Bytes of one write: under a cap so few that an answer is never silent for long."""
        rate = self._limits.rate
        return PIECE_SIZE if not rate else max(CAPPED_STEP, min(PIECE_SIZE, rate // 8))


def _why(error: Exception) -> str:
    """The word under which it is counted that a line ended."""
    if isinstance(error, TimeoutError):
        return "slow"
    if isinstance(error, ssl.SSLError | BoardwrightError):
        return "untrusted"
    return str(error) if isinstance(error, BadRequestError) else "broken"
