"""A cluster whose boards are hosts of their own: network namespaces on one bridge, each with ``lo`` and ``eth1``."""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.cluster import BIN, Cluster


class Hosts(Cluster):
    """Every board has its own network namespace; the files are shared, the network is not."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.network = "10.66"
        self.port = 6687
        self.multicast = True
        self.multicast_group = ""  # another multicast group than the default
        self.mtu = 1500
        self.interface: str | list[str] = "eth1"
        self._mark = f"bw{uuid.uuid4().hex[:6]}"
        self._spaces: list[str] = []

    def inventory(self, places: Sequence[tuple[int, int, bool]], *, groups: Sequence[str] = ("platform",)) -> Path:
        servers = sum(server for _, _, server in places)
        text = ["[cluster]", f'name = "{self._mark}"', f"interface = {json.dumps(self.interface)}"]
        group = self.multicast_group if self.multicast else "none"
        text += [f'multicast = "{group}"'] if group else []
        # One host's server has a file of its own; several share one, which namespaces of one kernel may.
        text += [f'engine = "sqlite:{self.directory}/state.db"'] if servers > 1 else []
        for chassis, slot, server in places:
            board = f"c{chassis}s{slot}"
            self.boards.append(board)
            text += ["[[board]]", f'id = "{board}"', f'chassis = "{chassis}"', f'slot = "{slot}"']
            text += [f'type = "{"rp" if server else "lc"}"', f"groups = {json.dumps(list(groups))}"]
            text += [f'address = "{self.address(chassis, slot)}"', "server = true"] if server else []
            for key in ("root", "state_dir", *(["data_dir"] if server else [])):
                text.append(f'{key} = "{self.directory}/boards/{board}/{key.removesuffix("_dir")}"')
        path = self.directory / "cluster.toml"
        path.write_text("\n".join(text) + "\n")
        return path

    def wire(self, places: Sequence[tuple[int, int, bool]]) -> None:
        """Make the namespaces and the bridge between them, which lies in a namespace of its own."""
        switch = self._space("switch")
        _ip("-n", switch, "link", "add", "backplane", "type", "bridge")
        _ip("-n", switch, "link", "set", "backplane", "up")
        for chassis, slot, _ in places:
            board = f"c{chassis}s{slot}"
            space = self._space(board)
            _ip("-n", switch, "link", "add", board, "type", "veth", "peer", "name", "eth1", "netns", space)
            _ip("-n", switch, "link", "set", board, "master", "backplane", "up")
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", switch, "link", "set", board, "mtu", str(self.mtu))
            _ip("-n", space, "link", "set", "eth1", "mtu", str(self.mtu), "up")
            self.give(board, self.address(chassis, slot))

    def init(self, places: Sequence[tuple[int, int, bool]], *, groups: Sequence[str] = ("platform",)) -> None:
        self.wire(places)
        super().init(places, groups=groups)

    def command(self, program: str, board: str) -> list[str]:
        return ["ip", "netns", "exec", self._name(board), *super().command(program, board)]

    def run(self, *arguments: str, operator: bool = True) -> subprocess.CompletedProcess[str]:
        """Operators sit on the first board's host."""
        command = ["ip", "netns", "exec", self._name(self.boards[0]), str(BIN / "boardwright"), *arguments]
        return self.execute(command, operator=operator)

    def second_backplane(self, places: Sequence[tuple[int, int]], network: str) -> None:
        """Another bridge, which does not reach the first; boards get ``eth2`` and lose nothing."""
        switch = self._space("switch2")
        _ip("-n", switch, "link", "add", "backplane", "type", "bridge")
        _ip("-n", switch, "link", "set", "backplane", "up")
        for chassis, slot in places:
            board = f"c{chassis}s{slot}"
            space = self._name(board)
            _ip("-n", switch, "link", "add", board, "type", "veth", "peer", "name", "eth2", "netns", space)
            _ip("-n", switch, "link", "set", board, "master", "backplane", "up")
            _ip("-n", space, "address", "add", f"{network}.{chassis}.{slot}/16", "dev", "eth2")
            _ip("-n", space, "link", "set", "eth2", "up")

    def drop_in(self, board: str, program: str, text: str) -> None:
        """Lay `text` over the board's configuration of ``server`` or ``agent``."""
        folder = self.directory / "out" / board / f"{program}.toml.d"
        folder.mkdir(exist_ok=True)
        (folder / f"{len(list(folder.iterdir()))}.toml").write_text(text)

    def address(self, chassis: int, slot: int) -> str:
        return f"fd66::{chassis}:{slot}" if self.multicast_group.startswith("[") else super().address(chassis, slot)

    def give(self, board: str, address: str, interface: str = "eth1") -> None:
        """Give the board's interface an address."""
        length = ["/64", "nodad"] if ":" in address else ["/16"]
        _ip("-n", self._name(board), "address", "add", address + length[0], "dev", interface, *length[1:])

    def take(self, board: str, address: str, interface: str = "eth1") -> None:
        """Take it away again."""
        length = "/64" if ":" in address else "/16"
        _ip("-n", self._name(board), "address", "delete", address + length, "dev", interface)

    def unplug_interface(self, board: str, interface: str = "eth1") -> None:
        """The interface itself vanishes, as a USB or hot-plugged one does."""
        _ip("-n", self._name(board), "link", "delete", interface)

    def plug_interface(self, board: str, address: str, interface: str = "eth1") -> None:
        """A new interface of that name, on the first backplane."""
        switch, space = self._name("switch"), self._name(board)
        _ip("-n", switch, "link", "add", board, "type", "veth", "peer", "name", interface, "netns", space)
        _ip("-n", switch, "link", "set", board, "master", "backplane", "up")
        _ip("-n", space, "link", "set", interface, "up")
        self.give(board, address, interface)

    def log_of(self, board: str, program: str = "agent") -> str:
        """What the program has written so far."""
        return (self.directory / f"{program}-{board}.log").read_text(errors="replace")

    def route(self, board: str, *route: str) -> None:
        """Add a route on the board's host."""
        _ip("-n", self._name(board), "route", "add", *route)

    def count(self, board: str, protocol: str, counter: str) -> int:
        """A counter of the board's kernel, by its name in /proc/net/snmp or /proc/net/snmp6."""
        file = "/proc/net/snmp6" if protocol == "Ip6" else "/proc/net/snmp"
        command = ["ip", "netns", "exec", self._name(board), "cat", file]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        lines = [line.split() for line in done.stdout.splitlines()]
        if protocol == "Ip6":
            return next(int(line[1]) for line in lines if line[0] == f"Ip6{counter}")
        names, values = (line for line in lines if line[0] == f"{protocol}:")
        return int(values[names.index(counter)])

    def cut(self, board: str) -> None:
        """Pull the board's cable."""
        _ip("-n", self._name("switch"), "link", "set", board, "down")

    def plug(self, board: str) -> None:
        _ip("-n", self._name("switch"), "link", "set", board, "up")

    def stop(self) -> None:
        super().stop()
        for space in self._spaces:
            subprocess.run(["ip", "netns", "delete", space], check=False, capture_output=True)

    def _name(self, board: str) -> str:
        return f"{self._mark}-{board}"

    def _space(self, board: str) -> str:
        space = self._name(board)
        _ip("netns", "add", space)
        self._spaces.append(space)
        return space


def need_namespaces() -> None:
    """Skip where no network namespaces can be made."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    if shutil.which("ip") is None:
        pytest.skip("network namespaces are made with the command ip, which is not installed")
    probe = f"bwprobe{uuid.uuid4().hex[:6]}"
    done = subprocess.run(["ip", "netns", "add", probe], check=False, capture_output=True, text=True)
    subprocess.run(["ip", "netns", "delete", probe], check=False, capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"this kernel or container gives no network namespaces: {done.stderr.strip()}")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True, timeout=10)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
