"""Which engine keeps the replicated state: the value of ``engine`` in cluster.toml and server.toml.

Rules (design section 12):

* ``sqlite`` is one server's own file in its data directory; with more servers it is refused.
* ``sqlite:PATH`` is one file for several servers of **one host** (a lab, the demo).
* ``memory`` forgets everything at the end of the process: for tests, and only in server.toml.
* ``etcd://...`` is for clusters on several hosts; this release has no such engine yet and says so.
"""

from pathlib import Path

from boardwright.config.section import Section, text
from boardwright.errors import shown

_CHOICES = 'write "sqlite" for one server or "sqlite:/path/state.db" for several servers of one host'


def read_engine(section: Section) -> str:
    """The engine as "sqlite", "memory" or "sqlite:/absolute/path" (default: "sqlite"); raises UsageError."""
    value = section.get("engine", text, "sqlite")
    if value in ("sqlite", "memory"):
        return value
    scheme, _, rest = value.partition(":")
    if scheme == "etcd":
        raise section.error(
            "engine", f"{shown(value)} asks for etcd, which this release does not have yet", hint=_CHOICES
        )
    if scheme != "sqlite" or not rest or rest.startswith("//"):
        raise section.error("engine", f"{shown(value)} is not an engine", hint=_CHOICES)
    return f"sqlite:{section.resolve('engine', rest)}"


def refuse_shared(section: Section, engine: str, servers: int) -> None:
    """Refuse an engine that `servers` servers cannot share."""
    if engine == "memory":
        raise section.error("engine", "'memory' forgets everything when a server ends", hint=_CHOICES)
    if engine == "sqlite" and servers > 1:
        raise section.error(
            "engine",
            f"'sqlite' is one server's own file, but {servers} boards have server = true",
            hint='write engine = "sqlite:/path/state.db" if all servers run on one host; '
            "an engine for several hosts comes with a later release",
        )


def engine_url(engine: str, data_dir: Path) -> str:
    """The engine's URL with an absolute path: plain "sqlite" lies in `data_dir`."""
    return f"sqlite:{data_dir / 'state.db'}" if engine == "sqlite" else engine
