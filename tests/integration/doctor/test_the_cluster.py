"""`boardwright doctor` on a real cluster whose parts are broken one by one, as an operator sees it."""

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from boardwright.cli.enrolling import write_private
from boardwright.cli.program import run
from boardwright.cli.session import Session
from boardwright.model.diagnosis import Diagnosis
from boardwright.trust.credentials import CERTIFICATE, KEY
from boardwright.trust.identity import Role
from boardwright.trust.issuing import certificate_pem, key_pem
from tests.identities import Identities
from tests.integration.server.processes import ServerCluster, ServerProcess, Software, until

Findings = dict[tuple[str, str], dict[str, Any]]
WHOLE = 5.0  # seconds that the doctor may take, whoever is dead
SLACK = 5.0  # seconds that a busy machine may add; a server that hangs would hold it up for ever


class Operator:
    """Somebody with a folder, and what the doctor says to them."""

    def __init__(self, folder: Path, lab: ServerCluster, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.lab, self._capsys = folder, lab, capsys
        folder.mkdir()
        lab.identities.write_operator(folder)
        self.knows(*lab.servers)

    def knows(self, *servers: ServerProcess) -> None:
        addresses = json.dumps([one.api for one in servers])
        (self.folder / "operator.toml").write_text(f'cluster = "test"\nservers = {addresses}\n')

    def asks(self) -> tuple[int, str]:
        """The exit code and the table."""
        self._capsys.readouterr()
        code = run(["doctor"], Session(self.folder))
        return code, self._capsys.readouterr().out

    def doctor(self) -> tuple[int, Findings]:
        """The exit code, and what is not fine by check and subject."""
        self._capsys.readouterr()
        code = run(["doctor", "-o", "json"], Session(self.folder))
        said = json.loads(self._capsys.readouterr().out)["findings"]
        return code, {(one["check"], one["subject"]): one for one in said if one["level"] != "ok"}


@pytest.fixture
def operator(tmp_path: Path, lab: ServerCluster, capsys: pytest.CaptureFixture[str]) -> Operator:
    lab.active()
    until(lambda: all(len(known(one)) >= len(lab.servers) for one in lab.servers), "all know each other")
    return Operator(tmp_path / "operator", lab, capsys)


def known(server: ServerProcess) -> list[str]:
    """Whom the server knows to be registered, by its own copy of the state."""
    copy = server.folder / "data" / "mirror.json"
    return list(json.loads(copy.read_bytes()).get("servers", {})) if copy.exists() else []


class TestACluster:
    def test_that_is_well(self, operator: Operator) -> None:
        assert operator.asks() == (0, "18 checks are fine\n")

    def test_is_found_by_one_of_its_servers_and_a_viewer_may_ask(self, operator: Operator) -> None:
        who = operator.lab.identities.person(Role.VIEWER)
        (operator.folder / CERTIFICATE).write_bytes(certificate_pem(who.certificate))
        (operator.folder / KEY).unlink()
        write_private(operator.folder / KEY, key_pem(who.key))
        operator.knows(operator.lab.servers[0])
        assert operator.doctor() == (0, {})

    def test_another_cluster_s_server_at_one_of_the_addresses(self, operator: Operator, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        other = ServerCluster(tmp_path / "other")
        try:
            foreign = other.add(1, 1, start=False)
            foreign.start()
            operator.knows(operator.lab.servers[0], foreign)
            until(lambda: "no server of this cluster" in str(operator.doctor()[1]), "it answers")
        finally:
            other.stop()

    def test_an_operator_of_another_cluster_reaches_nobody(self, operator: Operator) -> None:
        (operator.folder / KEY).unlink()
        shutil.rmtree(operator.folder / "keys")
        shutil.rmtree(operator.folder / "trust")
        Identities("test").write_operator(operator.folder)
        code, found = operator.doctor()
        assert (code, {check for check, _ in found}) == (4, {"server"})


class TestMulticast:
    def test_a_server_in_another_group_is_heard_by_its_address_only(self, operator: Operator) -> None:
        lab = operator.lab
        apart = lab.add(3, 1, start=False)
        text = (apart.folder / "server.toml").read_text()
        (apart.folder / "server.toml").write_text(text.replace("239.255.66.87", "239.255.66.99"))
        apart.start()
        try:
            until(apart.health, "it answers")
            until(lambda: len(known(lab.servers[0])) == 3, "it is registered")
            about = "multicast", f"c1s1 239.255.66.87:{lab.port}"

            def is_deaf() -> bool:
                code, found = operator.doctor()
                said = found.get(about, {"what": "", "do": ""})
                groups = ("multicast", "cluster") in found
                return code == 1 and groups and "c3s1 did not answer" in said["what"] and "IGMP" in said["do"]

            until(is_deaf, "the doctor finds the deaf server")
        finally:
            apart.kill()
            lab.servers.remove(apart)


class TestVersions:
    def test_what_one_store_lost_and_nobody_can_send_is_named(self, operator: Operator) -> None:
        lab = operator.lab
        active = lab.active()
        software = Software("platform", "1", (5_000,))
        assert software.publish(active).status == 201
        until(lambda: "platform 1 *" in str(active.get("/v1/diagnosis", Diagnosis)), "it is there")
        digest = software.manifest.blobs[0].sha256
        for server in lab.servers:
            path = server.folder / "data" / "store" / "blobs" / digest[:2] / digest
            until(path.exists, "every server has it", patience=60)
            path.write_bytes(b"rotten")
        for server in lab.servers:
            server.call("POST", f"/v1/blobs/{digest}/verify")

        def is_found() -> bool:
            found = operator.doctor()[1]
            lacks = "platform 1 *" in str(found.get(("versions", active.id)))
            return lacks and "are damaged" in str(found) and ("alarm", f"{active.id} damaged-blob {digest}") in found

        until(is_found, "the doctor names the version, the store and the alarm")


class TestDeadServers:
    def test_half_of_them_dead_one_killed_one_hanging_then_all(self, operator: Operator) -> None:
        standby, active = operator.lab.standby(), operator.lab.active()
        assert standby.process is not None
        standby.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        code, found = operator.doctor()
        assert time.monotonic() - began < WHOLE + SLACK
        assert code == 1
        assert "does not answer" in found["server", standby.id]["what"]
        standby.process.send_signal(signal.SIGCONT)
        standby.kill()
        code, found = operator.doctor()
        assert (code, "Connection refused" in found["server", standby.id]["what"]) == (1, True)
        active.kill()
        code, found = operator.doctor()
        assert (code, len(found)) == (4, 2)
