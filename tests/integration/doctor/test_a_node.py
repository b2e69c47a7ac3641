"""`boardwright doctor --config` on nodes of a real cluster that are broken one by one."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from boardwright.agent.ledger import KnownServer, Record
from boardwright.cli.program import run
from boardwright.cli.session import Session
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.transfer import space
from boardwright.trust.credentials import CERTIFICATE, KEY, load_credentials
from boardwright.trust.floor import Floor
from boardwright.trust.revocation import Revocations, sign_revocations
from tests.identities import Identities
from tests.integration.server.processes import ServerCluster

Findings = dict[str, dict[str, Any]]


class Node:
    """The folder of a board, as `init` would make it, and what the doctor says of it."""

    def __init__(self, folder: Path, lab: ServerCluster, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.lab, self._capsys = folder, lab, capsys
        self.state, self.root = folder / "state", folder / "root"
        self.state.mkdir(parents=True)
        self.root.mkdir()
        lab.identities.write(folder, Board("c1s3", Location("1", "3"), "lc"))
        self.configure()
        servers = {one.id: KnownServer(one.api) for one in lab.servers}
        (self.state / "ledger.json").write_bytes(msgspec.json.encode(Record(servers=servers)))
        (self.state / "lock").touch()

    def configure(self, *, interface: str = "lo", group: str = "", extra: str = "", slot: str = "3") -> None:
        (self.folder / "agent.toml").write_text(
            f"""
            [cluster]
            name = "test"
            interface = "{interface}"
            multicast = "{group or f"239.255.66.87:{self.lab.port}"}"
            {extra}
            [board]
            id = "c1s3"
            chassis = "1"
            slot = "{slot}"
            type = "lc"
            groups = ["platform"]
            [agent]
            root = "root"
            state_dir = "state"
            """
        )

    def doctor(self, config: Path | None = None) -> tuple[int, Findings]:
        """The exit code, and by check the one finding that is not fine; the agent that does not run is left out."""
        code = run(["doctor", "--config", str(config or self.folder), "-o", "json"], Session(Path("/nowhere")))
        said = json.loads(self._capsys.readouterr().out)["findings"]
        return code, {one["check"]: one for one in said if one["level"] != "ok" and one["check"] != "program"}


@pytest.fixture
def node(tmp_path: Path, lab: ServerCluster, capsys: pytest.CaptureFixture[str]) -> Node:
    return Node(tmp_path / "c1s3", lab, capsys)


class TestABoard:
    def test_that_is_well_but_for_its_agent(self, node: Node, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["doctor", "--config", str(node.folder)], Session(Path("/nowhere"))) == 1
        said = capsys.readouterr().out.splitlines()
        assert said[0].startswith("error program (boardwright-agent): does not run here")
        assert said[1].startswith("  do: `systemctl status boardwright-agent`")
        assert said[2:] == ["10 checks are fine"]

    def test_it_leaves_everything_as_it_was(self, node: Node) -> None:
        def files() -> dict[Path, float]:
            return {path: path.stat().st_mtime_ns for path in node.folder.rglob("*")}

        before = files()
        node.doctor()
        assert files() == before

    def test_a_configuration_that_is_none(self, node: Node) -> None:
        (node.folder / "agent.toml").write_text("[cluster\n")
        code, found = node.doctor()
        assert (code, list(found)) == (1, ["config"])
        assert "is not valid TOML" in found["config"]["what"]

    def test_a_key_that_others_may_read(self, node: Node) -> None:
        (node.folder / "key.pem").chmod(0o644)
        assert node.doctor()[1]["certificate"]["do"].startswith("chmod 600")

    def test_the_certificate_of_another_cluster(self, node: Node) -> None:
        (node.folder.parent / "other").mkdir()
        Identities("test").write(node.folder.parent / "other", Board("c1s3", Location("1", "3"), "lc"))
        shutil.copy(node.folder.parent / "other" / CERTIFICATE, node.folder / CERTIFICATE)
        assert "certificate" in node.doctor()[1]

    def test_a_folder_of_another_cluster_altogether(self, node: Node) -> None:
        shutil.rmtree(node.folder / "trust")
        for path in (node.folder / "key.pem", node.state / "ledger.json"):
            path.unlink()
        Identities("test").write(node.folder, Board("c1s3", Location("1", "3"), "lc"))
        found = node.doctor()[1]
        assert "untrusted" in found["servers"]["what"]
        assert "another cluster is on this network" in found["servers"]["do"]

    def test_another_slot_than_the_certificate_s(self, node: Node) -> None:
        node.configure(slot="4")
        assert "1/4" in node.doctor()[1]["location"]["what"]

    def test_an_interface_that_is_not_there(self, node: Node) -> None:
        node.configure(interface="nope0")
        found = node.doctor()[1]
        assert "nope0" in found["interface"]["what"]
        assert "multicast" in found

    def test_multicast_that_reaches_nobody_while_the_servers_can_be_reached(self, node: Node) -> None:
        listed = ", ".join(f'"{one.host}:{node.lab.port}"' for one in node.lab.servers)
        node.configure(group=f"239.255.66.88:{node.lab.port}", extra=f"servers = [{listed}]")
        found = node.doctor()[1]
        assert list(found) == ["multicast"]
        assert "c1s1, c2s1 can be reached and did not answer by multicast" in found["multicast"]["what"]
        assert "IGMP" in found["multicast"]["do"]

    def test_a_root_that_is_a_file(self, node: Node) -> None:
        node.root.rmdir()
        node.root.touch()
        assert "is no directory" in node.doctor()[1]["disk"]["what"]

    def test_a_clock_that_is_behind_what_was_signed(self, node: Node) -> None:
        (node.state / "trust").mkdir()
        (node.state / "trust" / "floor").write_bytes(msgspec.json.encode(Floor(time=4e9)))
        assert "behind the newest time" in node.doctor()[1]["clock"]["what"]

    def test_a_ledger_that_is_cut_off_stays_where_it_is(self, node: Node) -> None:
        (node.state / "ledger.json").write_text('{"schema": 1, "serv')
        assert "damaged" in node.doctor()[1]["ledger"]["what"]
        assert (node.state / "ledger.json").exists()

    def test_a_folder_without_configuration_is_wrong_usage(self, tmp_path: Path) -> None:
        assert run(["doctor", "--config", str(tmp_path)], Session(Path("/nowhere"))) == 2

    def test_a_disk_that_is_full(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(space, "free_bytes", lambda path: 1000)
        assert "nothing is downloaded any more" in node.doctor()[1]["disk"]["what"]

    def test_a_board_whose_key_is_revoked(self, node: Node) -> None:
        identities = node.lab.identities
        credentials = load_credentials(node.folder / CERTIFICATE, node.folder / KEY, node.folder / "trust", "test")
        revoked = Revocations("test", 1, frozenset({credentials.identity.key}))
        (node.state / "revocations").write_bytes(sign_revocations(revoked, identities.issuer.key))
        assert "the key of c1s3 is revoked" in node.doctor()[1]["certificate"]["what"]


class TestAControlBoard:
    def test_a_server_that_runs_is_well(self, node: Node, lab: ServerCluster) -> None:
        assert node.doctor(lab.servers[0].folder / "server.toml") == (0, {})

    def test_a_foreign_program_at_its_port(self, node: Node, lab: ServerCluster, tmp_path: Path) -> None:
        stopped = lab.add(4, 1, start=False)
        lab.servers.remove(stopped)
        host, _, port = stopped.api.removeprefix("https://").partition(":")
        with socket.create_server((host, int(port))):
            found = node.doctor(stopped.folder / "server.toml")[1]
        assert "ss -ltnp" in found["port"]["do"]
