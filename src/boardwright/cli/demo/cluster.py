"""The demo's cluster: one folder, one process for every server and every agent, and nothing left of them.

Rules:

* Everything lies in one temporary folder; logs go to files there.
* Every process belongs to the group of the guard, which kills the group and removes the folder when this process
  ends for whatever reason. Ctrl-C on the terminal reaches the demo alone, which then stops the rest in order.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from boardwright.cli.demo import guard
from boardwright.cli.demo.place import DemoBoard, Place
from boardwright.cli.init import init
from boardwright.cli.programs import program
from boardwright.errors import FailedError

STOPPING = 3.0  # seconds for an orderly end; then SIGKILL
_REFETCHED = re.compile(r" refetched=(\d+)")
LOG_TAIL = 3  # lines of a dead program's log that go into the error


class DemoCluster:
    """A context, made in `folder`: the demo's own folder and the guard are there inside, and nothing is afterwards."""

    def __init__(self, place: Place, folder: Path, rate: str) -> None:
        self.place = place
        self._rate = rate
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._expected_dead: set[str] = set()
        self._kept = False
        self.directory = Path(tempfile.mkdtemp(prefix="boardwright-demo-", dir=folder))
        try:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, str(self.directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,  # a pipe behind the demo must end with it, even if the cluster is kept
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        self.logs.mkdir()

    @property
    def operator(self) -> Path:
        return self.directory / "cluster" / "operator"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def guard_process(self) -> int:
        """The process whose SIGTERM ends a cluster that was kept."""
        return self._guard.pid

    def prepare(self) -> None:
        """Write cluster.toml, let `init` make the folders, and cap the agents' downloads."""
        inventory = self.directory / "cluster.toml"
        inventory.write_text(_inventory(self.place, self.directory), encoding="utf-8")
        init(self.directory / "cluster", inventory)
        for board in self.place.boards:
            drop_in = self.directory / "cluster" / board.id / "agent.toml.d" / "demo.toml"
            drop_in.parent.mkdir()
            drop_in.write_text(f"[limits]\ndownload = {json.dumps(self._rate)}\n", encoding="utf-8")

    def start_server(self, board: DemoBoard) -> None:
        self._start("server", board)

    def start_agent(self, board: DemoBoard) -> None:
        self._start("agent", board)

    def kill_server(self, board: str) -> None:
        """End a server as a power cut would: no time for a last word."""
        name = f"server-{board}"
        self._expected_dead.add(name)
        self._processes[name].send_signal(signal.SIGKILL)
        self._processes[name].wait()

    def halt_server(self, board: str) -> None:
        self._processes[f"server-{board}"].send_signal(signal.SIGSTOP)

    def continue_server(self, board: str) -> None:
        self._processes[f"server-{board}"].send_signal(signal.SIGCONT)

    def agent_store(self, board: str) -> Path:
        """Where the board's agent keeps blobs on their way."""
        return home(self.directory, board) / "state" / "store"

    def refetched(self) -> int:
        """Bytes of verified pieces that agents fetched once more, as they say themselves."""
        logs = (path.read_text(errors="replace") for path in self.logs.glob("agent-*.log"))
        return sum(int(said) for log in logs for said in _REFETCHED.findall(log))

    def check(self) -> None:
        """Raise FailedError if a process ended that nobody killed."""
        for name, process in self._processes.items():
            code = process.poll()
            if code is not None and name not in self._expected_dead:
                tail = self._log(name).read_text(errors="replace").splitlines()[-LOG_TAIL:]
                said = ": " + " / ".join(tail) if tail else ""
                raise FailedError(f"{name} ended by itself with exit code {code}{said}")

    def keep(self) -> None:
        """Let everything run on after the demo, until the guard is told to end it."""
        self._kept = True

    def save_logs(self) -> Path:
        """Move the logs out of the folder, to where they stay."""
        saved = Path(tempfile.mkdtemp(prefix="boardwright-demo-logs-"))
        for path in self.logs.glob("*.log"):
            shutil.copy(path, saved)
        return saved

    def close(self) -> None:
        """Stop every process and remove the folder, unless it is kept."""
        assert self._guard.stdin is not None  # noqa: S101 - it was opened with a pipe
        if self._kept:
            os.write(self._guard.stdin.fileno(), guard.KEEP)
            self._guard.stdin.close()
            for process in (*self._processes.values(), self._guard):
                process.returncode = process.returncode or 0  # it runs on: no complaint that we leave it
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the second Ctrl-C must not leave half of it
        try:
            self._stop_agents()
            self._guard.stdin.close()
            self._guard.wait()
            for process in self._processes.values():
                process.wait()
            shutil.rmtree(self.directory, ignore_errors=True)
        finally:
            signal.signal(signal.SIGINT, before)

    def _stop_agents(self) -> None:
        """In order, because an agent takes its hooks and health checks along; the guard does the rest."""
        agents = [process for name, process in self._processes.items() if name.startswith("agent-")]
        for process in agents:
            process.terminate()
        end = time.monotonic() + STOPPING
        for process in agents:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))

    def _start(self, what: str, board: DemoBoard) -> None:
        name = f"{what}-{board.id}"
        config = self.directory / "cluster" / board.id / f"{what}.toml"
        with self._log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [program(f"boardwright-{what}"), "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=self._guard.pid,
            )

    def _log(self, name: str) -> Path:
        return self.logs / f"{name}.log"


def home(directory: Path, board: str) -> Path:
    """Where everything lies that a real board would have on its own disk."""
    return directory / "boards" / board


def _inventory(place: Place, directory: Path) -> str:
    multicast = f"{place.group[0]}:{place.group[1]}" if place.multicast else "none"
    lines = [
        "[cluster]",
        f"name = {json.dumps(place.name)}",
        f"engine = {json.dumps(f'sqlite:{directory}/state.db')}",
        f"multicast = {json.dumps(multicast)}",
        f"api_port = {place.port + 1}",
        f"blob_port = {place.port + 2}",
        f"relay_port = {place.port + 3}",
    ]
    if not place.multicast:
        lines.append(f"unicast = {json.dumps([f'{board.address}:{place.port}' for board in place.servers])}")
    for board in place.boards:
        disk = home(directory, board.id)
        lines += [
            "[[board]]",
            f"id = {json.dumps(board.id)}",
            f'chassis = "{board.chassis}"',
            f'slot = "{board.slot}"',
            f'type = "{board.type}"',
            f'address = "{board.address}"',
            f'interface = "{board.address}"',
            f"server = {json.dumps(board.server)}",
            'groups = ["platform"]',
            f"root = {json.dumps(str(disk / 'root'))}",
            f"state_dir = {json.dumps(str(disk / 'state'))}",
        ]
        if board.server:
            lines.append(f"data_dir = {json.dumps(str(disk / 'server'))}")
    return "\n".join(lines) + "\n"
