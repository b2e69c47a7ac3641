"""The hardware's own choice of the active: a command of the operator's says whether this board is the one.

Rules:

* Exit code 0: this board may be the active; 1: it may not. Anything else (another code, a signal, no answer in
  ``ANSWER_TIME``, a command that cannot be started) is no answer.
* Who may not be the active never takes the lease, and hands it over if it holds it. At most one acts at any time by
  the lease alone: a command that lies, or says yes on two boards, does no more harm than to choose badly.
* No answer keeps the last one for ``KEEP_FOR`` seconds. After that, and with an alarm, the lease alone decides: a
  broken command must not keep a cluster from being changed. A server that starts waits as long for its first answer.
* The command is asked every ``ASK_EVERY`` seconds in a thread of its own, one at a time; nobody waits for it.
"""

import contextlib
import enum
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from boardwright import log
from boardwright.config import ServerSettings
from boardwright.server.alarms import AlarmKind, Alarms

ASK_EVERY = 1.0  # seconds; with the lease's own rounds a change of the hardware's mind is followed within two
ANSWER_TIME = 2.0  # seconds; reading a pin or a management controller takes milliseconds
KEEP_FOR = 10.0  # seconds; a management controller that restarts is silent for some
GONE = 0.5  # seconds that a killed command gets to go; one that hangs in a driver never does
LOOK = 0.02  # seconds between looks whether the command has ended
_log = log.get("server.arbitration")


class Verdict(enum.StrEnum):
    """What the hardware says of this board."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Answer(msgspec.Struct, frozen=True):
    """`why` says what was wrong if the verdict is unknown."""

    verdict: Verdict
    why: str = ""


class Choice:
    """The rules above without clock or command; every `now` is seconds of one clock that never goes back."""

    def __init__(self, now: float) -> None:
        self._last = Verdict.UNKNOWN
        self._since = now

    def take(self, verdict: Verdict, now: float) -> None:
        """Take in an answer, or that there was none."""
        if verdict is not Verdict.UNKNOWN:
            self._last, self._since = verdict, now

    def verdict(self, now: float) -> Verdict:
        """The answer that counts; unknown: there is none, or it is too old."""
        return self._last if now - self._since < KEEP_FOR else Verdict.UNKNOWN

    def may_lead(self, now: float) -> bool:
        """Whether this server may be the active."""
        if now - self._since >= KEEP_FOR:
            return True
        return self._last is Verdict.YES


class Arbiter:
    """Asks by `ask(stop)`; the first answer counts from when it is made. Safe to read from any thread."""

    def __init__(
        self,
        server: str,
        ask: Callable[[threading.Event], Answer],
        alarms: Alarms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._ask = ask
        self._alarms = alarms
        self._clock = clock
        self._choice = Choice(clock())

    def may_lead(self) -> bool:
        """Whether this server may be the active now; never blocks."""
        return self._choice.may_lead(self._clock())

    def verdict(self) -> str:
        """ "yes", "no" or "unknown", as it counts now."""
        return self._choice.verdict(self._clock()).value

    def run(self, stop: threading.Event) -> None:
        """Ask until `stop`."""
        while not stop.is_set():
            self.round(stop)
            stop.wait(ASK_EVERY)

    def round(self, stop: threading.Event) -> None:
        """Ask once and take the answer in."""
        before = self.verdict()
        answer = self._ask(stop)
        if stop.is_set():
            return
        self._choice.take(answer.verdict, self._clock())
        after = self.verdict()
        if after != before:
            _log.info("the hardware's choice", this_board=after, why=answer.why)
        if after == Verdict.UNKNOWN and self.may_lead():
            sentence = f"the arbitration command says nothing, the lease alone decides who is active: it {answer.why}"
            self._alarms.sound(AlarmKind.ARBITRATION, self._server, sentence)
        elif after != Verdict.UNKNOWN:
            self._alarms.clear(AlarmKind.ARBITRATION, self._server)


class ArbitrationCommand:
    """Runs the command; `environment` is all that it sees. One that cannot be killed is not started a second time."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        limit: float = ANSWER_TIME,
        kill: Callable[[int, int], None] = os.killpg,
    ) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._limit = limit
        self._kill = kill
        self._hanging: subprocess.Popen[bytes] | None = None

    def __call__(self, stop: threading.Event) -> Answer:
        """What it says; takes `limit` seconds at most, and ends with `stop`."""
        if self._hanging is not None and self._hanging.poll() is None:
            return Answer(Verdict.UNKNOWN, "hangs and cannot be killed")
        self._hanging = None
        try:
            process = subprocess.Popen(
                self._command,
                cwd="/",
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            return Answer(Verdict.UNKNOWN, f"could not be started ({error.strerror})")
        deadline = time.monotonic() + self._limit
        while process.poll() is None and time.monotonic() < deadline and not stop.wait(LOOK):
            pass
        if process.poll() is None:
            self._end(process)
            return Answer(Verdict.UNKNOWN, f"gave no answer within {self._limit:g} s")
        return _answer(process.returncode)

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self._kill(process.pid, signal.SIGKILL)
        try:
            process.wait(GONE)
        except subprocess.TimeoutExpired:
            self._hanging = process


def arbiter_of(settings: ServerSettings, alarms: Alarms) -> Arbiter | None:
    """What asks the configured command; None without one."""
    if not settings.arbitration:
        return None
    environment = {
        "PATH": os.defpath,
        "LC_ALL": "C",
        "BOARDWRIGHT_BOARD": settings.id,
        "BOARDWRIGHT_CHASSIS": settings.location.chassis,
        "BOARDWRIGHT_SLOT": settings.location.slot,
    }
    return Arbiter(settings.id, ArbitrationCommand(settings.arbitration, environment), alarms)


def _answer(code: int) -> Answer:
    if code == 0:
        return Answer(Verdict.YES)
    if code == 1:
        return Answer(Verdict.NO)
    return Answer(Verdict.UNKNOWN, f"was ended by signal {-code}" if code < 0 else f"ended with {code}")
