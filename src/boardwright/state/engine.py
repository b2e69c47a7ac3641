"""Which engine a configured name means."""

from pathlib import Path

from boardwright.errors import UsageError
from boardwright.model.endpoints import SCHEME, read_endpoints
from boardwright.state.etcd_client import EtcdAccess
from boardwright.state.etcd_kv import EtcdKV
from boardwright.state.kv import KV
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.sqlite_kv import SqliteKV


def open_kv(engine: str, cluster: str, access: EtcdAccess | None = None) -> KV:
    """Open ``memory:``, ``sqlite:/path`` or ``etcd://HOST:PORT,...`` for `cluster`; `access` is for etcd.

    Raises UsageError, RefusedError (another host's file), EngineError. An etcd that is down is found out later.
    """
    kind, _, rest = engine.partition(":")
    if kind == "memory" and not rest:
        return MemoryKV()
    if kind == "sqlite":
        if not rest.startswith("/"):
            raise UsageError(f"engine {engine!r} names no file", hint="write sqlite:/path/state.db")
        return SqliteKV(Path(rest))
    if engine.startswith(SCHEME):
        return EtcdKV(read_endpoints(engine), cluster, access)
    raise UsageError(
        f"engine {engine!r} is not known", hint="engines are sqlite:/path, etcd://HOST:PORT,HOST:PORT and memory:"
    )
