"""What a standby heard goes to the active, twice a second (design section 8: progress is passed on, not stored).

Rules:

* Reports, sightings and this server's own status are posted to whoever holds the lease. What was not taken is kept:
  the newest word of each board, so nothing piles up.
* A new active is told everything that this server knows, because it may have heard little itself.
* Nothing waits for the courier: not boards, not requests.
"""

import threading
from collections.abc import Callable
from typing import Protocol

import msgspec
import urllib3

from boardwright import log
from boardwright.errors import MalformedError, UnreachableError
from boardwright.model.api import ServerWord
from boardwright.net.lines import Lines
from boardwright.server.board_reports import BoardReports
from boardwright.state.records import ServerRecord

EVERY = 0.5  # seconds between rounds
BATCH = 250  # reports of one post; see the bound of its body in ``api/reports.py``
TIMEOUT = urllib3.Timeout(connect=1.0, read=2.0)  # on the control network an answer takes milliseconds
_log = log.get("server.courier")


class Lead(Protocol):
    """Who is the active, by the newest lease record."""

    @property
    def is_active(self) -> bool: ...

    @property
    def epoch(self) -> int: ...

    def holder(self) -> ServerRecord | None: ...


class Courier:
    """`word` makes what this server says of itself."""

    def __init__(
        self, server: str, board_reports: BoardReports, lead: Lead, word: Callable[[], ServerWord], lines: Lines
    ) -> None:
        self._server = server
        self._board_reports = board_reports
        self._lead = lead
        self._word = word
        self._pool = lines.manager(maxsize=1, retries=False)
        self._told_epoch = 0
        self._unreachable = False

    def run(self, stop: threading.Event) -> None:
        """Rounds until `stop`."""
        while not stop.wait(EVERY):
            self.round()
        self._pool.clear()

    def round(self) -> None:
        """Pass on what there is."""
        if self._lead.is_active:
            self._board_reports.forget_outgoing()
            return
        active = self._lead.holder()
        if active is None or active.id == self._server:
            return
        if self._lead.epoch != self._told_epoch:
            self._board_reports.pass_on_again()
            self._told_epoch = self._lead.epoch
        try:
            self._post(active, "/v1/servers/status", msgspec.json.encode(self._word()))
            while reports := self._board_reports.outgoing(BATCH):
                try:
                    self._post(active, "/v1/reports?passed-on=true", msgspec.json.encode(reports))
                except UnreachableError:
                    self._board_reports.pass_on_again(report.board.id for report in reports)
                    raise
        except UnreachableError as error:
            if not self._unreachable:
                _log.warning("reports not passed on, trying again", error=str(error))
            self._unreachable = True
        else:
            self._unreachable = False

    def _post(self, active: ServerRecord, path: str, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        try:
            answer = self._pool.request("POST", f"{active.api}{path}", body=body, headers=headers, timeout=TIMEOUT)
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(f"the active {active.id} at {active.api} does not answer") from error
        except MalformedError as error:
            raise UnreachableError(f"what answers at {active.api} is not the active {active.id}") from error
        if answer.status >= 300:
            raise UnreachableError(f"the active {active.id} answered {answer.status} to {path}")
