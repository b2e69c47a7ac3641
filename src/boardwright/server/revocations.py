"""Servers tell each other who is revoked, whether or not the state engine answers (design section 4).

Rules:

* Who has a new list sends it to every server at once; beside that each asks one other after the other which number it
  has, and whoever has the higher one passes it on. So a server that was away hears of it within seconds, too.
* A server that starts asks all of them in its first round: it offers nothing before it knows whom it must not trust.
* Who the others are says the server's own copy of the state, which is on its disk.
* The list is for anybody, so nobody proves who he is for it.
* Nobody is believed: what comes is verified, what is older or signed by nobody is dropped.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import urllib3

from boardwright import log
from boardwright.errors import BoardwrightError, MalformedError
from boardwright.model.api import REVOCATIONS_HEADER, list_number
from boardwright.net.lines import Lines
from boardwright.state.records import ServerRecord
from boardwright.trust.revocation import MAX_LIST
from boardwright.trust.revoked import RevokedKeys

PATH = "/v1/revocations"
EVERY = 1.0  # seconds between rounds; each asks one server, so ten servers have asked each other in ten seconds
AT_ONCE = 8  # servers that are told at the same time, so that a few that hang do not hold up the news
TIMEOUT = urllib3.Timeout(connect=1.0, read=2.0)  # on the control network an answer takes milliseconds
WHOLE = 4.0  # seconds for a whole answer; who drips must not keep the others from being asked
OK = 200
_HEADERS = {"User-Agent": "boardwright", "Content-Type": "application/octet-stream"}
_log = log.get("server.revocations")


class Gossip:
    """`servers` answers the registered ones by id, this one (`own`) among them."""

    def __init__(
        self, own: str, revoked: RevokedKeys, servers: Callable[[], Mapping[str, ServerRecord]], lines: Lines
    ) -> None:
        self.on_news: Callable[[], object] = lambda: None  # runs on the thread that takes the list
        self._own = own
        self._revoked = revoked
        self._servers = servers
        self._pool = lines.manager(WHOLE, maxsize=1, retries=False)
        self._news = threading.Event()
        self._pushed = 0  # the number that everybody was told of, as far as they answered
        self._turn = 0
        self._asked = False
        if revoked.trouble:
            _log.error("revoked keys", trouble=revoked.trouble)

    def take(self, data: bytes) -> bool:
        """A list that came from anywhere; whether it is news. UntrustedError, StaleError, OSError."""
        before = self._revoked.number
        try:
            return self._revoked.take(data)
        finally:  # it holds also if the disk did not take it
            if self._revoked.number > before:
                _log.warning("keys revoked", number=self._revoked.number, keys=len(self._revoked.keys()))
                self._news.set()
                self.on_news()

    @property
    def asked(self) -> bool:
        """Whether every other server was asked since the start, answered or not, or there is none."""
        return self._asked or not self._others()

    def wake(self) -> None:
        """Begin a round now."""
        self._news.set()

    def run(self, stop: threading.Event) -> None:
        """Rounds until `stop`; call ``wake`` after setting it."""
        while not stop.is_set():
            self.round()
            self._news.wait(EVERY)
            self._news.clear()
        self._pool.clear()

    def round(self) -> None:
        """Tell everybody what is new, or ask the next one."""
        others = self._others()
        if not others:
            return
        if self._revoked.number > self._pushed or not self._asked:
            self._pushed = self._revoked.number
            with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="revocations") as pool:
                list(pool.map(self._compare, others))
            self._asked = True
            return
        self._turn = (self._turn + 1) % len(others)
        self._compare(others[self._turn])

    def _others(self) -> list[ServerRecord]:
        return [record for _, record in sorted(self._servers().items()) if record.id != self._own and record.api]

    def _compare(self, other: ServerRecord) -> None:
        """Get the other's list if it is newer, give it ours if that is."""
        try:
            number = self._revoked.number
            status, theirs, data = self._call("GET", f"{other.api}{PATH}?above={number}")
            if status == OK and data:
                self._hear(other, data)
            elif theirs < number:
                self._call("POST", f"{other.api}{PATH}", self._revoked.data)
        except (urllib3.exceptions.HTTPError, OSError, MalformedError) as error:
            _log.debug("not compared", server=other.id, error=str(error))

    def _call(self, method: str, url: str, body: bytes | None = None) -> tuple[int, int, bytes]:
        """Status, number of the other's list, and at most a little more than a list."""
        answer = self._pool.request(
            method, url, body=body, headers=_HEADERS, timeout=TIMEOUT, redirect=False, preload_content=False
        )
        try:
            data = answer.read(MAX_LIST + 1)
            if answer.read(1):
                answer.close()  # whatever comes after that, nobody waits for it
            return answer.status, list_number(answer.headers.get(REVOCATIONS_HEADER)), data
        finally:
            answer.release_conn()

    def _hear(self, other: ServerRecord, data: bytes) -> None:
        try:
            self.take(data)
        except (BoardwrightError, OSError) as error:
            _log.warning("a list of revoked keys was not taken", server=other.id, error=str(error))
