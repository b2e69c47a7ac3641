"""The blob service (M7): ``GET /v1/blobs/<sha256>`` with ranges, as an RSGI application.

Rules:

* Bytes go from the file to the socket in Granian, not through Python. It tells nothing of their progress, so what
  is counted and bounded is the **granted range**: at most ``RANGE_SIZE`` bytes; a longer one is answered shorter
  (206 may be, RFC 9110 section 15.3.7). A plain GET is granted whole, so that curl works.
* Only members of the cluster get blobs: who calls must have a session (401), which this port opens, too.
* Every grant needs a slot (see ``admission``) of the client, which is known by its session; without one the answer is
  503 with Retry-After.
* Caps are kept per granted range, too: a range waits for its turn (see ``caps``) for at most a second and may be
  granted in part. Under a cap a whole blob is sent at once only if it is no longer than a range.
* A blob never changes: its ETag is its digest and it may be cached for ever.
* Runs in one event loop; the counters are read from there.
"""

import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec

from boardwright.errors import MalformedError
from boardwright.model.sessions import MAX_PROOF, NONCE_PATH, SESSION_PATH
from boardwright.model.software import RANGE_SIZE
from boardwright.transfer.admission import LAPSE, Admission
from boardwright.transfer.caps import Caps
from boardwright.transfer.gate import Gate
from boardwright.transfer.ranges import Span, Unsatisfiable, parse_range
from boardwright.transfer.store import BlobStore

RETRY_AFTER = "1"  # seconds; a slot lapses after about three, and whoever waits has other servers to ask
SLOTS, CAPS = "slots", "caps"  # why a range was refused
_PATH = re.compile(r"/v1/blobs/([0-9a-f]{64})")
Headers = list[tuple[str, str]]
_LATER: Headers = [("retry-after", RETRY_AFTER)]


class RsgiHeaders(Protocol):
    def get(self, key: str, default: str | None = None) -> str | None: ...


class RsgiScope(Protocol):
    """What Granian says of a request."""

    proto: str
    method: str
    path: str
    client: str  # host:port
    headers: RsgiHeaders


class RsgiProtocol(Protocol):
    """How Granian hands over a body and takes an answer."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def response_empty(self, status: int, headers: Headers) -> None: ...

    def response_str(self, status: int, headers: Headers, body: str) -> None: ...

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None: ...

    def response_file(self, status: int, headers: Headers, file: str) -> None: ...

    def response_file_range(self, status: int, headers: Headers, file: str, start: int, end: int) -> None: ...


class Client(msgspec.Struct, frozen=True):
    """Who asks for blobs; what one that is `far` gets leaves this server's chassis."""

    id: str
    far: bool


class Callers(Protocol):
    """Who may have blobs; opens sessions."""

    def client(self, authorization: str | None) -> Client:
        """Whose token is in the header; raises MalformedError if it is nobody's."""
        ...

    def answer(self, method: str, path: str, body: bytes, sender: str) -> tuple[int, bytes] | None:
        """Status and JSON for a session call from the address `sender`, None for any other."""
        ...


class BlobService:
    """Serves the complete blobs of `store` for which `holds` is true (default: all)."""

    def __init__(
        self,
        store: BlobStore,
        admission: int,
        callers: Callers,
        *,
        holds: Callable[[str], bool] | None = None,
        caps: Caps = Caps(),
        lapse: float = LAPSE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._callers = callers
        self._holds = holds
        self._admission = Admission(caps.bound(admission), lapse=lapse, clock=clock)
        self._gate = Gate(caps, clock)
        self.bytes_served = 0
        self.bytes_far = 0
        self.refused: Counter[str] = Counter({SLOTS: 0, CAPS: 0})

    @property
    def load(self) -> int:
        """Used share of the admission bound in thousandths."""
        return self._admission.load

    @property
    def clients(self) -> tuple[str, ...]:
        """Who holds a slot now."""
        return self._admission.clients

    @property
    def waited(self) -> int:
        """Ranges that had to wait for a cap, ever."""
        return self._gate.waited

    @property
    def waiting(self) -> int:
        """Ranges that wait for a cap now."""
        return self._gate.waiting

    async def __rsgi__(self, scope: RsgiScope, protocol: RsgiProtocol) -> None:
        match = _PATH.fullmatch(scope.path)
        if scope.path in (NONCE_PATH, SESSION_PATH):
            await self._session(scope, protocol)
        elif match is None:
            _say(protocol, 404, f"there is nothing at {scope.path[:200]}; blobs are at /v1/blobs/<sha256>")
        elif scope.method not in ("GET", "HEAD"):
            _say(protocol, 405, f"{scope.method} is not for blobs", [("allow", "GET, HEAD")])
        else:
            try:
                client = self._callers.client(scope.headers.get("authorization"))
            except MalformedError as error:
                _say(protocol, 401, str(error))
                return
            await self._answer(match[1], client, scope, protocol)

    async def _session(self, scope: RsgiScope, protocol: RsgiProtocol) -> None:
        body = b""
        async for chunk in protocol:
            body += chunk
            if len(body) > MAX_PROOF:
                _say(protocol, 413, f"a proof has at most {MAX_PROOF} bytes")
                return
        answer = self._callers.answer(scope.method, scope.path, body, scope.client.rpartition(":")[0])
        if answer is None:
            _say(protocol, 405, f"{scope.method} is not for {scope.path}")
        else:
            headers = [("content-type", "application/json"), *(_LATER if answer[0] == 429 else [])]
            protocol.response_bytes(answer[0], headers, answer[1])

    async def _answer(self, sha256: str, client: Client, scope: RsgiScope, protocol: RsgiProtocol) -> None:
        size = None if self._holds is not None and not self._holds(sha256) else self._store.size(sha256)
        if size is None:
            _say(protocol, 404, f"no blob {sha256} here")
            return
        tag = f'"{sha256}"'
        headers = [
            ("etag", tag),
            ("accept-ranges", "bytes"),
            ("cache-control", "public, max-age=31536000, immutable"),
            ("content-type", "application/octet-stream"),
        ]
        if _names(scope.headers.get("if-none-match"), tag):
            protocol.response_empty(304, headers)
            return
        if_range = scope.headers.get("if-range")
        wanted = scope.headers.get("range") if if_range is None or if_range == tag else None
        span = parse_range(wanted, size, RANGE_SIZE) if scope.method == "GET" else None
        if isinstance(span, Unsatisfiable):
            _say(protocol, 416, f"blob {sha256} has {size} bytes", [("content-range", f"bytes */{size}")])
        elif scope.method == "HEAD":
            protocol.response_empty(200, [*headers, ("content-length", str(size))])
        elif not self._admission.admit(client.id):
            self._refuse(SLOTS, protocol)
        else:
            await self._grant(sha256, size, span, client, headers, protocol)

    async def _grant(
        self, sha256: str, size: int, span: Span | None, client: Client, headers: Headers, protocol: RsgiProtocol
    ) -> None:
        start, end = span or (0, size)
        if span is None and self._gate.capped and size > RANGE_SIZE:
            self.refused[CAPS] += 1
            _say(protocol, 429, f"this server keeps caps: ask for ranges of at most {RANGE_SIZE} bytes", _LATER)
            return
        if self._gate.capped and end > start:
            granted = await self._gate.enter(client.id, client.far, end - start, whole=span is None)
            if not granted:
                self._refuse(CAPS, protocol)
                return
            end = start + granted
            if self._store.size(sha256) is None:
                _say(protocol, 404, f"no blob {sha256} here")  # it was removed meanwhile
                return
        self.bytes_served += end - start
        self.bytes_far += (end - start) * client.far
        file, headers = str(self._store.path(sha256)), [*headers, ("content-length", str(end - start))]
        if span is None:
            protocol.response_file(200, headers, file)
        else:
            headers.append(("content-range", f"bytes {start}-{end - 1}/{size}"))
            protocol.response_file_range(206, headers, file, start, end)

    def _refuse(self, reason: str, protocol: RsgiProtocol) -> None:
        self.refused[reason] += 1
        _say(protocol, 503, f"all {reason} are taken, ask the next server", _LATER)


def _names(if_none_match: str | None, tag: str) -> bool:
    """Whether the header lists `tag`, weakly compared (RFC 9110 section 13.1.2)."""
    if not if_none_match:
        return False
    return any(part.strip().removeprefix("W/") in (tag, "*") for part in if_none_match.split(","))


def _say(protocol: RsgiProtocol, status: int, sentence: str, headers: Headers | None = None) -> None:
    protocol.response_str(status, [("content-type", "text/plain; charset=utf-8"), *(headers or [])], f"{sentence}\n")
