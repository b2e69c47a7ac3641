"""What people use today, in the same lab: nginx and curl, udpcast, libtorrent.

Rules:

* Every program is started before the round and waits for a line on its input: nobody pays for being started.
* A board is done when its bytes are verified: sha256sum, or libtorrent's own check.
* None speaks TLS, which costs Boardwright some of its time.
"""

import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import _installing
from bench.lab.contender import Cost, Lab, Payload
from bench.lab.programs import LabError
from bench.lab.settings import Setting
from bench.lab.shape import Host

WATCH = 0.005  # seconds between looks at who has ended
PORTS = {"nginx": 8080, "nearest": 8081}
TORRENT_PORT = 6881
PIECE = 256 * 1024  # bytes; what is usual for this size and above
NGINX = """
worker_processes 1; master_process off; daemon off; user root; pid {place}/nginx.pid; error_log {place}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on;
  client_body_temp_path {place}; proxy_temp_path {place}; fastcgi_temp_path {place}; uwsgi_temp_path {place};
  scgi_temp_path {place};
  server {{ listen {address}:{port}; root {root}; }}
}}
"""


def holders(setting: Setting) -> list[Host]:
    """Control boards that have the bytes at the start."""
    return [host for host in setting.shape.servers if setting.holders == "all" or host.chassis == 1]


def nearest(setting: Setting) -> dict[str, Host]:
    """By line board a control board that has the bytes: of its own chassis if there is one, in turn."""
    found, having = {}, holders(setting)
    for host in setting.shape.line_boards:
        near = [server for server in having if server.chassis == host.chassis] or having
        found[host.id] = near[host.slot % len(near)]
    return found


def one(setting: Setting) -> dict[str, Host]:
    """By line board always the same control board."""
    return {host.id: setting.shape.servers[0] for host in setting.shape.line_boards}


class Shells:
    """A shell on every board, all of which begin at one word."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab, self._name = lab, name
        self._shells: dict[str, subprocess.Popen[bytes]] = {}

    def place(self, board: str) -> Path:
        """The board's own directory."""
        place = self._lab.directory / "peers" / board
        place.mkdir(parents=True, exist_ok=True)
        return place

    def load(self, scripts: Mapping[str, str]) -> None:
        """By board what it does in its directory at the word."""
        for board, script in scripts.items():
            words = ["sh", "-ec", f"cd {self.place(board)}; read word; {script}"]
            self._shells[board] = self._lab.programs.talk(f"{self._name}-{board}", board, words)

    def go(self) -> float:
        """Seconds until the last has ended well."""
        begun = time.monotonic()
        for shell in self._shells.values():
            assert shell.stdin is not None
            shell.stdin.write(b"go\n")
        left = dict(self._shells)
        while left:
            for board, code in [(board, shell.poll()) for board, shell in left.items()]:
                if code:
                    raise LabError(f"{self._name} on {board} ended with {code}{self._told(board)}")
                if code == 0:
                    del left[board]
            if time.monotonic() - begun > self._lab.limit:
                raise LabError(f"{self._name} on {', '.join(left)}: not done within {self._lab.limit:.0f} s")
            time.sleep(WATCH)
        return time.monotonic() - begun

    def clear(self) -> None:
        for board in self._shells:
            self._lab.programs.kill(f"{self._name}-{board}")
            for file in self.place(board).iterdir():
                file.unlink()
        self._shells.clear()

    def _told(self, board: str) -> str:
        return self._lab.programs.told(f"{self._name}-{board}")


class Downloads:
    """nginx on control boards, curl and sha256sum on every line board; `spread` picks each board's nginx."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._spread = {"nginx": one, "nearest": nearest}[name]

    def missing(self) -> str:
        there = _installing.program("nginx", "nginx-light") and _installing.program("curl", "curl")
        return "" if there else "nginx or curl is not installed, and apt-get could not do it"

    def open(self, lab: Lab) -> None:
        self._lab, self._shells = lab, Shells(lab, self.name)
        self._sources = self._spread(lab.setting)
        self._root = lab.directory / f"{self.name}-root"
        self._root.mkdir()
        self._servers = sorted({host.id for host in self._sources.values()})
        addresses = {host.id: host.address for host in self._sources.values()}
        for server in self._servers:
            place = lab.directory / f"{self.name}-{server}"
            place.mkdir()
            told = {"address": addresses[server], "port": PORTS[self.name], "place": place, "root": self._root}
            (place / "nginx.conf").write_text(NGINX.format(**told))
            words = ["nginx", "-c", place / "nginx.conf", "-p", place]
            lab.programs.start(f"{self.name}-server-{server}", server, words)

    def prepare(self, payload: Payload) -> None:
        os.link(payload.path, self._root / "file")
        self._shells.load(
            {
                board: f"curl -sf --retry 5 --retry-connrefused -o file http://{host.address}:{PORTS[self.name]}/file; "
                f"echo {payload.sha256} ' file' | sha256sum -c --status"
                for board, host in self._sources.items()
            }
        )
        time.sleep(0.3)  # until all shells wait

    def run(self) -> float:
        return self._shells.go()

    def cost(self) -> Cost:
        servers = self._lab.programs.cpu(f"{self.name}-server-{server}" for server in self._servers)
        return Cost(_of_children(), servers)

    def finish(self) -> dict[str, float]:
        (self._root / "file").unlink()
        self._shells.clear()
        return {}

    def figures(self) -> dict[str, float]:
        return {}


class Udpcast:
    """udp-sender on the first control board, udp-receiver and sha256sum on every line board.

    By itself it waits two seconds between looks for receivers and half a second at the end; `tuned` it does not.
    """

    def __init__(self, name: str, *, tuned: bool) -> None:
        self.name = name
        self._waits = (" --rexmit-hello-interval 100", " --exit-wait 1") if tuned else ("", "")

    def missing(self) -> str:
        there = _installing.program("udp-sender", "udpcast")
        return "" if there else "udpcast is not installed, and apt-get could not do it"

    def open(self, lab: Lab) -> None:
        self._lab, self._shells = lab, Shells(lab, self.name)
        self._boards = [host.id for host in lab.setting.shape.line_boards]
        self._sender = lab.setting.shape.servers[0].id

    def prepare(self, payload: Payload) -> None:
        receive = "udp-receiver --nokbd --no-progress --nosync --interface eth1 --file file" + self._waits[1]
        check = f"echo {payload.sha256} ' file' | sha256sum -c --status"
        self._shells.load(dict.fromkeys(self._boards, f"{receive} >/dev/null; {check}"))
        send = (
            f"udp-sender --nokbd --no-progress --interface eth1 --full-duplex --min-receivers {len(self._boards)} "
            f"--file {payload.path}{self._waits[0]}"
        )
        self._words = self._lab.programs.talk("udpcast-sender", self._sender, ["sh", "-c", f"read word; exec {send}"])
        time.sleep(0.3)  # until all shells wait

    def run(self) -> float:
        assert self._words.stdin is not None
        self._words.stdin.write(b"go\n")
        return self._shells.go()

    def cost(self) -> Cost:
        return Cost(_of_children(), self._lab.programs.cpu(["udpcast-sender"]))

    def finish(self) -> dict[str, float]:
        self._lab.programs.kill("udpcast-sender")
        self._shells.clear()
        return {}

    def figures(self) -> dict[str, float]:
        return {}


class Torrent:
    """libtorrent, without a tracker: everybody is told of everybody. The control boards are the seeds."""

    name = "libtorrent"

    def missing(self) -> str:
        there = _installing.module("libtorrent", "libtorrent>=2.1")  # with the API that _torrent.py uses
        return "" if there else "the module libtorrent is not installed, and pip could not do it"

    def open(self, lab: Lab) -> None:
        self._lab = lab
        self._seeds = holders(lab.setting)
        self._boards = lab.setting.shape.line_boards
        self._talking: dict[str, subprocess.Popen[bytes]] = {}

    def prepare(self, payload: Payload) -> None:
        place = self._lab.directory / "peers"
        place.mkdir(exist_ok=True)
        torrent = place / "torrent"
        peers = ",".join(host.address for host in (*self._seeds, *self._boards))
        module = Path(__file__).with_name("_torrent.py")
        made = [sys.executable, module, "make", payload.path, torrent, PIECE]
        subprocess.run(list(map(str, made)), check=True, timeout=60)
        for host in (*self._seeds, *self._boards):
            role, folder = ("seed", payload.path.parent) if host in self._seeds else ("board", place / host.id)
            folder.mkdir(exist_ok=True)
            words = [sys.executable, module, role, torrent, folder, host.address, TORRENT_PORT, peers]
            self._talking[host.id] = self._lab.programs.talk(_torrent(host), host.id, words)
        self._hear("ready", [host.id for host in (*self._seeds, *self._boards)])

    def run(self) -> float:
        begun = time.monotonic()
        for host in self._boards:
            stdin = self._talking[host.id].stdin
            assert stdin is not None
            stdin.write(b"go\n")
        self._hear("done", [host.id for host in self._boards])
        return time.monotonic() - begun

    def cost(self) -> Cost:
        cpu = self._lab.programs.cpu
        return Cost(cpu(map(_torrent, self._boards)), cpu(map(_torrent, self._seeds)))

    def finish(self) -> dict[str, float]:
        self._lab.programs.kill(*map(_torrent, (*self._seeds, *self._boards)))
        self._talking.clear()
        for host in self._boards:
            for file in (self._lab.directory / "peers" / host.id).iterdir():
                file.unlink()
        return {}

    def figures(self) -> dict[str, float]:
        return {}

    def _hear(self, word: str, hosts: Sequence[str]) -> None:
        """Wait until all have said it."""
        end = time.monotonic() + self._lab.limit
        pipes = {self._talking[host].stdout: host for host in hosts}
        while pipes:
            ready, _, _ = select.select(list(pipes), [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise LabError(f"libtorrent on {', '.join(pipes.values())}: not {word} within {self._lab.limit:.0f} s")
            for pipe in ready:
                host = pipes.pop(pipe)
                assert pipe is not None
                if pipe.readline().strip() != word.encode():
                    raise LabError(f"libtorrent on {host} ended{self._lab.programs.told(f'libtorrent-{host}')}")


def _torrent(host: Host) -> str:
    return f"libtorrent-{host.id}"


def _of_children() -> float:
    """Seconds of CPU of everything that has ended and was waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
