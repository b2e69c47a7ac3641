"""The settings of the programs as frozen structs: what a checked configuration becomes.

Paths are absolute, sizes and rates are in bytes and bytes per second (0: no limit), addresses are (host, port).
Nothing reads the environment or a file after this.
"""

from pathlib import Path

import msgspec

from boardwright.model.inventory import Board
from boardwright.model.location import Location

Address = tuple[str, int]


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`interfaces` are names or addresses; `unicast` is the list of addresses that also get every request.

    `certificate`, `key` and the folder `trust` say who this is and whom it believes.
    """

    name: str
    interfaces: tuple[str, ...]
    multicast: Address | None
    unicast: tuple[Address, ...] = ()
    trust: Path
    certificate: Path
    key: Path


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`download` caps bytes per second; `period` is the mean time in seconds between unprompted requests.

    `folder` is that of the file, where a control board has its server.toml as well.
    """

    cluster: ClusterSettings
    board: Board
    root: Path
    state_dir: Path
    relay_enabled: bool
    relay_listen: Address | None
    download: int = 0
    relay: int = 0
    store_quota: int = 0
    period: float = 300.0
    folder: Path = Path()


class EngineAccess(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine on other hosts wants to see: TLS (`ca`; `certificate` and `key` as well), `user` and password."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str = ""
    password_file: Path | None = None


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`engine` is the engine's URL with the path made absolute, `engine_access` what etcd needs to see.

    `inventory`: a cluster.toml to take in, if any. `scrub_period`: seconds in which the whole store is read once to
    find damage, 0: never. `arbitration`: the command that says whether this board may be the active, empty: none.
    `release`: where the board's agent keeps the group `boardwright`, whose version is run instead of what is installed;
    None: nothing is followed (``boot.stage``). `running` is the release that the program runs, not from the file.
    """

    cluster: ClusterSettings
    id: str
    location: Location
    listen: Address
    blob_listen: Address
    data_dir: Path
    engine: str
    engine_access: EngineAccess = EngineAccess()
    peers: tuple[Address, ...] = ()
    inventory: Path | None = None
    per_board: int = 0
    total: int = 0
    inter_chassis: int = 0
    admission: int = 64
    store_quota: int = 0
    scrub_period: float = 7 * 86400.0
    arbitration: tuple[str, ...] = ()
    release: Path | None = None
    running: str = ""
