"""The files that ``boardwright init`` writes: a checked inventory becomes TOML that the loaders take back.

Rules:

* Every file says what it is, who wrote it, and where changes belong (drop-ins survive a new ``init``).
* Every key that an operator may want to change stands there with its default.
* Every board also runs the group `boardwright-agent`, a control board `boardwright` as well: so the cluster can upgrade
  Boardwright itself, and nothing changes for who never does.
* ``load_agent`` and ``load_server`` accept what is written here (a test compares).
"""

import json
from collections.abc import Iterable
from pathlib import Path

from boardwright.boot.names import AGENT_GROUP, RELEASE_GROUPS, SERVER_GROUP
from boardwright.config.agent import ROOT, STATE_DIR
from boardwright.config.inventory import ClusterInventory, InventoryBoard
from boardwright.config.members import CA, CERTIFICATE, FILES, KEY, members_of
from boardwright.config.readers import write_address
from boardwright.config.server import ADMISSION, DATA_DIR
from boardwright.model.endpoints import SCHEME

_RATES = '# rates and sizes: "0" = none; e.g. "20MB/s", "100Mbit/s", "50GB"'


def agent_toml(inventory: ClusterInventory, entry: InventoryBoard) -> str:
    """agent.toml of the board."""
    relay = [] if entry.address is None else [("listen", write_address((entry.address, inventory.relay_port)))]
    return "\n".join(
        [
            *_head("Agent", "agent.toml", entry),
            *_cluster(inventory, entry, "servers", _unicast(inventory, None)),
            *_table("board", [*_identity(entry), *_role(entry)]),
            *_table(
                "agent",
                [("root", str(entry.root or ROOT)), ("state_dir", str(entry.state_dir or STATE_DIR))],
            ),
            *_table("relay", [("enabled", inventory.relay), *relay]),
            _RATES,
            *_table("limits", [("download", "0"), ("relay", "0"), ("store_quota", "0")]),
        ]
    )


def server_toml(inventory: ClusterInventory, entry: InventoryBoard) -> str:
    """server.toml of a control board."""
    host = _host(entry)
    return "\n".join(
        [
            *_head("Deployment server", "server.toml", entry),
            *_cluster(inventory, entry, "peers", _unicast(inventory, entry)),
            "# the list of boards as it was when this folder was made",
            'inventory = "cluster.toml"',
            "",
            *_table("board", _identity(entry)),
            *_table(
                "server",
                [
                    ("listen", write_address((host, inventory.api_port))),
                    ("blob_listen", write_address((host, inventory.blob_port))),
                    ("data_dir", str(entry.data_dir or DATA_DIR)),
                    ("scrub", "7d"),
                    ("release", str((entry.root or Path(ROOT)) / SERVER_GROUP)),
                ],
            ),
            *_state(inventory),
            _RATES,
            *_table(
                "limits",
                [
                    ("per_board", "0"),
                    ("total", "0"),
                    ("inter_chassis", "0"),
                    ("admission", ADMISSION),
                    ("store_quota", "0"),
                ],
            ),
        ]
    )


def cluster_toml(inventory: ClusterInventory) -> str:
    """The inventory with its drop-ins merged and its paths absolute: the copy that a server keeps."""
    lines = [f"# Copy of {inventory.path} made by `boardwright init`; change that one, not this.", ""]
    cluster: list[tuple[str, object]] = [
        ("name", inventory.name),
        ("engine", inventory.engine),
        ("multicast", "none" if inventory.multicast is None else write_address(inventory.multicast)),
        ("unicast", [write_address(address) for address in inventory.unicast]),
        ("api_port", inventory.api_port),
        ("blob_port", inventory.blob_port),
        ("relay_port", inventory.relay_port),
        ("relay", inventory.relay),
    ]
    lines += _table("cluster", cluster)
    for entry in inventory.boards:
        keys: list[tuple[str, object]] = [*_identity(entry), ("type", entry.board.type)]
        keys += [("groups", _groups(entry)), ("interface", entry.interfaces), ("server", entry.board.server)]
        optional = ("address", entry.address), ("pair", entry.board.pair)
        paths = ("root", entry.root), ("state_dir", entry.state_dir), ("data_dir", entry.data_dir)
        more = (("engine_dir", entry.engine_dir),)
        keys += [(key, str(value)) for key, value in (*optional, *paths, *more) if value is not None]
        lines += _table("[board]", keys)
    return "\n".join(lines)


def operator_toml(inventory: ClusterInventory) -> str:
    """operator.toml: where the commands find the servers."""
    urls = [f"https://{write_address((_host(entry), inventory.api_port))}" for entry in inventory.servers]
    return operator_text(inventory.name, urls)


def operator_text(cluster: str, urls: Iterable[str]) -> str:
    """operator.toml of a cluster whose servers have these base URLs."""
    return "\n".join(
        [
            "# What the commands need to find the cluster: boardwright --operator THIS_FOLDER ...",
            f"cluster = {_value(cluster)}",
            "# asked in turn until one answers",
            f"servers = {_value(list(urls))}",
            "",
        ]
    )


def _head(program: str, file: str, entry: InventoryBoard) -> list[str]:
    location = entry.board.location
    return [
        f"# {program} of board {entry.board.id} (chassis {location.chassis}, slot {location.slot}).",
        f"# Written by `boardwright init`; your own changes belong in {file}.d/*.toml beside this file.",
        "",
    ]


def _cluster(inventory: ClusterInventory, entry: InventoryBoard, unicast: str, addresses: list[str]) -> list[str]:
    interface: object = entry.interfaces[0] if len(entry.interfaces) == 1 else entry.interfaces
    group = "none" if inventory.multicast is None else write_address(inventory.multicast)
    lines = _table("cluster", [("name", inventory.name), ("trust", "trust"), ("interface", interface)])[:-1]
    lines += [
        f"multicast = {_value(group)}",
        "# addresses that get every request as well, for networks without multicast",
    ]
    return [*lines, f"{unicast} = {_value(addresses)}", ""]


def _unicast(inventory: ClusterInventory, own: InventoryBoard | None) -> list[str]:
    """The unicast list: the operator's, or every other server where there is no multicast."""
    if inventory.unicast or inventory.multicast is not None:
        return [write_address(address) for address in inventory.unicast]
    return [_host(entry) for entry in inventory.servers if entry is not own]


def _identity(entry: InventoryBoard) -> list[tuple[str, object]]:
    board = entry.board
    return [("id", board.id), ("chassis", board.location.chassis), ("slot", board.location.slot)]


def _role(entry: InventoryBoard) -> list[tuple[str, object]]:
    """What the agent says about its board in its reports; `server` and `pair` only where they say something."""
    board = entry.board
    keys: list[tuple[str, object]] = [("type", board.type), ("groups", _groups(entry))]
    keys += [("server", True)] if board.server else []
    return keys + ([("pair", board.pair)] if board.pair is not None else [])


def _groups(entry: InventoryBoard) -> tuple[str, ...]:
    """The board's groups, and those that are Boardwright itself."""
    own = RELEASE_GROUPS if entry.board.server else (AGENT_GROUP,)
    return tuple(dict.fromkeys((*entry.board.groups, *own)))


def _state(inventory: ClusterInventory) -> list[str]:
    lines = _table("state", [("engine", inventory.engine)])
    if not inventory.engine.startswith(SCHEME):
        return lines
    if members_of(inventory):
        return _table("state", [("engine", inventory.engine), *_engine_files("")])
    return [
        *lines[:-1],
        "# TLS to etcd: ca, certificate and key (files); its authentication: user, password_file",
        "",
    ]


def engine_drop_in(inventory: ClusterInventory) -> str:
    """What a server of before reads beside its server.toml, since the cluster has another engine."""
    files = _engine_files("../") if members_of(inventory) else []
    return "\n".join(
        [
            "# The engine as it is since the folder was made; written by `boardwright init --add`.",
            *_table("state", [("engine", inventory.engine), *files]),
        ]
    )


def _engine_files(prefix: str) -> list[tuple[str, object]]:
    names = ("ca", CA), ("certificate", CERTIFICATE), ("key", KEY)
    return [(key, f"{prefix}{FILES}/{name}") for key, name in names]


def _host(entry: InventoryBoard) -> str:
    assert entry.address is not None  # noqa: S101  # the inventory refuses a server without an address
    return entry.address


def _table(name: str, keys: Iterable[tuple[str, object]]) -> list[str]:
    return [f"[{name}]", *(f"{key} = {_value(value)}" for key, value in keys), ""]


def _value(value: object) -> str:
    """A TOML value; JSON's strings, lists, numbers and booleans are TOML's, too (TOML 1.0)."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
