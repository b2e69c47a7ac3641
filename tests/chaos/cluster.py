"""A real cluster for chaos: etcd members, servers and agents from the folders of `init`, each on a host of its own.

Rules:

* A program is "server-ID", "agent-HOST" or "etcd-N". All are started from one thread that lives on: they die with it.
* Whatever ends by itself is noted and started again after a second, as systemd would; what a fault ended waits for it.
* Every host has a small disk of its own, etcd members a larger one.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from boardwright.cli.session import operator_lines
from boardwright.net.api_client import ApiClient
from boardwright.net.lines import Lines
from tests.chaos.history import GROUP, BoardIs
from tests.chaos.network import PREFIX, Network
from tests.etcd_members import EtcdMembers
from tests.namespaces import has_root

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
DISK = "64m"  # holds what a run publishes several times over
ENGINE_DISK = "512m"  # a member keeps two logs of 64 MB
CALM = ("--unsafe-no-fsync",)  # etcd's own timing: on a busy machine quicker elections never end


class Shape(msgspec.Struct, frozen=True):
    """Hosts with the boards on them; control boards are hosts of their own."""

    servers: tuple[str, ...]
    shelves: dict[str, tuple[str, ...]]
    members: int

    @property
    def boards(self) -> dict[str, tuple[str, ...]]:
        """Boards by host: one agent process each."""
        return {**{server: (server,) for server in self.servers}, **self.shelves}

    @property
    def hosts(self) -> tuple[str, ...]:
        return (*self.boards, *(f"etcd{number}" for number in range(1, self.members + 1)))


FULL = Shape(
    ("c1s1", "c1s2", "c2s1", "c2s2"),
    {f"shelf{n}": tuple(f"c{1 + n // 2}s{3 + n % 2 * 3 + k}" for k in range(3)) for n in range(4)},
    3,
)
SMALL = Shape(("c1s1", "c2s1"), {"shelf0": ("c1s3", "c1s4")}, 1)


class ChaosCluster:
    """The cluster of `shape` below `directory`; `plants` by program ("server", "agent")."""

    def __init__(self, directory: Path, shape: Shape, plants: dict[str, str] | None = None) -> None:
        self.directory, self.shape, self._plants = directory, shape, plants or {}
        self.network = Network(shape.hosts)
        self.name = f"chaos{random.randint(0, 99999)}"
        self.boards = tuple(_board(board) for boards in shape.boards.values() for board in boards)
        at = tuple(self.network.addresses[f"etcd{number}"] for number in range(1, shape.members + 1))
        names = {address: host for host, address in self.network.addresses.items()}
        self.etcd = EtcdMembers(
            directory / "etcd", shape.members, flags=CALM, at=at, on=lambda address: self.network.on(names[address])
        )
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._mounted: list[Path] = []

    def begin(self) -> None:
        """Everything up to running programs; call it inside ``network.operating``."""
        for host in self.shape.boards:
            self._mount(self.disk(host), DISK)
        for host in self.etcd.hosts:
            self._mount(self.directory / "etcd" / host, ENGINE_DISK)
        self._init()
        self.etcd.start()
        self.etcd.wait()
        for program in self.programs:
            self.start(program)

    @property
    def programs(self) -> tuple[str, ...]:
        return (*(f"server-{one}" for one in self.shape.servers), *(f"agent-{host}" for host in self.shape.boards))

    def disk(self, host: str) -> Path:
        return self.directory / "disks" / host

    def board_folder(self, board: str) -> Path:
        host = next(host for host, boards in self.shape.boards.items() if board in boards)
        return self.disk(host) / board

    def clock(self, host: str) -> Path:
        return self.directory / f"clock-{host}"

    @property
    def operator(self) -> Path:
        return self.directory / "out" / "operator"

    @property
    def bases(self) -> list[str]:
        return [f"https://{self.network.addresses[server]}:6688" for server in self.shape.servers]

    def lines(self) -> Lines:
        return operator_lines(self.operator, self.name)

    def client(self) -> ApiClient:
        return ApiClient.of(self.bases, self.lines(), self.name)

    def start(self, program: str) -> None:
        kind, _, host = program.partition("-")
        boards = (host,) if kind == "server" else self.shape.boards[host]
        words = ["setpriv", "--pdeathsig", "KILL", *self.network.on(host), sys.executable, "-X", "faulthandler"]
        words += ["-m", "tests.chaos.programs", self._plants.get(kind, "none"), f"boardwright-{kind}"]
        for board in boards:
            words += ["--config", str(self.directory / "out" / board / f"{kind}.toml")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CHAOS_CLOCK": str(self.clock(host))}
        with self.log(program).open("ab") as log:
            self._running[program] = subprocess.Popen(
                words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, cwd=self.directory
            )

    def log(self, program: str) -> Path:
        return self.directory / f"{program}.log"

    def signal(self, program: str, number: int) -> None:
        process = self._running.get(program)
        if process is not None and process.poll() is None:
            process.send_signal(number)

    def kill(self, program: str) -> None:
        """SIGKILL; it stays down until ``start``."""
        process = self._running.pop(program, None)
        if process is not None:
            process.kill()
            process.wait()

    def ended(self) -> list[tuple[str, int]]:
        """Programs that ended by themselves since the last look, with their codes; they are not started here."""
        gone = [(name, process.returncode) for name, process in self._running.items() if process.poll() is not None]
        for name, _ in gone:
            del self._running[name]
        return gone

    def stop(self) -> None:
        """Kill everything, whatever it does, and leave no file system and no network behind."""
        for program in list(self._running):
            self.signal(program, signal.SIGCONT)
            self.kill(program)
        self.etcd.stop()
        for place in reversed(self._mounted):
            subprocess.run(["umount", "--lazy", str(place)], check=False, capture_output=True)
        self.network.stop()

    def _mount(self, place: Path, size: str) -> None:
        place.mkdir(parents=True)
        source = f"{PREFIX}{os.getpid()}"
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", source, str(place)]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self._mounted.append(place)

    def _init(self) -> None:
        text = ["[cluster]", f'name = "{self.name}"', 'interface = "eth1"', f'engine = "{self.etcd.engine}"']
        for host, boards in self.shape.boards.items():
            for board in map(_board, boards):
                text += ["[[board]]", f'id = "{board.board}"', f'chassis = "{board.chassis}"', f'slot = "{board.slot}"']
                text += [f'type = "{board.type}"', f'groups = ["{GROUP}"]']
                if board.board in self.shape.servers:
                    text += [f'address = "{self.network.addresses[host]}"', "server = true"]
                    text += [f'data_dir = "{self.disk(host)}/server"']
                text += [f'{key} = "{self.board_folder(board.board)}/{key}"' for key in ("root", "state_dir")]
        inventory = self.directory / "cluster.toml"
        inventory.write_text("\n".join(text) + "\n")
        words = [str(BIN / "boardwright"), "init", str(self.directory / "out"), "--inventory", str(inventory)]
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def missing() -> str:
    """Why no such cluster can be had here; '' if it can."""
    if not has_root():
        return "needs root, or user namespaces: the cuts and the full disks of a chaos run are namespaces and mounts"
    lacking = [word for word in ("ip", "tc", "nsenter", "setpriv", "mount") if shutil.which(word) is None]
    return f"needs root with the commands {', '.join(lacking)}" if lacking else ""


def _board(board: str) -> BoardIs:
    chassis, slot = board.removeprefix("c").split("s")
    return BoardIs(board, chassis, slot, "rp" if int(slot) < 3 else "lc")


def boards(shape: Shape) -> Sequence[BoardIs]:
    return tuple(_board(board) for found in shape.boards.values() for board in found)
