"""A real cluster on loopback, driven only by the documented commands and files."""

import functools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import urllib3

from boardwright.cli.session import operator_lines

BIN = Path(sys.executable).parent
TIMEOUT = 60.0  # seconds that a slow machine may take for any one expectation


class Cluster:
    """Boards as (id, chassis, slot, server) on addresses of their own; every process is stopped at the end."""

    def __init__(self, directory: Path, engine: str = "") -> None:
        self.directory = directory
        self.engine = engine or f"sqlite:{directory}/state.db"
        self.network, self._claim = claim_network()
        self.port = random.randint(20000, 60000)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.boards: list[str] = []
        self.heard: list[bytes] = []  # datagrams of the multicast group, where a test listened

    def address(self, chassis: int, slot: int) -> str:
        return f"{self.network}.{chassis}.{slot}"

    def inventory(self, places: Sequence[tuple[int, int, bool]], *, groups: Sequence[str] = ("platform",)) -> Path:
        text = [
            "[cluster]",
            f'name = "test{self.port}"',
            'interface = "lo"',
            f'multicast = "239.255.66.87:{self.port}"',
            f'engine = "{self.engine}"',
        ]
        for chassis, slot, server in places:
            board = f"c{chassis}s{slot}"
            self.boards.append(board)
            text += [
                "[[board]]",
                f'id = "{board}"',
                f'chassis = "{chassis}"',
                f'slot = "{slot}"',
                f'type = "{"rp" if server else "lc"}"',
                f'address = "{self.address(chassis, slot)}"',
                f"server = {str(server).lower()}",
                f"groups = {json.dumps(list(groups))}",
                f'root = "{self.directory}/boards/{board}/root"',
                f'state_dir = "{self.directory}/boards/{board}/state"',
                f'data_dir = "{self.directory}/boards/{board}/data"',
            ]
        path = self.directory / "cluster.toml"
        path.write_text("\n".join(text) + "\n")
        return path

    def init(self, places: Sequence[tuple[int, int, bool]], *, groups: Sequence[str] = ("platform",)) -> None:
        inventory = self.inventory(places, groups=groups)
        done = self.run("init", str(self.directory / "out"), "--inventory", str(inventory), operator=False)
        assert done.returncode == 0, done.stderr

    def run(self, *arguments: str, operator: bool = True) -> subprocess.CompletedProcess[str]:
        return self.execute([str(BIN / "boardwright"), *arguments], operator=operator)

    def execute(self, command: Sequence[str], *, operator: bool) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HOME": str(self.directory)}
        if operator:
            environment["BOARDWRIGHT_OPERATOR"] = str(self.directory / "out" / "operator")
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env=environment, check=False)

    @functools.cached_property
    def http(self) -> urllib3.PoolManager:
        """What speaks to the servers as the operator."""
        return operator_lines(self.directory / "out" / "operator", f"test{self.port}").manager(retries=False)

    def read(self, *arguments: str) -> Any:
        done = self.run(*arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, program: str, board: str) -> subprocess.Popen[bytes]:
        """Start ``boardwright server`` or ``boardwright agent`` of a board from its folder."""
        log = (self.directory / f"{program}-{board}.log").open("ab")
        process = subprocess.Popen(
            self.command(program, board),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
        log.close()
        self.processes[f"{program}-{board}"] = process
        return process

    def command(self, program: str, board: str) -> list[str]:
        config = self.directory / "out" / board / f"{program}.toml"
        return [str(BIN / "boardwright"), program, "--config", str(config)]

    def start_servers(self, *boards: str) -> None:
        for board in boards:
            self.start("server", board)
        self.until("an active server", lambda: self.run("status").returncode == 0)
        self.until("all servers healthy", lambda: self.healthy() >= set(boards))

    def start_servers_only(self, *boards: str) -> None:
        """Start servers that cannot be healthy yet; until each answers."""
        for board in boards:
            self.start("server", board)
        for board in boards:
            self.until_answers(board)

    def until_answers(self, board: str) -> None:
        """Until this very server answers for itself."""
        _, chassis, slot = board.replace("c", " ").replace("s", " ").split(" ")

        def answers() -> bool:
            try:
                with socket.create_connection((self.address(int(chassis), int(slot)), 6688), 1):
                    return True
            except OSError:
                return False

        self.until(f"server {board} listens", answers)

    def serves(self, board: str) -> bool:
        """Whether this very server answers on its blob port."""
        _, chassis, slot = board.replace("c", " ").replace("s", " ").split(" ")
        try:
            with socket.create_connection((self.address(int(chassis), int(slot)), 6689), 1):
                return True
        except OSError:
            return False

    def healthy(self) -> set[str]:
        done = self.run("servers", "-o", "json")
        if done.returncode != 0:
            return set()
        return {server["id"] for server in json.loads(done.stdout)["servers"] if server["health"] == "healthy"}

    def start_agents(self, *boards: str) -> None:
        for board in boards:
            self.start("agent", board)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        self.processes[name].send_signal(number)

    def group(self, board: str, group: str = "platform") -> dict[str, Any]:
        for entry in self.read("boards")["boards"]:
            if entry["id"] == board:
                return dict(entry["groups"].get(group) or {})
        return {}

    def until(self, what: str, condition: Callable[[], bool], timeout: float = TIMEOUT) -> None:
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"{what} did not come true in {timeout:.0f} s\n{self.logs()}"
            time.sleep(0.1)

    def until_confirmed(self, version: str, *boards: str, group: str = "platform") -> None:
        def confirmed() -> bool:
            seen = {entry["id"]: entry["groups"].get(group) or {} for entry in self.read("boards")["boards"]}
            return all(
                seen.get(board, {}).get("version") == version and seen[board].get("state") == "confirmed"
                for board in boards
            )

        self.until(f"{group} {version} confirmed on {', '.join(boards)}", confirmed)

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:])
            for path in sorted(self.directory.glob("*.log"))
        )

    def stop(self) -> None:
        """Kill whatever runs: how programs end in order has tests of its own, and a second each is many minutes."""
        self._claim.close()
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()


def claim_network() -> tuple[str, socket.socket]:
    """A part of 127/8 that no other test run uses; the socket holds the claim."""
    while True:
        network = f"127.{random.randint(64, 250)}"
        claim = socket.socket()
        try:
            claim.bind((f"{network}.255.254", 6688))
        except OSError:
            claim.close()
        else:
            return network, claim
