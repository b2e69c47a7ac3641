"""A real etcd cluster on loopback: members that are killed, halted, and started again.

Every cluster has loopback addresses of its own, so the ports can be the usual ones. Members die with the process that
started them. Nothing is synced to disk (``--unsafe-no-fsync``) and elections are quick: what is tested is our side.
"""

import base64
import os
import platform
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3

from boardwright.state.etcd_client import EtcdAccess
from boardwright.state.etcd_kv import EtcdKV

TOOL = Path(__file__).parent.parent / "tools" / "etcd"
LIMIT = 30.0  # seconds for a member to start or a cluster to elect; other processes may keep the machine busy
QUICK = ("--heartbeat-interval=50", "--election-timeout=300", "--unsafe-no-fsync")


def program() -> str:
    """The program, found or fetched once; skips the test where there is none."""
    done = subprocess.run(["sh", TOOL], check=False, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"needs etcd: {done.stderr.strip()}")
    return done.stdout.strip()


class Files(msgspec.Struct, frozen=True):
    """What members with TLS read: the authority of their clients, too."""

    ca: Path
    certificate: Path
    key: Path


class EtcdMembers:
    """`size` members below `folder`; made stopped."""

    def __init__(
        self,
        folder: Path,
        size: int = 1,
        *,
        tls: Files | None = None,
        flags: tuple[str, ...] = QUICK,
        on: Callable[[str], list[str]] = lambda host: [],
        at: tuple[str, ...] = (),
    ) -> None:
        """`at`: addresses of their own; `on`: what a command begins with that runs at one of them."""
        self._program = program()
        self._folder = folder
        self._flags = flags
        self.tls = tls
        self.hosts = at or hosts(size)
        self._on = on
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def engine(self) -> str:
        return "etcd://" + ",".join(f"{host}:2379" for host in self.hosts)

    def kv(self, cluster: str = "test", access: EtcdAccess | None = None) -> EtcdKV:
        return EtcdKV(tuple((host, 2379) for host in self.hosts), cluster, access)

    def start(self, *members: str) -> None:
        """These members, or all that do not run; returns when each answers the quorum's way."""
        for host in members or [host for host in self.hosts if host not in self._running]:
            self._start(host)

    def wait(self) -> None:
        """Until every running member has a leader."""
        for host in list(self._running):
            until(f"{host} takes part", lambda host=host: self._is_healthy(host))

    def kill(self, host: str) -> None:
        """SIGKILL, whatever it does."""
        process = self._running.pop(host)
        process.kill()
        process.wait()

    def stop(self) -> None:
        for host in list(self._running):
            self.kill(host)

    def halt(self, host: str) -> None:
        self._running[host].send_signal(signal.SIGSTOP)

    def go_on(self, host: str) -> None:
        self._running[host].send_signal(signal.SIGCONT)

    def end(self, host: str) -> None:
        """SIGKILL; one that has ended already is no surprise."""
        if host in self._running:
            self.kill(host)

    def send(self, host: str, number: int) -> None:
        """A signal, if it still runs."""
        if host in self._running and self._running[host].poll() is None:
            self._running[host].send_signal(number)

    def ended(self) -> list[str]:
        """Members that ended by themselves since the last look."""
        gone = [host for host, process in self._running.items() if process.poll() is not None]
        for host in gone:
            del self._running[host]
        return gone

    def leader(self) -> str:
        """Whose own id is that of the leader."""
        for _ in range(300):
            for host in self._running:
                status = self.call(host, "/v3/maintenance/status", {})
                if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                    return host
            time.sleep(0.02)
        raise AssertionError("the members elect no leader")

    def call(self, host: str, path: str, message: object, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """A call of the test's own, past our client; {} if it fails."""
        try:
            answer = urllib3.request(
                "POST", f"http://{host}:2379{path}", json=message, headers=headers, timeout=2.0, retries=False
            )
        except urllib3.exceptions.HTTPError:
            return {}
        return dict(answer.json()) if answer.status == 200 else {}

    def compact(self, revision: int) -> None:
        assert self.call(self.leader(), "/v3/kv/compaction", {"revision": str(revision), "physical": True})

    def count(self, prefix: str) -> int:
        """How many keys begin so."""
        return int(self.call(self.leader(), "/v3/kv/range", _below(prefix)).get("count", 0))

    def remove(self, prefix: str, number: int) -> None:
        """So many of the keys that begin so, behind everybody's back."""
        found = self.call(self.leader(), "/v3/kv/range", {**_below(prefix), "limit": str(number)})
        for one in found["kvs"]:
            assert self.call(self.leader(), "/v3/kv/deleterange", {"key": one["key"]})

    def _is_healthy(self, host: str) -> bool:
        scheme, options = "http", dict[str, Any]()
        if self.tls is not None:
            scheme = "https"
            options = {"ca_certs": self.tls.ca, "cert_file": self.tls.certificate, "key_file": self.tls.key}
            options["assert_hostname"] = False
        with urllib3.PoolManager(**options) as pool:
            try:
                answer = pool.request("GET", f"{scheme}://{host}:2379/health", timeout=1.0, retries=False)
            except urllib3.exceptions.HTTPError:
                return False
        return answer.status == 200

    def _start(self, host: str) -> None:
        scheme = "http" if self.tls is None else "https"
        words = [
            self._program,
            f"--name={host}",
            f"--data-dir={self._folder / host}",
            f"--listen-client-urls={scheme}://{host}:2379",
            f"--advertise-client-urls={scheme}://{host}:2379",
            f"--listen-peer-urls=http://{host}:2380",
            f"--initial-advertise-peer-urls=http://{host}:2380",
            f"--initial-cluster={','.join(f'{one}=http://{one}:2380' for one in self.hosts)}",
            f"--initial-cluster-token={self.hosts[0]}",
            "--logger=zap",
            "--log-level=error",
            *self._flags,
        ]
        if self.tls is not None:
            words += [f"--trusted-ca-file={self.tls.ca}", "--client-cert-auth"]
            words += [f"--cert-file={self.tls.certificate}", f"--key-file={self.tls.key}"]
        if setpriv := shutil.which("setpriv"):  # whatever happens to the tests, no member is left
            words = [setpriv, "--pdeathsig", "KILL", *self._on(host), *words]
        environment = {**os.environ, "ETCD_UNSUPPORTED_ARCH": {"aarch64": "arm64"}.get(platform.machine(), "")}
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{host}.log").open("ab") as log:
            self._running[host] = subprocess.Popen(words, stdout=log, stderr=log, env=environment)


def _below(prefix: str) -> dict[str, object]:
    first, end = prefix.encode(), prefix.encode()[:-1] + bytes([ord(prefix[-1]) + 1])
    return {"key": base64.b64encode(first).decode(), "range_end": base64.b64encode(end).decode()}


@contextmanager
def members(folder: Path, size: int = 1, **options: object) -> Iterator[EtcdMembers]:
    """Running members, dead at the end whatever happens."""
    made = EtcdMembers(folder, size, **options)  # type: ignore[arg-type]
    try:
        made.start()
        made.wait()
        yield made
    finally:
        made.stop()


def hosts(size: int) -> tuple[str, ...]:
    """Addresses on loopback that nobody else has."""
    network = f"127.{random.randint(64, 250)}.{random.randint(1, 250)}"
    return tuple(f"{network}.{number}" for number in range(1, size + 1))


def until(what: str, done: Callable[[], object], limit: float = LIMIT) -> float:
    """Ask every 20 ms; returns the seconds that it took."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < limit, f"not within {limit} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began
