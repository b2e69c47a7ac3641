"""The tables that agent.toml and server.toml share: [cluster] and [board]."""

from boardwright.config.readers import MULTICAST, addresses, interfaces, multicast, name, names, place
from boardwright.config.section import Section, flag
from boardwright.config.settings import ClusterSettings
from boardwright.model.inventory import Board
from boardwright.model.location import Location


def read_cluster(section: Section, unicast_key: str) -> ClusterSettings:
    """[cluster]; `unicast_key` is "servers" for an agent and "peers" for a server. Raises UsageError."""
    settings = ClusterSettings(
        name=section.need("name", name("cluster")),
        interfaces=section.need("interface", interfaces),
        multicast=section.get("multicast", multicast, MULTICAST),
        unicast=section.get(unicast_key, addresses, ()),
        trust=section.path("trust", "trust"),
        certificate=section.path("certificate", "certificate.pem"),
        key=section.path("key", "key.pem"),
    )
    if settings.multicast is None and not settings.unicast and unicast_key == "servers":
        raise section.error(
            "multicast",
            "'none' leaves no way to a server",
            hint='list the servers\' addresses: servers = ["10.0.1.1"]',
        )
    return settings


def read_board(section: Section) -> Board:
    """[board]: id, chassis, slot, type, groups, and server and pair where they say something. Raises UsageError."""
    return Board(
        id=section.need("id", name("board")),
        location=Location(section.need("chassis", place), section.need("slot", place)),
        type=section.get("type", name("type"), "board"),
        groups=section.get("groups", names("group"), ()),
        server=section.get("server", flag, False),
        pair=section.get("pair", name("pair"), None),
    )
