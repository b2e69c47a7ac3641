"""The engine, whether or not it could be opened when the server started.

A server starts from its own disk while the engine is down; until the engine opens, every call is EngineError, and a
call tries again to open it, once per `RETRY` seconds.
"""

import contextlib
import threading
import time
from collections.abc import Callable

from boardwright.state.kv import KV, Change, EngineError, Entry, Snapshot, Transaction

RETRY = 1.0  # seconds


class PatientKV:
    """KV over what `opens` returns; errors other than EngineError (a refusal) come out of the constructor."""

    def __init__(self, opens: Callable[[], KV]) -> None:
        self._opens = opens
        self._kv: KV | None = None
        self._lock = threading.Lock()
        self._next_try = 0.0
        self._trouble = EngineError("the engine is not open")
        with contextlib.suppress(EngineError):
            self._open()

    def get(self, key: str) -> Entry | None:
        return self._open().get(key)

    def range(self, prefix: str) -> Snapshot:
        return self._open().range(prefix)

    def commit(self, transaction: Transaction) -> int:
        return self._open().commit(transaction)

    def watch(self, prefix: str, after: int, timeout: float) -> tuple[Change, ...]:
        return self._open().watch(prefix, after, timeout)

    def health(self) -> str:
        try:
            return self._open().health()
        except EngineError as error:
            return str(error)

    def close(self) -> None:
        with self._lock:
            if self._kv is not None:
                self._kv.close()

    def _open(self) -> KV:
        with self._lock:
            if self._kv is None:
                if time.monotonic() < self._next_try:
                    raise self._trouble
                self._next_try = time.monotonic() + RETRY
                try:
                    self._kv = self._opens()
                except EngineError as error:
                    self._trouble = EngineError(str(error), hint=error.hint)
                    raise
            return self._kv
