"""Asking a cluster over HTTP: some server of a list answers, and the active one does what is asked.

Rules:

* Servers are tried in the order of the list, the one that answered last first. A dead one costs a connection
  attempt of at most ``CONNECT_TIMEOUT`` once: it goes to the end.
* A standby answers 307 to the active; the call goes there again as it is (RFC 9110 section 15.4.8), and the
  active is remembered.
* 503, or a redirect to a server that is dead, means that an active is being found, 429 that a server is asked too often
    from here: the call is repeated for ``PATIENCE`` seconds. Every call may be repeated: a deployment that is asked for
  twice wants the same policy.
* Every call names the operator's cluster, so that a server of another one refuses it.
* Every answer says the number of that server's list of revoked keys. A newer one is fetched from it and kept
  (``heed``), before anything else is asked.
* If nobody answers there is nothing to wait for: UnreachableError at once, with every server's reason.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

import msgspec
import urllib3
from urllib3.exceptions import HTTPError

from boardwright.errors import BoardwrightError, FailedError, MalformedError, RefusedError, UnreachableError
from boardwright.model.api import CLUSTER_HEADER, REVOCATIONS_HEADER, list_number
from boardwright.net.lines import Lines

CONNECT_TIMEOUT = 1.0  # seconds; a control network answers within milliseconds
READ_TIMEOUT = 5.0  # seconds between two bytes of an answer; a server that hangs longer is left for the next
CHANGE_TIMEOUT = 10.0  # seconds; planning for 10,000 boards takes two, an active that hangs is replaced within five
UPLOAD_TIMEOUT = 60.0  # seconds; a server syncs a large blob to a slow flash before it answers
PATIENCE = 6.0  # seconds; a lease is lost after three, the rest is for the new active to take over
PAUSE = 0.25  # seconds between two rounds; the lease is looked at twice a second
MAX_REDIRECTS = 3
MAX_ANSWER = 256 * 1024 * 1024  # bytes; a manifest of a million files is the largest answer
MAX_REVOCATIONS = 2 * 1024 * 1024  # bytes of a list of revoked keys; whoever takes it has a bound of its own
BLOCK = 1024 * 1024  # bytes per read of an upload; the default of 16 KiB is slow

BUSY = (429, 503)
REDIRECT = 307
UNPROVEN = 401
NO_ANSWER = (UnreachableError, MalformedError)  # dead, or none of this cluster's: the next server is asked


class Upload(msgspec.Struct, frozen=True):
    """A body of `size` bytes; `open` begins it anew, because a call may be sent more than once."""

    open: Callable[[], BinaryIO]
    size: int


class Call(msgspec.Struct, frozen=True):
    """`path` begins with a slash; `body` is JSON or, as an Upload, plain bytes."""

    method: str
    path: str
    body: bytes | Upload | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Answer(msgspec.Struct, frozen=True):
    """What the server at `base` said."""

    base: str
    status: int
    data: bytes


class Revoked(Protocol):
    """The list of revoked keys in hand."""

    @property
    def number(self) -> int: ...

    def take(self, data: bytes) -> bool:
        """Go by the list in `data` if it is newer; BoardwrightError, OSError if it holds but cannot be kept."""
        ...


class _Waiting(msgspec.Struct, frozen=True):
    """Somebody answered, but nobody takes the call yet; `answer` is the last 429 or 503, if one was heard."""

    reasons: tuple[Exception, ...]
    answer: Answer | None


class Servers:
    """The servers that an operator knows, as base URLs without a slash at the end; `cluster` is whose they must be."""

    def __init__(
        self,
        bases: Sequence[str],
        lines: Lines,
        *,
        cluster: str = "",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bases = list(bases)
        self._headers = {CLUSTER_HEADER: cluster} if cluster else {}
        self._clock = clock
        self._sleep = sleep
        self._pool = lines.manager(num_pools=len(self._bases) + 2, blocksize=BLOCK, retries=False)
        self._revoked: Revoked | None = None

    def heed(self, revoked: Revoked) -> None:
        """Keep that list as new as the servers' that are asked."""
        self._revoked = revoked

    @property
    def bases(self) -> tuple[str, ...]:
        """The servers that are known, who answered last first."""
        return tuple(self._bases)

    def ask(self, call: Call) -> Answer:
        """Send `call` to the active; raises UnreachableError if nobody answers, FailedError if no active is found."""
        deadline = self._clock() + PATIENCE
        while True:
            outcome = self._round(call)
            if isinstance(outcome, Answer):
                return outcome
            if self._clock() >= deadline:
                if outcome.answer is not None:
                    return outcome.answer
                raise FailedError(
                    f"{call}: no active server was found within {PATIENCE:g} s",
                    hint="`boardwright status` says which servers answer",
                ) from _all(outcome.reasons)
            self._sleep(PAUSE)

    def ask_any(self, call: Call) -> Iterator[Answer]:
        """Send `call` to every server in turn, as the caller goes on; silent ones are left out."""
        for base in tuple(self._bases):
            try:
                yield self.ask_at(base, call)
            except NO_ANSWER:
                self._last(base)

    def ask_at(self, base: str, call: Call) -> Answer:
        """Send `call` to one server and take what it says; raises UnreachableError, UntrustedError."""
        answer = self._ask(base, call)
        # A session that is over is renewed on the line, but for an upload, which has to begin anew.
        return self._ask(base, call) if answer.status == UNPROVEN and isinstance(call.body, Upload) else answer

    def _ask(self, base: str, call: Call) -> Answer:
        body: bytes | BinaryIO | None
        headers = dict(self._headers)
        if isinstance(call.body, Upload):
            body = call.body.open()
            headers["Content-Length"] = str(call.body.size)
            headers["Content-Type"] = "application/octet-stream"
        else:
            body = call.body
            if body is not None:
                headers["Content-Type"] = "application/json"
        try:
            response = self._pool.request(
                call.method,
                base + call.path,
                body=body,
                headers=headers,
                redirect=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=_patience(call)),
            )
            number = list_number(response.headers.get(REVOCATIONS_HEADER))
            try:
                if response.status == REDIRECT:
                    location = urlsplit(response.headers.get("Location", ""))
                    return Answer(base, REDIRECT, f"{location.scheme}://{location.netloc}".encode())
                data = response.read(MAX_ANSWER + 1)
            finally:
                response.drain_conn()
                response.release_conn()
                self._catch_up(base, number)
        except (HTTPError, OSError) as error:
            raise UnreachableError(f"{base} did not answer {call}") from error
        finally:
            if not isinstance(body, bytes | None):
                body.close()
        if len(data) > MAX_ANSWER:
            raise FailedError(f"{base} answered {call} with more than {MAX_ANSWER} bytes")
        return Answer(base, response.status, data)

    def _catch_up(self, base: str, number: int) -> None:
        """Take the list that this server says to have, if it is newer; what it cannot show is nothing."""
        if self._revoked is None or number <= self._revoked.number:
            return
        url = f"{base}/v1/revocations?above={self._revoked.number}"
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
        try:
            response = self._pool.request("GET", url, redirect=False, preload_content=False, timeout=timeout)
            try:
                self._revoked.take(response.read(MAX_REVOCATIONS))
            finally:
                response.release_conn()
        except (HTTPError, OSError, BoardwrightError):
            return

    def close(self) -> None:
        self._pool.clear()

    def _round(self, call: Call) -> Answer | _Waiting:
        """Every server once, until one does what is asked."""
        reasons: list[Exception] = []
        busy: Answer | None = None
        waiting = False
        hanging: set[str] = set()  # actives that were named and did not answer: asked once in a round
        for base in tuple(self._bases):
            if base in hanging:
                continue
            try:
                answer = self.ask_at(base, call)
            except NO_ANSWER as error:
                self._last(base)
                reasons.append(error)
                continue
            if answer.status == REDIRECT:
                waiting = True
                try:
                    answer = self._follow(answer, call, hanging)
                except BoardwrightError as error:
                    reasons.append(error)
                    continue
            if answer.status in BUSY:
                waiting, busy = True, answer
                continue
            self._first(answer.base)
            return answer
        if not waiting:
            if any(isinstance(error, MalformedError) for error in reasons):
                raise RefusedError(
                    f"no server proved that it is one of this cluster; asked: {', '.join(self._bases)}",
                    hint="does --operator name the right cluster?",
                ) from _all(reasons)
            raise UnreachableError(
                f"no server of the cluster answered; asked: {', '.join(self._bases)}",
                hint="check that a server runs and that --operator names the right cluster",
            ) from _all(reasons)
        return _Waiting(tuple(reasons), busy)

    def _follow(self, answer: Answer, call: Call, hanging: set[str]) -> Answer:
        for _ in range(MAX_REDIRECTS):
            base = answer.data.decode()
            try:
                following = self.ask_at(base, call)
            except NO_ANSWER as error:
                hanging.add(base)
                raise UnreachableError(f"{answer.base} says that {base} is active") from error
            if following.status != REDIRECT:
                return following
            answer = following
        raise FailedError(f"servers send {call} round in circles, the last one was {answer.base}")

    def _first(self, base: str) -> None:
        if self._bases[0] != base:
            self._bases = [base, *(other for other in self._bases if other != base)]

    def _last(self, base: str) -> None:
        self._bases = [*(other for other in self._bases if other != base), base]


def _patience(call: Call) -> float:
    """Seconds for an answer to begin."""
    if isinstance(call.body, Upload):
        return UPLOAD_TIMEOUT
    return READ_TIMEOUT if call.method == "GET" else CHANGE_TIMEOUT


def _all(reasons: Sequence[Exception]) -> Exception | None:
    """The reasons as one cause."""
    if len(reasons) <= 1:
        return reasons[0] if reasons else None
    return ExceptionGroup("every server has its reason", list(reasons))
