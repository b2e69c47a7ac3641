"""cluster.toml: the operator's list of boards.

Rules (design section 12):

* A board's id and its location (chassis, slot) are each its own; so is its address.
* A control board (``server = true``) needs an address, because boards download from it; a line board without an
  address works, it only cannot relay.
* Boards on loopback addresses share one host, so their folders must differ.
* A redundancy pair has two boards.
* ``sqlite`` serves one server; see ``engine.py``.
"""

from pathlib import Path

import msgspec

from boardwright.config.engine import read_engine, refuse_shared
from boardwright.config.fragments import Document, read_document
from boardwright.config.readers import (
    API_PORT,
    BLOB_PORT,
    MULTICAST,
    RELAY_PORT,
    addresses,
    interfaces,
    multicast,
    name,
    names,
    one_host,
    place,
    refuse_nested,
)
from boardwright.config.section import Section, Sections, flag, whole
from boardwright.config.settings import Address
from boardwright.errors import UsageError
from boardwright.model.endpoints import SCHEME, read_endpoints
from boardwright.model.inventory import Board, Inventory
from boardwright.model.location import Location
from boardwright.model.software import MAX_NAME

OPERATOR = "operator"  # the folder beside the boards' folders, so no board may have this id
MAX_INVENTORY_BYTES = 64 * 1024 * 1024  # 100,000 boards have some 20 MB
MAX_BOARDS = 100_000  # ten times the largest cluster that is measured


class InventoryBoard(msgspec.Struct, frozen=True, kw_only=True):
    """A board of cluster.toml; paths are absolute, None means the default of the program."""

    board: Board
    address: str | None
    interfaces: tuple[str, ...]
    root: Path | None = None
    state_dir: Path | None = None
    data_dir: Path | None = None
    engine_dir: Path | None = None

    def folders(self) -> dict[str, Path]:
        """The folders that are named, by their keys."""
        data_dir = self.data_dir if self.board.server else None
        named = {"root": self.root, "state_dir": self.state_dir, "data_dir": data_dir, "engine_dir": self.engine_dir}
        return {key: path for key, path in named.items() if path is not None}


class ClusterInventory(msgspec.Struct, frozen=True, kw_only=True):
    """`engine` as `read_engine` gives it; `multicast` is None where the network has none.

    `relay`: whether boards serve their neighbours what they have.
    """

    path: Path
    name: str
    engine: str
    boards: tuple[InventoryBoard, ...]
    multicast: Address | None = MULTICAST
    unicast: tuple[Address, ...] = ()
    api_port: int = API_PORT
    blob_port: int = BLOB_PORT
    relay_port: int = RELAY_PORT
    relay: bool = True

    @property
    def servers(self) -> tuple[InventoryBoard, ...]:
        return tuple(entry for entry in self.boards if entry.board.server)

    @property
    def inventory(self) -> Inventory:
        """The boards as the planner knows them."""
        return Inventory({entry.board.id: entry.board for entry in self.boards})


def load_inventory(path: Path) -> ClusterInventory:
    """Read and check cluster.toml; raises UsageError with file, board, key and value."""
    document = read_document(path, MAX_INVENTORY_BYTES)
    sections = Sections(document)
    cluster = sections.table("cluster")
    default_interfaces = cluster.get("interface", interfaces, ())
    port = whole(1, 65535)
    inventory = ClusterInventory(
        path=document.path,
        name=cluster.need("name", name("cluster")),
        engine=read_engine(cluster),
        boards=tuple(
            _read_board(section, default_interfaces) for section in _board_sections(document, "board", "[[board]]")
        ),
        multicast=cluster.get("multicast", multicast, MULTICAST),
        unicast=cluster.get("unicast", addresses, ()),
        api_port=cluster.get("api_port", port, API_PORT),
        blob_port=cluster.get("blob_port", port, BLOB_PORT),
        relay_port=cluster.get("relay_port", port, RELAY_PORT),
        relay=cluster.get("relay", flag, True),
    )
    sections.finish(arrays=("board",))
    _check_boards(inventory)
    if not inventory.servers:
        raise UsageError(f"{document.path}: no board has server = true", hint="mark the control boards")
    if len({inventory.api_port, inventory.blob_port, inventory.relay_port}) < 3:
        raise cluster.error(
            "api_port", "and blob_port and relay_port are not three different ports", hint="e.g. 6688, 6689 and 6690"
        )
    refuse_shared(cluster, inventory.engine, len(inventory.servers))
    return inventory


def _board_sections(document: Document, key: str, label: str) -> list[Section]:
    tables = document.tables.get(key)
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise UsageError(
            f"{document.path}: {label}: the list of boards is missing", hint=f"write one {label} per board"
        )
    if len(tables) > MAX_BOARDS:
        raise UsageError(f"{document.path}: {len(tables)} boards are more than {MAX_BOARDS}", hint="split the cluster")
    return [
        Section(document, (key,), table, f"{label} {_called(table, number)}")
        for number, table in enumerate(tables, start=1)
    ]


def _called(table: dict[str, object], number: int) -> str:
    id = table.get("id")
    return id if isinstance(id, str) and id.isprintable() and 0 < len(id) <= MAX_NAME else f"number {number}"


def _read_board(section: Section, default_interfaces: tuple[str, ...]) -> InventoryBoard:
    address = section.get("address", one_host, None)
    board = Board(
        id=section.need("id", name("board")),
        location=Location(section.need("chassis", place), section.need("slot", place)),
        type=section.need("type", name("type")),
        groups=section.get("groups", names("group"), ()),
        server=section.get("server", flag, False),
        pair=section.get("pair", name("pair"), None),
    )
    if board.id == OPERATOR:
        raise section.error("id", f"{board.id!r} is the name of the operator's folder", hint="choose another id")
    if board.server and address is None:
        raise section.error("address", "is missing", hint="boards download from it; write e.g. 10.0.1.1")
    board_interfaces = section.get("interface", interfaces, default_interfaces or ((address,) if address else ()))
    if not board_interfaces:
        raise section.error("interface", "is missing here and in [cluster]", hint='write e.g. interface = "eth1"')
    entry = InventoryBoard(
        board=board,
        address=address,
        interfaces=board_interfaces,
        root=section.path_or_none("root"),
        state_dir=section.path_or_none("state_dir"),
        data_dir=section.path_or_none("data_dir"),
        engine_dir=section.path_or_none("engine_dir"),
    )
    section.finish()
    return entry


def _check_boards(inventory: ClusterInventory) -> None:
    """Refuse boards that claim the same id, place, address or (on one host) folder, and pairs of three."""
    taken: dict[tuple[str, object], InventoryBoard] = {}
    pairs: dict[str, list[str]] = {}
    engine = inventory.engine
    voting = {host for host, _ in read_endpoints(engine)} if engine.startswith(SCHEME) else set()
    for entry in inventory.boards:
        board = entry.board
        claims: list[tuple[str, object]] = [("id", board.id), ("location (chassis/slot)", board.location)]
        if entry.address is not None:
            claims.append(("address", entry.address))
        if entry.address is not None and entry.address.startswith("127."):
            claims += [("root", entry.root), ("state_dir", entry.state_dir)]
            claims += [("data_dir", entry.data_dir)] if board.server else []
            claims += [("engine_dir", entry.engine_dir)] if entry.address in voting else []
        for what, value in claims:
            other = taken.setdefault((what, value), entry)
            if other is not entry:
                raise _clash(inventory.path, board.id, what, value, other.board.id)
        refuse_nested(f"{inventory.path}: [[board]] {board.id}", entry.folders())
        if board.pair is not None:
            pairs.setdefault(board.pair, []).append(board.id)
    for pair, members in pairs.items():
        if len(members) > 2:
            raise UsageError(
                f"{inventory.path}: [[board]] {members[2]} pair: {pair!r} has {', '.join(members)}",
                hint="a redundancy pair has two boards",
            )


def _clash(path: Path, board: str, what: str, value: object, other: str) -> UsageError:
    shown = "the default" if value is None else f"'{value}'"
    if what == "id":
        return UsageError(
            f"{path}: [[board]] {board}: two boards have the id {board!r}", hint="give each board its own id"
        )
    hint = f"give each board its own {what}"
    if what in ("root", "state_dir", "data_dir", "engine_dir"):
        hint = f"they are on one host (127.x.x.x): give each board its own {what}"
    return UsageError(f"{path}: [[board]] {board} {what}: {shown} is also that of board {other}", hint=hint)
