"""`boardwright init` for a cluster's own etcd: who gets which files, and what the operator hears."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from boardwright.cli import init as module
from boardwright.cli.init import init
from boardwright.cli.install_units import UNITS
from boardwright.cli.program import run
from boardwright.cli.session import Session
from boardwright.config import load_server
from boardwright.errors import FailedError, RefusedError, UsageError

HOSTS = {"c1s1": "10.0.1.1", "c1s2": "10.0.1.2", "c1s3": "10.0.1.3", "c2s1": "10.0.2.1"}


def inventory(tmp_path: Path, engine: str, *servers: str, boards: tuple[str, ...] = ("c1s1", "c1s2", "c1s3")) -> Path:
    text = f'[cluster]\nname = "core1"\ninterface = "eth1"\nengine = "{engine}"\n'
    for board in boards:
        text += (
            f'[[board]]\nid = "{board}"\nchassis = "{board[1]}"\nslot = "{board[3]}"\ntype = "rp"\n'
            f'address = "{HOSTS[board]}"\nserver = {str(board in servers).lower()}\n'
        )
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    return path


def engine_of(*boards: str) -> str:
    return "etcd://" + ",".join(f"{HOSTS.get(board, board)}:2379" for board in boards)


def conf(folder: Path) -> dict[str, str]:
    lines = (folder / "etcd.conf.yml").read_text().splitlines()
    pairs = (line.split(": ", 1) for line in lines if ": " in line and not line.startswith((" ", "#")))
    return {key: value.strip('"') for key, value in pairs}


THREE = engine_of("c1s1", "c1s2", "c1s3")


class TestANewCluster:
    def test_every_endpoint_that_is_a_board_is_a_member_the_witness_on_a_line_board_too(self, tmp_path: Path) -> None:
        made = init(tmp_path / "out", inventory(tmp_path, THREE, "c1s1", "c1s2"))
        for board in ("c1s1", "c1s2", "c1s3"):
            found = conf(tmp_path / "out" / board)
            assert found["name"] == board
            assert found["listen-client-urls"] == f"https://{HOSTS[board]}:2379"
            assert found["initial-advertise-peer-urls"] == f"https://{HOSTS[board]}:2380"
            assert found["initial-cluster"].count("=https://") == 3
            assert found["initial-cluster-state"] == "new"
            assert found["auto-compaction-retention"] == "5000"
        assert not (tmp_path / "out/c1s3/server.toml").exists()
        assert made.sentences == ()

    def test_servers_are_told_to_show_the_engine_s_certificates(self, tmp_path: Path) -> None:
        init(tmp_path / "out", inventory(tmp_path, THREE, "c1s1", "c1s2"))
        access = load_server(tmp_path / "out/c1s2/server.toml").engine_access
        assert (access.ca, access.certificate, access.key) == tuple(
            tmp_path / "out/c1s2/engine" / name for name in ("ca.pem", "certificate.pem", "key.pem")
        )

    def test_only_control_boards_and_members_hold_certificates_of_the_engine(self, tmp_path: Path) -> None:
        boards = ("c1s1", "c1s2", "c1s3", "c2s1")
        init(tmp_path / "out", inventory(tmp_path, engine_of("c1s1"), "c1s1", "c1s2", boards=boards))
        out = tmp_path / "out"
        assert [board for board in boards if (out / board / "engine").exists()] == ["c1s1", "c1s2"]
        assert [board for board in boards if (out / board / "etcd.conf.yml").exists()] == ["c1s1"]
        assert (out / "c1s1/engine/key.pem").stat().st_mode & 0o777 == 0o600
        assert (out / "operator/keys/engine.pem").stat().st_mode & 0o777 == 0o600

    def test_its_authority_is_another_than_the_cluster_s_and_names_addresses(self, tmp_path: Path) -> None:
        init(tmp_path / "out", inventory(tmp_path, THREE, "c1s1", "c1s2"))
        certificate = x509.load_pem_x509_certificate((tmp_path / "out/c1s3/engine/certificate.pem").read_bytes())
        engine, cluster = (
            x509.load_pem_x509_certificate((tmp_path / "out/operator/trust" / name).read_bytes())
            for name in ("engine.pem", "authority.pem")
        )
        certificate.verify_directly_issued_by(engine)
        assert engine.public_key() != cluster.public_key()
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["10.0.1.3"]
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert set(uses) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}

    def test_a_member_on_a_management_host_has_its_files_with_the_operator(self, tmp_path: Path) -> None:
        made = init(tmp_path / "out", inventory(tmp_path, engine_of("c1s1", "c1s2", "10.9.0.9"), "c1s1", "c1s2"))
        place = made.operator / "members/10.9.0.9"
        assert conf(place)["name"] == "host-10.9.0.9"
        assert (place / "engine/key.pem").exists()
        assert made.sentences == (
            "10.9.0.9 is no board: the files of its etcd member are in operator/members/10.9.0.9",
        )

    def test_nothing_is_written_for_somebody_else_s_etcd(self, tmp_path: Path) -> None:
        made = init(tmp_path / "out", inventory(tmp_path, "etcd://10.9.0.1,10.9.0.2,10.9.0.3", "c1s1", "c1s2"))
        assert not list((tmp_path / "out").rglob("etcd.conf.yml"))
        assert not (made.operator / "keys/engine.pem").exists()
        assert "that etcd is somebody else's and nothing is written for it" in made.sentences[0]
        assert "[state]" in made.sentences[0]


class TestHowManyVote:
    @pytest.mark.parametrize(
        ("members", "sentence"),
        [
            (("c1s1", "c1s2"), "two etcd members are worse than one"),
            (("c1s1",), "c1s1 is the only etcd member"),
            (("c1s1", "c1s2", "c1s3", "c2s1"), "4 etcd members survive no more losses than 3"),
        ],
    )
    def test_what_helps_nobody_is_said_with_what_to_do(
        self, tmp_path: Path, members: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = inventory(tmp_path, engine_of(*members), "c1s1", "c1s2", boards=tuple(HOSTS))
        assert run(["init", str(tmp_path / "out"), "--inventory", str(file)], Session.of({})) == 0
        assert sentence in capsys.readouterr().err

    def test_two_are_told_of_a_witness(self, tmp_path: Path) -> None:
        made = init(tmp_path / "out", inventory(tmp_path, engine_of("c1s1", "c1s2"), "c1s1", "c1s2"))
        assert "add a witness" in made.sentences[0]


class TestAdding:
    def test_a_new_board_joins_the_members_that_run(self, tmp_path: Path) -> None:
        two = ("c1s1", "c1s2")
        init(tmp_path / "out", inventory(tmp_path, engine_of(*two), *two, boards=two))
        made = init(tmp_path / "out", inventory(tmp_path, THREE, *two), add=True)
        found = conf(tmp_path / "out/c1s3")
        assert found["initial-cluster-state"] == "existing"
        assert [one.partition("=")[0] for one in found["initial-cluster"].split(",")] == ["c1s1", "c1s2", "c1s3"]
        assert conf(tmp_path / "out/c1s1")["initial-cluster"].count("=") == 2, "what runs stays as it is"
        assert "add to the running etcd one after another: c1s3 (docs/operate/replacement.md)" in made.sentences

    def test_servers_of_before_hear_of_the_new_endpoint_by_a_drop_in(self, tmp_path: Path) -> None:
        two = ("c1s1", "c1s2")
        init(tmp_path / "out", inventory(tmp_path, engine_of(*two), *two, boards=two))
        made = init(tmp_path / "out", inventory(tmp_path, THREE, *two), add=True)
        assert made.changed == two
        settings = load_server(tmp_path / "out/c1s1/server.toml")
        assert settings.engine == THREE
        assert settings.engine_access.key is not None
        assert settings.engine_access.key.resolve() == tmp_path / "out/c1s1/engine/key.pem"
        assert init(tmp_path / "out", inventory(tmp_path, THREE, *two), add=True).changed == ()

    def test_of_several_new_members_each_begins_with_those_before_it(self, tmp_path: Path) -> None:
        init(tmp_path / "out", inventory(tmp_path, engine_of("c1s1"), "c1s1", boards=("c1s1",)))
        init(tmp_path / "out", inventory(tmp_path, THREE, "c1s1"), add=True)
        assert conf(tmp_path / "out/c1s2")["initial-cluster"].count("=") == 2
        assert conf(tmp_path / "out/c1s3")["initial-cluster"].count("=") == 3

    def test_a_line_board_of_before_becomes_the_witness(self, tmp_path: Path) -> None:
        init(tmp_path / "out", inventory(tmp_path, engine_of("c1s1", "c1s2"), "c1s1", "c1s2"))
        key = (tmp_path / "out/c1s3/key.pem").read_bytes()
        made = init(tmp_path / "out", inventory(tmp_path, THREE, "c1s1", "c1s2"), add=True)
        assert made.changed == ("c1s1", "c1s2", "c1s3")
        assert conf(tmp_path / "out/c1s3")["initial-cluster-state"] == "existing"
        assert (tmp_path / "out/c1s3/engine/certificate.pem").exists()
        assert (tmp_path / "out/c1s3/key.pem").read_bytes() == key

    def test_a_cluster_that_leaves_sqlite_gets_members_that_begin_together(self, tmp_path: Path) -> None:
        init(tmp_path / "out", inventory(tmp_path, "sqlite", "c1s1"))
        made = init(tmp_path / "out", inventory(tmp_path, THREE, "c1s1"), add=True)
        assert made.changed == ("c1s1", "c1s2", "c1s3")
        assert {conf(tmp_path / "out" / board)["initial-cluster-state"] for board in made.changed} == {"new"}
        assert load_server(tmp_path / "out/c1s1/server.toml").engine == THREE
        assert (made.operator / "keys/engine.pem").exists()

    def test_a_dead_board_s_member_begins_with_the_others(self, tmp_path: Path) -> None:
        file = inventory(tmp_path, THREE, "c1s1", "c1s2")
        init(tmp_path / "out", file)
        (tmp_path / "out/c1s2").rename(tmp_path / "dead")
        assert init(tmp_path / "out", file, add=True).created == ("c1s2",)
        found = conf(tmp_path / "out/c1s2")
        assert (found["initial-cluster-state"], found["initial-cluster"].count("=")) == ("existing", 3)

    def test_without_the_authority_s_key_nothing_is_added(self, tmp_path: Path) -> None:
        file = inventory(tmp_path, THREE, "c1s1", "c1s2")
        init(tmp_path / "out", file)
        (tmp_path / "out/c1s2").rename(tmp_path / "dead")
        (tmp_path / "out/operator/keys/engine.pem").unlink()
        with pytest.raises(RefusedError, match="without the engine's authority no member can be added"):
            init(tmp_path / "out", file, add=True)
        assert not (tmp_path / "out/c1s2").exists()

    def test_what_fails_at_the_end_leaves_every_folder_as_it_was(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        init(tmp_path / "out", inventory(tmp_path, "sqlite", "c1s1"))
        before = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())

        def refuse(self: Path, target: Path) -> Path:
            if target.name == "operator.toml":
                raise OSError("the disk is full")
            return original(self, target)

        original = module.Path.replace
        monkeypatch.setattr(module.Path, "replace", refuse)
        with pytest.raises(FailedError):
            init(tmp_path / "out", inventory(tmp_path, THREE, "c1s1"), add=True)
        assert sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file()) == before


class TestTheInventory:
    def test_members_on_one_host_need_folders_of_their_own(self, tmp_path: Path) -> None:
        file = inventory(tmp_path, "etcd://127.1.1.1,127.1.1.2", "c1s1", boards=("c1s1", "c1s2"))
        text = file.read_text().replace("10.0.1.", "127.1.1.")
        for board in ("c1s1", "c1s2"):
            paths = f'root = "{board}/r"\nstate_dir = "{board}/s"\ndata_dir = "{board}/d"\n'
            text = text.replace(f'id = "{board}"\n', f'id = "{board}"\n{paths}')
        file.write_text(text)
        with pytest.raises(UsageError, match=r"engine_dir: the default is also that of board c1s1"):
            init(tmp_path / "out", file)


class TestUnits:
    def test_a_witness_gets_etcd_s_unit_beside_the_agent_s(self, tmp_path: Path) -> None:
        init(tmp_path / "out", inventory(tmp_path, THREE, "c1s1", "c1s2"))
        image = tmp_path / "image"
        (image / "etc").mkdir(parents=True)
        (tmp_path / "out/c1s3").rename(image / "etc/boardwright")
        assert run(["install-units", "--root", str(image)], Session.of({})) == 0
        assert sorted(path.name for path in (image / UNITS).iterdir()) == [
            "boardwright-agent.service",
            "boardwright-etcd.service",
        ]
        text = (image / UNITS / "boardwright-etcd.service").read_text()
        assert "--config-file /etc/boardwright/etcd.conf.yml\n" in text
        assert "\nWorkingDirectory=/etc/boardwright\n" in text
        assert "\nStateDirectory=boardwright/etcd\n" in text
        assert "\nProtectSystem=strict\n" in text

    def test_a_configuration_without_a_data_directory_is_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "etcd.conf.yml").write_text("name: x\n")
        assert run(["install-units", "--config-dir", str(tmp_path), "--dry-run"], Session.of({})) == 2
        assert "has no data-dir with an absolute path" in capsys.readouterr().err
