"""The engine that a server's settings name."""

from boardwright.config.settings import ServerSettings
from boardwright.state.engine import open_kv
from boardwright.state.etcd_client import EtcdAccess
from boardwright.state.kv import KV


def open_engine(settings: ServerSettings) -> KV:
    """Open it; raises UsageError (a file that cannot be used), RefusedError (another host's), EngineError."""
    return open_kv(settings.engine, settings.cluster.name, access_of(settings))


def access_of(settings: ServerSettings) -> EtcdAccess:
    """What etcd wants to see."""
    files = settings.engine_access
    return EtcdAccess(
        ca=files.ca,
        certificate=files.certificate,
        key=files.key,
        user=files.user,
        password_file=files.password_file,
    )
