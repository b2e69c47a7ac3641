"""The program itself: exit codes, signals, the lock, and a power cut in the middle."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from boardwright.model.software import InstallSpec
from tests.integration.agent.lab import BOARD, CLUSTER, IDENTITIES, LabServer, Software, plan, servers

BIG = os.urandom(1024) * 1024 * 24  # 24 MiB: three ranges
SECONDS = 20.0  # how long a test waits for what must come


def config(tmp_path: Path, *made: LabServer) -> Path:
    path = tmp_path / "agent.toml"
    IDENTITIES.write(tmp_path, BOARD)
    addresses = ", ".join(f'"{host}:{port}"' for host, port in (server.address for server in made))
    path.write_text(f"""
[cluster]
name = "{CLUSTER}"
trust = "trust"
interface = "127.0.0.1"
multicast = "239.255.66.87:{_unused_port()}"
servers = [{addresses}]
[board]
id = "c1s3"
chassis = "1"
slot = "3"
type = "lc-100g"
groups = ["platform"]
[agent]
root = "root"
state_dir = "state"
""")
    return path


def _unused_port() -> int:
    return 20000 + os.getpid() % 10000


@asynccontextmanager
async def answering(*made: LabServer) -> AsyncIterator[None]:
    for server in made:
        await server.open()
    try:
        yield
    finally:
        for server in made:
            server.control.close()


async def start(path: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "boardwright.agent.program", "--config", str(path), *arguments,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def end(process: asyncio.subprocess.Process) -> tuple[int, str]:
    async with asyncio.timeout(SECONDS):
        _, error = await process.communicate()
    assert process.returncode is not None
    return process.returncode, error.decode()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - other processes tell nobody
            await asyncio.sleep(0.01)


async def once(path: Path) -> tuple[int, str]:
    return await end(await start(path, "--once"))


def current(tmp_path: Path) -> Path:
    return tmp_path / "root" / "platform" / "current"


def software(version: str, hook: bytes = b"#!/bin/sh\n") -> Software:
    files = {"image": BIG, "bin/check": hook, "motd": version.encode()}
    return Software(version, files, install=InstallSpec(before=("bin/check",)))


def test_exit_codes_say_how_a_cycle_ended(tmp_path: Path) -> None:
    async def main(server: LabServer) -> None:
        async with answering(server):
            path = config(tmp_path, server)
            plan(1, software("1"), on=(server,))
            code, error = await once(path)
            assert code == 0, error
            assert (current(tmp_path) / "motd").read_text() == "1"
            plan(2, software("2", b"#!/bin/sh\nexit 1\n"), on=(server,))
            code, error = await once(path)
            assert code == 1
            assert "vetoed 2" in error.splitlines()[-1]

    with servers(LabServer("c1s1", "1", "1")) as (server,):
        asyncio.run(main(server))


def test_a_board_that_sits_elsewhere_than_its_certificate_says_downloads_and_activates_nothing(tmp_path: Path) -> None:
    async def main(server: LabServer) -> None:
        async with answering(server):
            path = config(tmp_path, server)
            right = path.read_text()
            plan(1, software("1"), on=(server,))
            path.write_text(right.replace('slot = "3"', 'slot = "4"'))
            code, error = await once(path)
            assert code == 1
            assert "location-conflict: its configuration says 1/4, its certificate 1/3" in error.splitlines()[-1]
            assert not current(tmp_path).exists()
            fetched = sum(server.sent.values())
            assert fetched >= len(BIG)
            path.write_text(right)
            code, error = await once(path)
            assert code == 0, error
            assert (current(tmp_path) / "motd").read_text() == "1"
            assert sum(server.sent.values()) == fetched

    with servers(LabServer("c1s1", "1", "1")) as (server,):
        asyncio.run(main(server))


def test_a_configuration_that_is_wrong_ends_with_2_and_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text("[board]\nid = 7\n")
    argv = [sys.executable, "-m", "boardwright.agent.program", "--config", str(path)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"boardwright-agent: {path}")


def test_a_second_agent_on_the_same_state_is_refused_and_a_stale_lock_is_no_obstacle(tmp_path: Path) -> None:
    async def main(server: LabServer) -> None:
        async with answering(server):
            path = config(tmp_path, server)
            plan(1, software("1"), on=(server,))
            first = await start(path)
            await until(current(tmp_path).exists)
            code, error = await once(path)
            assert code == 3
            assert f"another agent runs on the state directory {tmp_path / 'state'}" in error
            first.kill()
            await end(first)
            code, error = await once(path)
            assert code == 0, error

    with servers(LabServer("c1s1", "1", "1")) as (server,):
        asyncio.run(main(server))


def verified_pieces(store: Path) -> int:
    """What the maps of partial blobs say, behind their first 64 bytes (transfer/partial.py)."""
    return sum(path.read_bytes()[64:].count(1) for path in store.rglob("*.map"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order_and_quickly(tmp_path: Path, number: signal.Signals) -> None:
    async def main(server: LabServer) -> None:
        async with answering(server):
            plan(1, software("1"), on=(server,))
            process = await start(config(tmp_path, server))
            await until(lambda: bool(server.reports) and server.reports[-1].groups["platform"].version == "1")
            begun = time.monotonic()
            process.send_signal(number)
            code, _ = await end(process)
            assert code == 0
            assert time.monotonic() - begun < 2.0

    with servers(LabServer("c1s1", "1", "1")) as (server,):
        asyncio.run(main(server))


def test_a_hook_under_way_does_not_hold_it_and_the_next_start_goes_on(tmp_path: Path) -> None:
    hook = f"#!/bin/sh\ntest -e {tmp_path}/again && exit 0\ntouch {tmp_path}/hook\nsleep 1000\n".encode()

    async def main(server: LabServer) -> None:
        async with answering(server):
            path = config(tmp_path, server)
            plan(1, software("1", hook), on=(server,))
            process = await start(path)
            await until((tmp_path / "hook").exists)
            begun = time.monotonic()
            process.terminate()
            code, _ = await end(process)
            assert code == 0
            assert time.monotonic() - begun < 2.0
            (tmp_path / "again").touch()
            server.served.clear()
            code, error = await once(path)
            assert code == 0, error
            assert server.served == []
            assert (current(tmp_path) / "motd").read_text() == "1"

    with servers(LabServer("c1s1", "1", "1")) as (server,):
        asyncio.run(main(server))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_download_that_was_cut_off_goes_on_where_it_stopped(tmp_path: Path, number: signal.Signals) -> None:
    """M3: what was verified is not fetched again, not after a crash either."""

    async def main(server: LabServer) -> None:
        async with answering(server):
            path = config(tmp_path, server)
            version = software("1")
            plan(1, version, on=(server,))
            server.hang_after = 3
            process = await start(path)
            await until(lambda: len(server.served) > 3)
            await until(lambda: verified_pieces(tmp_path / "state" / "store") > 0)
            process.send_signal(number)
            await end(process)
            server.hang_after = None
            server.released.set()
            before = sum(server.sent.values())
            assert before > 0
            server.sent.clear()
            code, error = await once(path)
            assert code == 0, error
            assert (current(tmp_path) / "image").read_bytes() == BIG
            assert sum(server.sent.values()) < len(BIG), "verified pieces were fetched again"

    with servers(LabServer("c1s1", "1", "1")) as (server,):
        asyncio.run(main(server))
