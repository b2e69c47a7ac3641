"""An agent that has nothing to do: resident memory and CPU over a minute (design section 6).

A server and an agent run on loopback from the folders that ``boardwright init`` writes; the agent deploys a version of
`--files` small files, then idles. ``python -m bench.agent_idle [--seconds 60] [--files 2000]`` prints one table.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

RSS_TARGET = 54.0  # MiB idle
PEAK_TARGET = 80.0  # MiB
CPU_TARGET = 0.5  # per cent of a core
START_LIMIT = 30.0  # seconds for whatever must come up


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench.agent_idle")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--files", type=int, default=2000)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="boardwright-bench-") as name:
        rss, peak, cpu = measure(Path(name), options.seconds, options.files)
    rows = [
        ("resident, idle", f"{rss:.1f} MiB", f"<= {RSS_TARGET:g} MiB", rss <= RSS_TARGET),
        ("resident, peak of the deployment", f"{peak:.1f} MiB", f"<= {PEAK_TARGET:g} MiB", peak <= PEAK_TARGET),
        ("CPU, idle", f"{cpu:.2f} %", f"< {CPU_TARGET:g} %", cpu < CPU_TARGET),
    ]
    print("| agent | measured | target | met |\n|---|---|---|---|")
    for what, value, target, met in rows:
        print(f"| {what} | {value} | {target} | {'yes' if met else 'NO'} |")
    return 0 if all(met for *_, met in rows) else 1


def measure(directory: Path, seconds: float, files: int) -> tuple[float, float, float]:
    """Resident MiB idle and at most, CPU in per cent of a core."""
    folder = directory / "out"
    inventory = directory / "cluster.toml"
    inventory.write_text(_inventory(directory))
    command("boardwright", "init", folder, "--inventory", inventory)
    software = directory / "software"
    software.mkdir()
    for index in range(files):
        (software / f"f{index}").write_bytes(index.to_bytes(4, "big") * 1000)
    operator = ("--operator", folder / "operator")
    with program("boardwright-server", folder / "c1s1" / "server.toml") as server:
        until(server, lambda: command("boardwright", "servers", *operator, check=False) == 0)
        command("boardwright", "publish", software, "--group", "platform", "--version", "1", *operator)
        command("boardwright", "deploy", "platform", "1", *operator)
        with program("boardwright-agent", folder / "c1s2" / "agent.toml") as agent:
            until(agent, (directory / "root" / "platform" / "current").exists)
            time.sleep(5)  # confirmed, collected, the last report delivered
            before, begun = cpu_seconds(agent.pid), time.monotonic()
            time.sleep(seconds)
            cpu = (cpu_seconds(agent.pid) - before) / (time.monotonic() - begun) * 100
            return memory(agent.pid, "VmRSS"), memory(agent.pid, "VmHWM"), cpu


def _inventory(directory: Path) -> str:
    network = f"127.{random.randint(64, 250)}.1"
    head = f"""[cluster]
name = "bench"
interface = "lo"
multicast = "239.255.66.87:{random.randint(20000, 60000)}"
engine = "sqlite:{directory}/state.db"
"""
    return head + "".join(
        f"""[[board]]
id = "c1s{slot}"
chassis = "1"
slot = "{slot}"
type = "lc"
address = "{network}.{slot}"
server = {"true" if slot == 1 else "false"}
groups = ["platform"]
root = "{directory}/{"server-root" if slot == 1 else "root"}"
state_dir = "{directory}/state{slot}"
{f'data_dir = "{directory}/data"' if slot == 1 else ""}
"""
        for slot in (1, 2)
    )


def argv(name: str) -> list[str]:
    """The program `name` of this environment."""
    module = {
        "boardwright": "boardwright.cli.program",
        "boardwright-server": "boardwright.server.program",
        "boardwright-agent": "boardwright.agent.program",
    }[name]
    return [sys.executable, "-c", f"from {module} import main; main()"]


def command(name: str, *arguments: object, check: bool = True) -> int:
    line = [*argv(name), *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=START_LIMIT, check=False)
    if check and done.returncode:
        raise SystemExit(f"{name} {arguments[0]} ended with {done.returncode}: {done.stderr}")
    return done.returncode


@contextmanager
def program(name: str, config: Path) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([*argv(name), "--config", str(config)], stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def until(process: "subprocess.Popen[bytes]", condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + START_LIMIT
    while not condition():
        if process.poll() is not None or time.monotonic() > limit:
            raise SystemExit("a program did not come up")
        time.sleep(0.1)


def memory(pid: int, figure: str) -> float:
    """MiB of `figure` in /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(figure)) / 1024


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
