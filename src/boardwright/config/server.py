"""server.toml: what a deployment server is told."""

from pathlib import Path

from boardwright.config.cluster import read_board, read_cluster
from boardwright.config.engine import engine_url, read_access, read_engine
from boardwright.config.fragments import read_document
from boardwright.config.quantities import parse_duration, parse_rate, parse_size
from boardwright.config.readers import BLOB_PORT, address
from boardwright.config.section import Sections, texts, whole
from boardwright.config.settings import ServerSettings
from boardwright.errors import UsageError, shown

DATA_DIR = "/var/lib/boardwright/server"
ADMISSION = 64  # boards that download at the same time: some four chassis; more only make each other slow
MAX_ADMISSION = 100_000
SCRUB_PERIOD = 7 * 86400.0  # seconds; sectors go bad over months, and a week costs a disk nothing
MAX_SCRUB_PERIOD = 365 * 86400.0


def load_server(path: Path) -> ServerSettings:
    """Read and check server.toml and its drop-ins; raises UsageError with file, key and value."""
    document = read_document(path)
    if "agent" in document.tables and "server" not in document.tables:
        raise UsageError(
            f"{document.path} is an agent's configuration", hint="a server reads the server.toml beside it"
        )
    sections = Sections(document)
    cluster, server, limits = sections.table("cluster"), sections.table("server"), sections.table("limits")
    board = read_board(sections.table("board"))
    shared = read_cluster(cluster, "peers")
    listen = server.need("listen", address())
    blob_listen = server.get("blob_listen", address(), (listen[0], BLOB_PORT))
    if listen == blob_listen and listen[1] != 0:
        raise server.error("blob_listen", "is the address of the API, too", hint="blobs have a port of their own")
    data_dir = server.path("data_dir", DATA_DIR)
    state = sections.table("state")
    engine = read_engine(state)
    settings = ServerSettings(
        cluster=shared,
        id=board.id,
        location=board.location,
        listen=listen,
        blob_listen=blob_listen,
        data_dir=data_dir,
        engine=engine_url(engine, data_dir),
        engine_access=read_access(state, engine),
        peers=shared.unicast,
        inventory=cluster.path_or_none("inventory"),
        per_board=limits.get("per_board", parse_rate, 0),
        total=limits.get("total", parse_rate, 0),
        inter_chassis=limits.get("inter_chassis", parse_rate, 0),
        admission=limits.get("admission", whole(1, MAX_ADMISSION), ADMISSION),
        store_quota=limits.get("store_quota", parse_size, 0),
        scrub_period=server.get("scrub", _scrub_period, SCRUB_PERIOD),
        arbitration=server.get("arbitration", _command, ()),
        release=server.path_or_none("release"),
    )
    sections.finish()
    return settings


def _command(value: object) -> tuple[str, ...]:
    words = texts(value)
    if not words or not words[0].startswith("/"):
        raise UsageError(
            f"{shown(value)} is not a command", hint='write an absolute path and its words: ["/sbin/is-chosen", "-q"]'
        )
    return words


def _scrub_period(value: object) -> float:
    seconds = parse_duration(value)
    if seconds and not 1.0 <= seconds <= MAX_SCRUB_PERIOD:
        raise UsageError(f"{shown(value)} is not between 1 s and 365 d", hint='"0" reads the store never')
    return seconds
