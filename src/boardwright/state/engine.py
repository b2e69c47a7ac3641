"""Which engine a configured name means."""

from pathlib import Path

from boardwright.errors import UsageError
from boardwright.state.kv import KV
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.sqlite_kv import SqliteKV


def open_kv(engine: str) -> KV:
    """Open ``memory:`` or ``sqlite:/path``; raises UsageError, RefusedError (another host's file), EngineError."""
    kind, _, rest = engine.partition(":")
    if kind == "memory" and not rest:
        return MemoryKV()
    if kind == "sqlite":
        if not rest.startswith("/"):
            raise UsageError(f"engine {engine!r} names no file", hint="write sqlite:/path/state.db")
        return SqliteKV(Path(rest))
    if kind == "etcd":
        raise UsageError(f"engine {engine!r}: this release has no etcd engine", hint="use sqlite:/path on one host")
    raise UsageError(f"engine {engine!r} is not known", hint="engines are sqlite:/path and memory:")
