"""A cluster on loopback whose boards run the etcd members, from the files that `boardwright init` wrote."""

import functools
import json
import os
import platform
import shutil
import signal
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import urllib3

from tests.e2e.cluster import Cluster
from tests.etcd_members import program


class EtcdCluster(Cluster):
    """`members` are boards as ``c1s1``; `places` of ``init`` as everywhere."""

    def __init__(self, directory: Path, members: Sequence[str]) -> None:
        super().__init__(directory)
        self.engine = "etcd://" + ",".join(f"{self.address_of(board)}:2379" for board in members)
        self.members = list(members)
        self._etcd = program()

    def address_of(self, board: str) -> str:
        _, chassis, slot = board.replace("c", " ").replace("s", " ").split(" ")
        return self.address(int(chassis), int(slot))

    def inventory(self, places: Sequence[tuple[int, int, bool]], *, groups: Sequence[str] = ("platform",)) -> Path:
        path = super().inventory(places, groups=groups)
        text = path.read_text()
        for board in self.boards:
            state = f'state_dir = "{self.directory}/boards/{board}/state"'
            text = text.replace(state, f'{state}\nengine_dir = "{self.directory}/boards/{board}/etcd"')
        path.write_text(text)
        return path

    def start_members(self, *boards: str, wait: bool = True) -> None:
        """Start etcd of these boards, in their folders as systemd would; until most run and agree."""
        for board in boards or self.members:
            words = [self._etcd, "--config-file", "etcd.conf.yml"]
            if setpriv := shutil.which("setpriv"):  # whatever happens to the tests, no member is left
                words = [setpriv, "--pdeathsig", "KILL", *words]
            environment = {**os.environ, "ETCD_UNSUPPORTED_ARCH": {"aarch64": "arm64"}.get(platform.machine(), "")}
            with (self.directory / f"etcd-{board}.log").open("ab") as log:
                self.processes[f"etcd-{board}"] = subprocess.Popen(
                    words, cwd=self.directory / "out" / board, stdout=log, stderr=log, env=environment
                )
        for board in boards or self.members if wait else ():
            self.until(f"the member {board} takes part", functools.partial(self.member_is_healthy, board))

    def member_is_healthy(self, board: str) -> bool:
        """Whether it has a leader, by the engine's certificate of its own folder."""
        return self.may_talk_to(board, self.directory / "out" / board / "engine")

    def may_talk_to(self, board: str, files: Path) -> bool:
        """Whether etcd of the board answers to who shows the certificate in the folder `files`."""
        authority = self.directory / "out" / board / "engine" / "ca.pem"
        shown = {"cert_file": str(files / "certificate.pem"), "key_file": str(files / "key.pem")}
        with urllib3.PoolManager(ca_certs=str(authority), **shown) as pool:
            try:
                url = f"https://{self.address_of(board)}:2379/health"
                return pool.request("GET", url, timeout=5, retries=False).status == 200
            except (urllib3.exceptions.HTTPError, ssl.SSLError):
                return False

    def replace_member(self, board: str) -> None:
        """`etcdctl member remove` and `member add` of this board, by another member's gateway."""
        other = next(one for one in self.members if one != board and f"etcd-{one}" in self.processes)
        gone = next(one for one in self._members(other) if one.get("name") == board)

        def removed() -> bool:
            """As an operator who tries again: a call that comes before a new leader is elected gets no answer."""
            if all(one["ID"] != gone["ID"] for one in self._members(other)):
                return True
            self._gateway(other, "remove", {"ID": gone["ID"]})
            return False

        def added() -> bool:
            if any(one["peerURLs"] == gone["peerURLs"] for one in self._members(other)):
                return True
            self._gateway(other, "add", {"peerURLs": gone["peerURLs"]})
            return False

        self.until(f"the member {board} is removed", removed)
        self.until(f"the member {board} is added", added)

    def _members(self, board: str) -> list[dict[str, Any]]:
        return list(self._gateway(board, "list", {}).get("members", ()))

    def _gateway(self, board: str, act: str, message: dict[str, Any]) -> dict[str, Any]:
        files = self.directory / "out" / board / "engine"
        shown = {"cert_file": str(files / "certificate.pem"), "key_file": str(files / "key.pem")}
        with urllib3.PoolManager(ca_certs=str(files / "ca.pem"), **shown) as pool:
            url = f"https://{self.address_of(board)}:2379/v3/cluster/member/{act}"
            try:
                answer = pool.request("POST", url, json=message, timeout=10, retries=False)
            except urllib3.exceptions.TimeoutError:
                return {}
        return dict(answer.json()) if answer.status == 200 else {}

    def versions_of(self, server: str) -> list[str]:
        """What the server holds completely."""
        done = self.run("servers", "-o", "json")
        found = json.loads(done.stdout)["servers"] if done.returncode == 0 else []
        return next((list(one["versions"]) for one in found if one["id"] == server), [])

    def role_of(self, server: str) -> str:
        done = self.run("servers", "-o", "json")
        found = json.loads(done.stdout)["servers"] if done.returncode == 0 else []
        return next((str(one["role"]) for one in found if one["id"] == server), "")

    def end(self, name: str, number: int = signal.SIGKILL) -> None:
        """End a process and wait for it."""
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(15)

    def lose(self, board: str) -> None:
        """The board is gone: everything on it dies, and its disk with it."""
        for name in [name for name in self.processes if name.endswith(f"-{board}")]:
            self.end(name)
        shutil.rmtree(self.directory / "boards" / board, ignore_errors=True)
