"""Which engine keeps the replicated state: the value of ``engine`` in cluster.toml and server.toml.

Rules (design section 12):

* ``sqlite`` is one server's own file in its data directory; with more servers it is refused.
* ``sqlite:PATH`` is one file for several servers of **one host** (a lab, the demo).
* ``memory`` forgets everything at the end of the process: for tests, and only in server.toml.
* ``etcd://HOST:PORT,HOST:PORT`` is for clusters on several hosts. In server.toml ``ca`` turns on TLS, ``certificate``
  and ``key`` go with it, ``user`` and ``password_file`` belong together; other engines have no use for them.
"""

from pathlib import Path

from boardwright.config.section import Section, text
from boardwright.config.settings import EngineAccess
from boardwright.errors import UsageError, shown
from boardwright.model.endpoints import SCHEME, read_endpoints, write_engine
from boardwright.model.software import MAX_NAME

_CHOICES = (
    'write "sqlite" for one server, "sqlite:/path/state.db" for several servers of one host, '
    'or "etcd://HOST:PORT,HOST:PORT" for several hosts'
)


def read_engine(section: Section) -> str:
    """The engine as "sqlite" (the default), "memory", "sqlite:/absolute/path" or "etcd://HOST:PORT,..."; UsageError."""
    value = section.get("engine", text, "sqlite")
    if value in ("sqlite", "memory"):
        return value
    if value.startswith(SCHEME):
        return section.get("engine", _etcd, value)
    scheme, _, rest = value.partition(":")
    if scheme != "sqlite" or not rest or rest.startswith("//"):
        raise section.error("engine", f"{shown(value)} is not an engine", hint=_CHOICES)
    return f"sqlite:{section.resolve('engine', rest)}"


def read_access(section: Section, engine: str) -> EngineAccess:
    """The keys beside ``engine`` that etcd may need; UsageError if they do not fit together."""
    access = EngineAccess(
        ca=section.path_or_none("ca"),
        certificate=section.path_or_none("certificate"),
        key=section.path_or_none("key"),
        user=section.get("user", _user, ""),
        password_file=section.path_or_none("password_file"),
    )
    for one, other in (("certificate", "key"), ("key", "certificate"), ("user", "password_file")):
        if one in section and other not in section:
            raise section.error(one, f"has no {other} beside it", hint=f"add {other} = ...")
    if "password_file" in section and "user" not in section:
        raise section.error("password_file", "has no user beside it", hint="add user = ...")
    if "certificate" in section and "ca" not in section:
        raise section.error("certificate", "is of no use without TLS", hint="add ca = ..., the authority of etcd")
    for key in ("ca", "user"):
        if key in section and not engine.startswith(SCHEME):
            raise section.error(key, f"is for etcd, but the engine is {shown(engine)}", hint="leave it out")
    return access


def refuse_shared(section: Section, engine: str, servers: int) -> None:
    """Refuse an engine that `servers` servers cannot share."""
    if engine == "memory":
        raise section.error("engine", "'memory' forgets everything when a server ends", hint=_CHOICES)
    if engine == "sqlite" and servers > 1:
        raise section.error(
            "engine",
            f"'sqlite' is one server's own file, but {servers} boards have server = true",
            hint='write engine = "sqlite:/path/state.db" if all servers run on one host, '
            '"etcd://HOST:PORT,HOST:PORT" if not',
        )


def engine_url(engine: str, data_dir: Path) -> str:
    """The engine's URL with an absolute path: plain "sqlite" lies in `data_dir`."""
    return f"sqlite:{data_dir / 'state.db'}" if engine == "sqlite" else engine


def _etcd(value: object) -> str:
    return write_engine(read_endpoints(text(value)))


def _user(value: object) -> str:
    user = text(value)
    if len(user) > MAX_NAME:
        raise UsageError(f"{shown(user)} is longer than {MAX_NAME} characters", hint="write the name of etcd's user")
    return user
