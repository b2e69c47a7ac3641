"""agent.toml: what an agent is told."""

from pathlib import Path

from boardwright.config.cluster import read_board, read_cluster
from boardwright.config.fragments import read_document
from boardwright.config.quantities import parse_duration, parse_rate, parse_size
from boardwright.config.readers import address, refuse_nested
from boardwright.config.section import Sections, flag
from boardwright.config.settings import AgentSettings
from boardwright.errors import UsageError, shown

ROOT = "/opt/boardwright"
STATE_DIR = "/var/lib/boardwright/agent"
PERIOD = 300.0  # seconds between unprompted requests: what a lost announcement costs at most, cheap for 10,000 boards
MIN_PERIOD = 1.0


def load_agent(path: Path) -> AgentSettings:
    """Read and check agent.toml and its drop-ins; raises UsageError with file, key and value."""
    document = read_document(path)
    if "server" in document.tables and "agent" not in document.tables:
        raise UsageError(f"{document.path} is a server's configuration", hint="an agent reads the agent.toml beside it")
    sections = Sections(document)
    board, agent = sections.table("board"), sections.table("agent")
    relay, limits = sections.table("relay"), sections.table("limits")
    for key in ("type", "groups"):
        if key not in board:
            board.need(key, str)
    settings = AgentSettings(
        cluster=read_cluster(sections.table("cluster"), "servers"),
        board=read_board(board),
        root=agent.path("root", ROOT),
        state_dir=agent.path("state_dir", STATE_DIR),
        relay_enabled=relay.get("enabled", flag, True),
        relay_listen=relay.get("listen", address(), None),
        download=limits.get("download", parse_rate, 0),
        relay=limits.get("relay", parse_rate, 0),
        store_quota=limits.get("store_quota", parse_size, 0),
        period=agent.get("period", _period, PERIOD),
        folder=document.path.parent,
    )
    sections.finish()
    refuse_nested(f"{document.path}: [agent]", {"state_dir": settings.state_dir, "root": settings.root})
    return settings


def _period(value: object) -> float:
    seconds = parse_duration(value)
    if not MIN_PERIOD <= seconds <= 86400:
        raise UsageError(f"{shown(value)} is not between 1 s and 1 d", hint='write e.g. "5min"')
    return seconds
