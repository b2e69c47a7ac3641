"""A thread that carries out blocking jobs one after the other.

The thread is a daemon: whoever ends the agent waits for it a bounded time only, and every job may be cut off at any
point (that is what the ledger and the idempotent steps are for).
"""

import queue
import threading
from collections.abc import Callable

Job = Callable[[], None]


class Worker:
    """One daemon thread with a queue; starts with the first job."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._name = name
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> None:
        """Queue `job`, which must handle its own errors."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def close(self, timeout: float) -> bool:
        """End after the current job; False if it did not end within `timeout` seconds."""
        if self._thread is None:
            return True
        while not self._jobs.empty():
            try:
                self._jobs.get_nowait()
            except queue.Empty:
                break
        self._jobs.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def finish(self, timeout: float) -> bool:
        """End after the jobs that are queued; False if they did not end within `timeout` seconds."""
        if self._thread is None:
            return True
        self._jobs.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
