"""What somebody should look at, by name: the server goes on, but people must hear of it.

Rules:

* An alarm is a kind (a named value, see ``AlarmKind``), a subject (a board, a slot, a blob, a disk) and one sentence.
  Raised again it is the same alarm: its sentence is replaced and its count grows.
* What has an end is cleared by whoever raised it; what has none (a datagram that lied) lapses ``LAPSE`` seconds after
  it was raised last.
* The table is bounded: anybody on the network can cause alarms. The one that was quiet the longest makes room.
* Nothing is written to disk or to the engine: a cause that goes on raises its alarm again after a restart.
* Every server has its own; standbys pass theirs to the active with their status, which lists all.
"""

import enum
import threading
from collections import Counter
from collections.abc import Callable

import msgspec

from boardwright import log
from boardwright.model.api import Alarm

LAPSE = 600.0  # seconds; long enough to be seen by whoever looks every few minutes
MAX_ALARMS = 256  # of one server; 16 chassis with a trouble per slot, and more than anybody reads
MAX_SENTENCE = 500  # characters
_log = log.get("server.alarms")


class AlarmKind(enum.Enum):
    """Named values, printed to people as they are; `docs/json.md` says what each means and what to do, the doctor
    what to do (``cli/doctor/judge_cluster.py``)."""

    DUPLICATE_ID = "duplicate-id"
    SLOT_CONFLICT = "slot-conflict"
    LOCATION_CONFLICT = "location-conflict"
    SILENT_BOARD = "silent-board"
    DAMAGED_BLOB = "damaged-blob"
    DISK = "disk"
    QUOTA = "quota"
    FLOOD = "flood"
    CLOCK = "clock"
    AUDIT = "audit"
    ARBITRATION = "arbitration"
    RESTORE = "restore"


class _Entry(msgspec.Struct):
    sentence: str
    begun: float
    raised: float
    count: int
    lasting: bool


class Alarms:
    """Safe to call from any thread; `clock` is monotonic seconds."""

    def __init__(self, server: str, clock: Callable[[], float]) -> None:
        self._server = server
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[tuple[AlarmKind, str], _Entry] = {}

    def sound(self, kind: AlarmKind, subject: str, sentence: str, *, lasting: bool = True) -> None:
        """Raise an alarm; `lasting`: until it is cleared, else it lapses by itself."""
        now, key = self._clock(), (kind, subject)
        with self._lock:
            known = self._entries.pop(key, None)
            self._drop_lapsed(now)
            while len(self._entries) >= MAX_ALARMS:
                del self._entries[next(iter(self._entries))]
            begun, count = (now, 1) if known is None else (known.begun, known.count + 1)
            self._entries[key] = _Entry(sentence[:MAX_SENTENCE], begun, now, count, lasting)
        if known is None:
            _log.warning("alarm", kind=kind.value, subject=subject, sentence=sentence[:MAX_SENTENCE])

    def clear(self, kind: AlarmKind, subject: str) -> None:
        """The cause is gone; nothing happens if there was no such alarm."""
        with self._lock:
            known = self._entries.pop((kind, subject), None)
        if known is not None:
            _log.info("alarm is over", kind=kind.value, subject=subject)

    def tell(self, kind: AlarmKind, subject: str, trouble: str) -> None:
        """Sound the alarm while there is trouble, clear it when there is none ('')."""
        if trouble:
            self.sound(kind, subject, trouble)
        else:
            self.clear(kind, subject)

    def subjects(self, kind: AlarmKind) -> frozenset[str]:
        """What alarms of this kind are about."""
        with self._lock:
            self._drop_lapsed(self._clock())
            return frozenset(subject for one, subject in self._entries if one is kind)

    def listing(self) -> tuple[Alarm, ...]:
        """Every alarm, the oldest first."""
        now = self._clock()
        with self._lock:
            self._drop_lapsed(now)
            alarms = [
                Alarm(self._server, kind.value, subject, one.sentence, round(now - one.begun, 3), one.count)
                for (kind, subject), one in self._entries.items()
            ]
        return tuple(sorted(alarms, key=lambda alarm: -alarm.seconds))

    def counts(self) -> dict[str, float]:
        """How many alarms there are, by kind, those with none included."""
        counted = Counter(alarm.kind for alarm in self.listing())
        return {kind.value: float(counted[kind.value]) for kind in AlarmKind}

    def _drop_lapsed(self, now: float) -> None:
        gone = [key for key, one in self._entries.items() if not one.lasting and now - one.raised > LAPSE]
        for key in gone:
            del self._entries[key]
