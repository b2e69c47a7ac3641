"""Following the state: a copy of everything below a prefix that catches up by itself.

Rules:

* First everything is read, then changes are watched from that reading's revision on, so nothing is missed.
* Changes that are no longer known (CompactedError) cost a new reading; trouble with the engine is tried again with
  growing pauses. What was read before stays as it is meanwhile.
* The sink is called by one thread, in order: `reset` with every reading, `apply` with every batch of changes. If it
  fails (BoardwrightError, OSError), the next step reads anew, so a disk that was full for a while leaves no gap.
"""

import threading
from collections.abc import Sequence
from typing import Protocol

from boardwright.errors import BoardwrightError
from boardwright.state.kv import KV, Change, CompactedError, Snapshot

WATCH_SECONDS = 1.0  # also how long `run` takes at most to notice its stop event
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 1.0  # an engine that comes back is noticed within this: changes go on within three seconds of it


class Sink(Protocol):
    """Who wants to know."""

    def reset(self, snapshot: Snapshot) -> None:
        """Everything below the prefix; what is not in it is gone."""
        ...

    def apply(self, changes: Sequence[Change]) -> None:
        """The changes since, in order, at least one; those of one commit come together."""
        ...


class Copy:
    """The simplest sink: entries by key and the revision of the last change; replaced as a whole, never changed."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.revision = 0

    def reset(self, snapshot: Snapshot) -> None:
        self.entries = {entry.key: entry.value for entry in snapshot.entries}
        self.revision = snapshot.revision

    def apply(self, changes: Sequence[Change]) -> None:
        entries = dict(self.entries)
        for change in changes:
            if change.value is None:
                entries.pop(change.key, None)
            else:
                entries[change.key] = change.value
        self.entries = entries
        self.revision = changes[-1].revision


class Several:
    """Feeds several sinks in this order; if one fails, those after it hear of it with the next reading."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    def reset(self, snapshot: Snapshot) -> None:
        for sink in self._sinks:
            sink.reset(snapshot)

    def apply(self, changes: Sequence[Change]) -> None:
        for sink in self._sinks:
            sink.apply(changes)


class Follower:
    """Feeds `sink` with what happens below `prefix` ('' for everything)."""

    def __init__(self, kv: KV, prefix: str, sink: Sink) -> None:
        self._kv = kv
        self._prefix = prefix
        self._sink = sink
        self._revision: int | None = None
        self._failures = 0
        self._trouble = ""
        self._ready = threading.Event()

    @property
    def trouble(self) -> str:
        """'' or why the copy may be behind."""
        return self._trouble

    def wait_ready(self, timeout: float) -> bool:
        """Whether everything was read at least once within `timeout` seconds."""
        return self._ready.wait(timeout)

    def step(self, timeout: float) -> float:
        """One reading, or one watch of up to `timeout` seconds; returns the seconds to pause before the next step."""
        try:
            if self._revision is None:
                self._read()
            else:
                self._watch(self._revision, timeout)
        except CompactedError:
            self._revision = None
        except (BoardwrightError, OSError) as error:
            return self._failed(error)
        self._failures, self._trouble = 0, ""
        return 0.0

    def run(self, stop: threading.Event) -> None:
        """Steps until `stop`."""
        while not stop.is_set():
            pause = self.step(WATCH_SECONDS)
            if pause:
                stop.wait(pause)

    def _read(self) -> None:
        snapshot = self._kv.range(self._prefix)
        self._sink.reset(snapshot)
        self._revision = snapshot.revision
        self._ready.set()

    def _watch(self, revision: int, timeout: float) -> None:
        changes = self._kv.watch(self._prefix, revision, timeout)
        if changes:
            self._revision = None  # until the sink has them: if it fails, everything is read anew
            self._sink.apply(changes)
            self._revision = changes[-1].revision

    def _failed(self, error: Exception) -> float:
        self._trouble = str(error)
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)  # 2**16 is far past the longest pause; keeps the power finite
        return pause
