"""How the other servers are: each posts a small status to the active twice a second.

A server that says nothing for ``SILENT_AFTER`` is "silent", whatever it said last; one that registered and never
spoke to this active is, too. The table holds registered servers only, so nobody can fill it.
"""

import threading
from collections.abc import Callable
from typing import Protocol

import msgspec

from boardwright.model.api import Alarm, AlarmList, ServerList, ServerStatus, ServerWord
from boardwright.server.clocks import Clocks
from boardwright.server.mirror import Mirror
from boardwright.state.records import ServerRecord

SILENT_AFTER = 3.0  # seconds; six posts
SILENT = "silent"


class OwnWord(Protocol):
    """This server about itself."""

    def __call__(self) -> ServerStatus: ...

    def word(self) -> ServerWord: ...


class Peers:
    """Statuses by server id; `own` makes this server's, `clock` is monotonic seconds, `clocks` hears theirs."""

    def __init__(self, mirror: Mirror, own: OwnWord, clock: Callable[[], float], clocks: Clocks) -> None:
        self._mirror = mirror
        self._own = own
        self._clock = clock
        self._clocks = clocks
        self._lock = threading.Lock()
        self._heard: dict[str, tuple[float, ServerWord]] = {}

    def take(self, word: ServerWord) -> None:
        if word.id in self._mirror.state.servers:
            with self._lock:
                self._heard[word.id] = (self._clock(), word)
            self._clocks.take(word.id, word.clock)

    def listing(self) -> ServerList:
        """Every registered server, this one included, by id."""
        own = self._own()
        others = self._mirror.state.servers
        statuses = {record.id: self._status(record) for record in others.values()} | {own.id: own}
        return ServerList(tuple(statuses[server] for server in sorted(statuses)))

    def alarms(self) -> AlarmList:
        """Those of this server and what the others said last; a silent server's are old, but not over."""
        own = self._own.word()
        with self._lock:
            others = [alarm for server, (_, word) in self._heard.items() if server != own.id for alarm in word.alarms]
        return AlarmList(tuple(sorted((*own.alarms, *others), key=_oldest_first)))

    def _status(self, record: ServerRecord) -> ServerStatus:
        with self._lock:
            heard, word = self._heard.get(record.id, (None, None))
        if word is None or heard is None:
            return ServerStatus(record.id, record.chassis, record.slot, "standby", SILENT, 0, 0, (), 0)
        said = msgspec.structs.asdict(word)
        del said["alarms"], said["clock"]
        status = ServerStatus(**said)
        if self._clock() - heard > SILENT_AFTER:
            return msgspec.structs.replace(status, health=SILENT, role="standby")
        return status


def _oldest_first(alarm: Alarm) -> tuple[float, str, str]:
    return -alarm.seconds, alarm.server, alarm.subject
