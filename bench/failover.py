"""What a server's death costs a board, and what memory large images take: the real programs on loopback.

Two servers and one line board in one chassis, from the folders that ``boardwright init`` writes. The board downloads an
image of `--size` MiB at a capped rate; in the middle its server is left alone, killed (SIGKILL) or halted (SIGSTOP), or
the agent itself is killed and started again. Seconds are the board's own, from the search to the confirmation; what was
verified and came again is what the agent counts; what a killed agent costs is what the servers granted. Then, without a
cap, an image of 64 MiB and one of `--large` MiB: the peak memory of the agent and of the servers.

``python -m bench.failover [--size 256] [--rounds 5] [--large 4096]`` prints one table; everything is bounded in time.
"""

import argparse
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.agent_idle import command, memory
from boardwright.cli.session import operator_lines
from boardwright.errors import BoardwrightError
from boardwright.model.api import BoardStatus
from boardwright.model.report import DeploymentState, GroupReport
from boardwright.net.api_client import ApiClient

MIB = 1024 * 1024
RATE = 64_000_000  # bytes per second: 256 MiB take about four seconds
WORKERS = 3  # of the agent (transfer/fetch.py)
LIMIT = 120.0  # seconds for any one step; a slow disk takes its time for 4 GiB
SERVERS = ("c1s1", "c1s2")
BOARD = "c1s3"
KINDS = ("undisturbed", "killed", "halted")
EXTRA = {"killed": 1.0, "halted": 3.0}  # seconds


class Lab:
    """The cluster in `directory`, one chassis; processes by board id."""

    def __init__(
        self,
        directory: Path,
        servers: tuple[str, ...] = SERVERS,
        boards: tuple[str, ...] = (BOARD,),
        engine: str = "",
    ) -> None:
        self.directory = directory
        self.servers = servers
        self.boards = boards
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        network, port = f"127.{random.randint(64, 250)}.1", random.randint(20000, 60000)
        entries = "".join(
            f'[[board]]\nid = "{board}"\nchassis = "1"\nslot = "{board[-1]}"\ntype = "rp"\n'
            f'address = "{network}.{board[-1]}"\nserver = {str(board in servers).lower()}\ngroups = ["image"]\n'
            f'root = "{directory}/{board}/root"\nstate_dir = "{directory}/{board}/state"\n'
            f'data_dir = "{directory}/{board}/data"\n'
            for board in (*servers, *boards)
        )
        inventory = directory / "cluster.toml"
        inventory.write_text(
            f'[cluster]\nname = "bench{port}"\ninterface = "lo"\nmulticast = "239.255.66.87:{port}"\n'
            f'engine = "{engine or f"sqlite:{directory}/state.db"}"\n{entries}'
        )
        self.folders = directory / "out"
        command("boardwright", "init", self.folders, "--inventory", inventory)
        self._name = f"bench{port}"
        self._bases = [f"https://{network}.{server[-1]}:6688" for server in servers]
        self.client = self.new_client()

    def new_client(self) -> ApiClient:
        """As a command makes it that has just begun."""
        return ApiClient.of(self._bases, operator_lines(self.folders / "operator", self._name), self._name)

    def cap(self, rate: int) -> None:
        for board in self.boards:
            dropins = self.folders / board / "agent.toml.d"
            dropins.mkdir(exist_ok=True)
            (dropins / "rate.toml").write_text(f'[limits]\ndownload = "{rate}B/s"\n' if rate else "")

    def start(self, board: str, kind: str) -> None:
        config = self.folders / board / f"{kind}.toml"
        with (self.directory / f"{board}.log").open("ab") as log:
            self.processes[board] = subprocess.Popen(
                [Path(sys.executable).parent / f"boardwright-{kind}", "--config", config], stdout=log, stderr=log
            )

    def stop(self, board: str) -> None:
        process = self.processes.pop(board)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def granted(self) -> int:
        """Bytes that all servers have granted; while nobody downloads, the active hears of them twice a second."""
        seen: list[int] = []

        def settled() -> bool:
            seen.append(sum(server.bytes_served for server in self.client.servers().servers))
            return len(seen) > 30 and len(set(seen[-30:])) == 1

        until("the servers' counts settle", settled)
        return seen[-1]

    def refetched(self) -> int:
        """Bytes of verified pieces that came again, over all downloads, as the agent counts them."""
        found = [re.findall(r" refetched=(\d+)", (self.directory / f"{one}.log").read_text()) for one in self.boards]
        if not all(found):
            raise SystemExit("an agent's log says nothing of its downloads")
        return sum(int(count) for counts in found for count in counts)

    def board(self, board: str = BOARD) -> BoardStatus:
        return self.client.boards(board).boards[0]

    def group(self, board: str = BOARD) -> GroupReport:
        return self.board(board).groups.get("image", GroupReport())

    def ready(self, version: str = "") -> bool:
        """Whether all servers are healthy and hold `version`."""
        found = self.client.servers().servers
        return len(found) == len(self.servers) and all(
            server.health == "healthy" and (not version or f"image {version} *" in server.versions) for server in found
        )

    def publish(self, version: str, size: int) -> None:
        image = self.directory / "image"
        block = os.urandom(MIB)
        with image.open("wb") as file:
            for index in range(size):
                file.write(index.to_bytes(8, "big") + block[8:])
        operator = ("--operator", self.folders / "operator")
        command("boardwright", "publish", image, "--group", "image", "--version", version, *operator)
        image.unlink()
        until(f"all servers hold {version}", lambda: self.ready(version))

    def deploy(self, version: str) -> None:
        to = [word for board in self.boards for word in ("--to", board)]
        command("boardwright", "deploy", "image", version, *to, "--operator", self.folders / "operator")

    def confirmed(self, version: str, board: str = BOARD) -> GroupReport:
        def done() -> bool:
            group = self.group(board)
            return group.version == version and group.state is DeploymentState.CONFIRMED

        until(f"{version} confirmed", done)
        return self.group(board)


@contextmanager
def lab() -> Iterator[Lab]:
    directory = Path(tempfile.mkdtemp(prefix="boardwright-bench-"))
    try:
        with running(Lab(directory), RATE) as made:
            yield made
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def running(made: Lab, rate: int) -> Iterator[Lab]:
    """Every program of it, the boards' downloads capped at `rate` bytes per second."""
    with ExitStack() as undo:
        undo.callback(lambda: [made.stop(board) for board in list(made.processes)])
        made.cap(rate)
        for server in made.servers:
            made.start(server, "server")
        for board in made.boards:
            made.start(board, "agent")
        until("all servers healthy", made.ready)
        yield made


def until(what: str, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while True:
        try:
            if condition():
                return
        except BoardwrightError:
            pass  # while the active changes
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not within {LIMIT:g} s")
        time.sleep(0.05)


def begin(made: Lab, version: str, size: int) -> str:
    """Deploy a version; the id of the board's server when a third of the download is there."""
    made.deploy(version)

    def under_way() -> bool:
        group = made.group()
        return (
            group.wanted == version
            and group.state is DeploymentState.DOWNLOADING
            and sum(group.bytes.values()) > size * MIB / 3
        )

    until("a third of the download", under_way)
    source = made.group().server
    assert source is not None
    return source.id


def disturbed(made: Lab, kind: str, version: str, size: int) -> tuple[float, int]:
    """Seconds of one deployment, and bytes that came in beyond the version's own."""
    made.publish(version, size)
    server = begin(made, version, size)
    if kind != "undisturbed":
        made.processes[server].send_signal(signal.SIGKILL if kind == "killed" else signal.SIGSTOP)
    done = made.confirmed(version)
    if (done.failovers > 0) != (kind != "undisturbed"):
        raise SystemExit(f"{version}: {done.failovers} failovers")
    if kind == "killed":
        made.processes[server].wait()
        made.start(server, "server")
    elif kind == "halted":
        made.processes[server].send_signal(signal.SIGCONT)
    until("both servers healthy again", made.ready)
    return done.seconds, sum(done.bytes.values()) - done.total


def agent_killed(made: Lab, version: str, size: int) -> int:
    """Bytes that the servers granted beyond the version's own."""
    made.publish(version, size)
    before = made.granted()  # the servers have copied it from each other
    begin(made, version, size)
    agent = made.processes.pop(BOARD)
    agent.kill()
    agent.wait()
    made.start(BOARD, "agent")
    made.confirmed(version)
    return made.granted() - before - size * MIB


def peaks(made: Lab, large: int) -> tuple[dict[int, float], float]:
    """Peak MiB of an agent by image size in MiB, and the largest of a server."""
    made.cap(0)
    agent = {}
    for size in (64, large):
        made.stop(BOARD)
        made.start(BOARD, "agent")
        made.publish(f"size-{size}", size)
        made.deploy(f"size-{size}")
        made.confirmed(f"size-{size}")
        agent[size] = memory(made.processes[BOARD].pid, "VmHWM")
    return agent, max(memory(made.processes[server].pid, "VmHWM") for server in SERVERS)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench.failover")
    parser.add_argument("--size", type=int, default=256, help="MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", type=int, default=4096, help="MiB")
    options = parser.parse_args(arguments)
    need = (5 * options.large + 4 * options.size * (len(KINDS) + 1) * options.rounds) * MIB
    if shutil.disk_usage(tempfile.gettempdir()).free < need:
        print(f"{tempfile.gettempdir()} needs {need // MIB} MiB free; set TMPDIR", file=sys.stderr)
        return 2
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    beyond, again = 0, []
    with lab() as made:
        for number in range(options.rounds):
            for kind in KINDS:
                took, more = disturbed(made, kind, f"{kind}-{number}", options.size)
                seconds[kind].append(took)
                beyond = max(beyond, more)
            again.append(agent_killed(made, f"agent-{number}", options.size))
        refetched = made.refetched()
        agent, server = peaks(made, options.large)
    base = statistics.median(seconds["undisturbed"])
    rows = [(f"{options.size} MiB, undisturbed, median of {options.rounds}", f"{base:.2f} s", "", True)]
    for kind, limit in EXTRA.items():
        extra = statistics.median(seconds[kind]) - base
        rows.append((f"server {kind} in mid-download, extra", f"{extra:+.2f} s", f"<= {limit:g} s", extra <= limit))
    rows.append(("verified bytes that came again, in all downloads", f"{refetched}", "0", refetched == 0))
    # A piece that was half received in each worker comes again from the next server.
    rows.append((
        "bytes received beyond the version's, worst",
        f"{beyond / MIB:.2f} MiB", f"< {WORKERS} MiB", beyond < WORKERS * MIB,
    ))  # fmt: skip
    # A dead agent has lost the pieces that were half received; the manifest is counted here, too. The rest of a range
    # on its way is lost as well, but with a cap it is on its way for a small part of the time: hence the median.
    lost = statistics.median(again)
    what = f"agent killed and started again, granted beyond the version's, median of {options.rounds}"
    rows.append((what, f"{lost / MIB:.2f} MiB", f"< {WORKERS} MiB", lost < WORKERS * MIB))
    for size, peak in agent.items():
        rows.append((f"agent, peak with an image of {size} MiB", f"{peak:.1f} MiB", "<= 80 MiB", peak <= 80))
    rows.append(("server, peak of all this", f"{server:.1f} MiB", "<= 112 MiB", server <= 112))
    print("| what | measured | target | met |\n|---|---|---|---|")
    for what, value, target, met in rows:
        print(f"| {what} | {value} | {target} | {('yes' if met else '**no**') if target else ''} |")
    return 0 if all(met for *_, met in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
