"""What the doctor says: one thing that was looked at, how it is, and what to do about it (pure)."""

import enum

import msgspec

MAX_NAMED = 5  # names that a sentence lists; who has more of the same trouble looks at them in other tables


class Level(enum.StrEnum):
    """An error is broken now: part of the cluster or a board lacks it. A warning will break, or hides that it does."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Check(enum.StrEnum):
    """The names of everything that is looked at; ``docs/operate/doctor.md`` says what each means and what to do."""

    # Of a node.
    CONFIG = "config"
    CERTIFICATE = "certificate"
    LOCATION = "location"
    ONLINE_KEY = "online-key"
    INTERFACE = "interface"
    MULTICAST = "multicast"
    SERVERS = "servers"
    API = "api"
    BLOBS = "blobs"
    DISK = "disk"
    STORE = "store"
    CLOCK = "clock"
    LEDGER = "ledger"
    PROGRAM = "program"
    PORT = "port"
    # Of the cluster.
    SERVER = "server"
    ACTIVE = "active"
    AGREEMENT = "agreement"
    RELEASE = "release"
    VERSIONS = "versions"
    SCRUBBER = "scrubber"
    ALARM = "alarm"
    METADATA = "metadata"
    JOINS = "joins"
    BOARDS = "boards"
    # Of the engine.
    ENGINE = "engine"
    ENGINE_ENDPOINT = "engine-endpoint"
    ENGINE_QUORUM = "engine-quorum"
    ENGINE_VOTERS = "engine-voters"
    ENGINE_SPACE = "engine-space"
    ENGINE_CERTIFICATE = "engine-certificate"
    ENGINE_FILE = "engine-file"


class Finding(msgspec.Struct, frozen=True):
    """`subject` is what it is about (an id, a path, an address); `do` is empty if nothing need be done."""

    check: Check
    subject: str
    level: Level
    what: str
    do: str = ""


def fine(check: Check, subject: str, what: str) -> Finding:
    return Finding(check, subject, Level.OK, what)


def warning(check: Check, subject: str, what: str, do: str) -> Finding:
    return Finding(check, subject, Level.WARNING, what, do)


def error(check: Check, subject: str, what: str, do: str) -> Finding:
    return Finding(check, subject, Level.ERROR, what, do)


def named(names: "list[str] | tuple[str, ...]") -> str:
    """The first few of them for a sentence."""
    rest = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")
