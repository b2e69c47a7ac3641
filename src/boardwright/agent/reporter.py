"""What a board says about itself, when, and to whom.

Rules:

* A report goes out at once when a state, a wanted version or a reason changes, each two seconds while bytes come
  in, and every few seconds when nothing happens, so that silence means something.
* Explanations of choices go with the first report after the choice and with an idle one about once a minute, so that
  a server that has lost them hears them again.
* A report is the whole truth of a board, so a newer one replaces one that was not delivered yet. It goes to one server,
  which passes it on; if that does not take it, to the next one.
* Sequence numbers grow over restarts: they begin at the wall clock's milliseconds or after the ledger's last, whichever
  is more, and the ledger is ahead of them by a reserve, so that not every report writes to the disk.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from boardwright import log
from boardwright.agent import deployment as d
from boardwright.agent.deployment import Deployment
from boardwright.agent.driver import BoardDriver
from boardwright.agent.worker import Worker
from boardwright.errors import BoardwrightError
from boardwright.model.api import ReportsTaken
from boardwright.model.report import BoardReport, Explanation, GroupReport
from boardwright.net.agent_client import AgentClient
from boardwright.protocol import Randomness

HEARTBEAT = 5.0  # mean seconds between idle reports: silence is noticed within two or three of them
JITTER = 0.2  # share either way, so that boards that started together drift apart
PROGRESS = 2.0  # seconds between reports while bytes come in
EXPLAIN_EVERY = 12  # idle reports
RESERVE = 1000  # sequence numbers per write of the ledger: ten minutes of a busy board

_log = log.get("agent.reporter")


class BoardReporter:
    """Makes the reports of one board; `epoch_ms` is the wall clock at the start in milliseconds.

    `ignored` are the datagrams that the board does not believe, by reason; they are told with its choices.
    """

    def __init__(
        self, driver: BoardDriver, rng: Randomness, epoch_ms: int, ignored: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        self._driver = driver
        self._rng = rng
        self._sequence = max(driver.sequence, epoch_ms)
        self._reserved = self._sequence
        self._shown: tuple[object, ...] | None = None
        self._ignored = ignored
        self._explained: tuple[Explanation, ...] = ()
        self._idle_reports = 0
        self._due = 0.0

    def next_wakeup(self) -> float:
        return self._due

    def hurry(self) -> None:
        """Report soon: only now it is known to whom, and a board that nobody knows becomes known by its report."""
        self._due = 0.0

    def due(self, now: float) -> BoardReport | None:
        """The report that is to go out now, if any."""
        groups = {group: group_report(self._driver, one, now) for group, one in self._driver.groups.items()}
        shown = tuple((group, one.state, one.wanted, one.version, one.reason) for group, one in groups.items())
        changed = shown != self._shown
        if not changed and now < self._due:
            return None
        downloading = any(isinstance(one.phase, d.Downloading) for one in self._driver.groups.values())
        pause = PROGRESS if downloading else HEARTBEAT * (1.0 + JITTER * (2.0 * self._rng.random() - 1.0))
        self._due = now + pause
        self._shown = shown
        self._idle_reports = 0 if changed or downloading else self._idle_reports + 1
        return BoardReport(
            board=self._driver.board,
            generation=self._driver.generation,
            sequence=self._next_sequence(),
            groups=groups,
            explanations=self._explanations(),
            retry=self._driver.retry,
            conflict=self._driver.conflict,
        )

    def _explanations(self) -> tuple[Explanation, ...]:
        current = tuple(self._driver.searching.explanations.values())
        if current == self._explained and self._idle_reports % EXPLAIN_EVERY != EXPLAIN_EVERY - 1:
            return ()
        self._explained = current
        return tuple(msgspec.structs.replace(one, ignored=dict(self._ignored)) for one in current)

    def _next_sequence(self) -> int:
        self._sequence += 1
        if self._sequence > self._reserved:
            self._reserved = self._sequence + RESERVE
            self._driver.save(sequence=self._reserved)
        return self._sequence


def group_report(driver: BoardDriver, deployment: Deployment, now: float) -> GroupReport:
    """One group as people see it."""
    phase, account = deployment.phase, driver.account(deployment.group)
    if isinstance(phase, d.Idle | d.Confirmed | d.Failed):
        seconds = 0.0 if isinstance(phase, d.Idle) else phase.seconds
    else:
        seconds = now - phase.since
    return GroupReport(
        version=deployment.running.version if deployment.running else None,
        wanted=deployment.wanted.version if deployment.wanted else None,
        state=deployment.state,
        reason=_reason(driver, deployment),
        server=account.server,
        bytes=account.bytes,
        total=account.total,
        failovers=account.failovers,
        seconds=round(max(0.0, seconds), 3),
        log=getattr(phase, "log", ""),
        relayed=account.relayed,
        givers=account.givers,
        held=deployment.wanted.manifest if deployment.wanted and deployment.badness(deployment.wanted) else "",
    )


def _reason(driver: BoardDriver, deployment: Deployment) -> str:
    phase = deployment.phase
    if driver.stalled:
        return driver.trouble
    reason = str(getattr(phase, "reason", ""))
    if isinstance(phase, d.Requesting):
        return driver.searching.reason(deployment.group) or reason
    if isinstance(phase, d.RollingBack) and phase.waits:
        return f"{reason}; rolling back waits: {phase.waits}"
    if isinstance(phase, d.Idle) and not reason:
        return driver.trouble
    return reason


Told = Callable[[ReportsTaken], None]


class Postman:
    """Delivers reports of all boards of the process from a thread of its own.

    `clients` says which client speaks for a board: each reports for itself. `told` is called in that thread with what
    the server answers who took them.
    """

    def __init__(self, clients: Callable[[str], AgentClient], told: Told = lambda answer: None) -> None:
        self._told = told
        self._clients = clients
        self._worker = Worker("reports")
        self._lock = threading.Lock()
        self._waiting: dict[str, BoardReport] = {}
        self._queued = False
        self._good: str | None = None

    def post(self, report: BoardReport, apis: Callable[[], Sequence[str]]) -> None:
        """Deliver `report` soon, to the server that took the last one, else to one of `apis`."""
        with self._lock:
            before = self._waiting.get(report.board.id)
            if before is not None and not report.explanations:
                report = _with_explanations(report, before)
            self._waiting[report.board.id] = report
            if self._queued:
                return
            self._queued = True
        candidates = tuple(apis())
        self._worker.submit(lambda: self._deliver(candidates))

    def close(self, timeout: float) -> None:
        """Let the delivery that is under way end, at most `timeout` seconds."""
        self._worker.finish(timeout)

    def _deliver(self, apis: Sequence[str]) -> None:
        with self._lock:
            self._queued = False
            reports, self._waiting = self._waiting, {}
        if not reports:
            return
        order = dict.fromkeys((*((self._good,) if self._good in apis else ()), *apis))
        for api in order:
            if api is None:
                continue
            try:
                for board in tuple(reports):
                    answer = self._clients(board).report(api, (reports[board],))
                    del reports[board]
                    self._told(answer)
            except BoardwrightError as error:
                _log.debug("report not taken", api=api, error=str(error))
                continue
            self._good = api
            return
        self._good = None
        with self._lock:
            # Nobody took them: they wait for the next ones, which replace them.
            self._waiting = {**reports, **self._waiting}


def _with_explanations(report: BoardReport, before: BoardReport) -> BoardReport:
    return msgspec.structs.replace(report, explanations=before.explanations)
