"""agent.toml and server.toml become settings, or an error that names file, key and value."""

from pathlib import Path

import pytest

from boardwright.config import load_agent, load_server
from boardwright.config.settings import EngineAccess
from boardwright.errors import UsageError
from boardwright.model.location import Location

AGENT = """
[cluster]
name = "core1"
interface = "eth1"
[board]
id = "c1s3"
chassis = "1"
slot = "3"
type = "lc-100g"
groups = ["platform", "routing"]
"""

SERVER = """
[cluster]
name = "core1"
interface = ["eth1", "10.0.2.1"]
peers = ["10.0.1.2", "10.0.2.1:7000"]
inventory = "cluster.toml"
[board]
id = "c1s1"
chassis = "1"
slot = "1"
[server]
listen = "10.0.1.1:6688"
[limits]
total = "100Mbit/s"
admission = 16
"""


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    file = tmp_path / "agent.toml"
    file.write_text(AGENT)
    return file


@pytest.fixture
def server(tmp_path: Path) -> Path:
    file = tmp_path / "server.toml"
    file.write_text(SERVER)
    return file


def with_drop_in(file: Path, text: str) -> Path:
    folder = file.with_name(file.name + ".d")
    folder.mkdir(exist_ok=True)
    (folder / "50-test.toml").write_text(text)
    return file


class TestWhatIsRead:
    def test_an_agent_needs_little_and_has_the_documented_defaults(self, agent: Path) -> None:
        settings = load_agent(agent)
        assert settings.board.location == Location("1", "3")
        assert settings.board.groups == ("platform", "routing")
        assert settings.cluster.interfaces == ("eth1",)
        assert settings.cluster.multicast == ("239.255.66.87", 6687)
        assert settings.root == Path("/opt/boardwright")
        assert settings.state_dir == Path("/var/lib/boardwright/agent")
        assert (settings.download, settings.relay, settings.store_quota) == (0, 0, 0)

    def test_a_server_has_its_blobs_on_a_port_of_their_own(self, server: Path) -> None:
        settings = load_server(server)
        assert settings.listen == ("10.0.1.1", 6688)
        assert settings.blob_listen == ("10.0.1.1", 6689)
        assert settings.total == 12_500_000
        assert settings.admission == 16

    def test_unicast_addresses_have_the_control_port_unless_they_say_another(self, server: Path) -> None:
        settings = load_server(server)
        assert settings.peers == (("10.0.1.2", 6687), ("10.0.2.1", 7000))
        assert settings.cluster.unicast == settings.peers

    def test_the_embedded_engine_lies_in_the_data_directory(self, server: Path) -> None:
        assert load_server(server).engine == "sqlite:/var/lib/boardwright/server/state.db"

    def test_relative_paths_resolve_against_the_file_that_says_them(self, server: Path, tmp_path: Path) -> None:
        with_drop_in(server, '[server]\ndata_dir = "data"\n[state]\nengine = "sqlite:../state.db"\n')
        settings = load_server(server)
        assert settings.data_dir == tmp_path / "server.toml.d" / "data"
        assert settings.engine == f"sqlite:{tmp_path}/server.toml.d/../state.db"
        assert settings.inventory == tmp_path / "cluster.toml"
        assert settings.cluster.trust == tmp_path / "trust"

    def test_what_nobody_says_lies_beside_the_file_whatever_drop_ins_say_beside_it(
        self, server: Path, tmp_path: Path
    ) -> None:
        with_drop_in(server, '[cluster]\nmulticast = "none"\n')
        cluster = load_server(server).cluster
        assert cluster.certificate == tmp_path / "certificate.pem"
        assert cluster.key == tmp_path / "key.pem"

    def test_the_memory_engine_is_there_for_tests(self, server: Path) -> None:
        with_drop_in(server, '[state]\nengine = "memory"\n')
        assert load_server(server).engine == "memory"

    def test_multicast_can_be_turned_off_for_a_list_of_servers(self, agent: Path) -> None:
        with_drop_in(agent, '[cluster]\nmulticast = "none"\nservers = ["10.0.1.1"]\n')
        settings = load_agent(agent)
        assert settings.cluster.multicast is None
        assert settings.cluster.unicast == (("10.0.1.1", 6687),)

    def test_whole_numbers_are_places_too(self, agent: Path) -> None:
        with_drop_in(agent, "[board]\nchassis = 2\nslot = 0\n")
        assert load_agent(agent).board.location == Location("2", "0")


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("change", "key", "value", "hint"),
        [
            ('[limits]\ndownload = "20XB"', "[limits] download", "'20XB'", "20MB/s"),
            ("[limits]\ndownload = true", "[limits] download", "true", "20MB/s"),
            ('[limits]\nstore_quota = "5 parsec"', "[limits] store_quota", "'5 parsec'", "50GB"),
            ('[relay]\nenabled = "yes"', "[relay] enabled", "'yes'", "true or false"),
            ('[relay]\nlisten = "10.0.0.1"', "[relay] listen", "'10.0.0.1'", "HOST:PORT"),
            ('[relay]\nlisten = "10.0.0.1:66900"', "[relay] listen", "'10.0.0.1:66900'", "HOST:PORT"),
            ('[cluster]\nmulticast = "10.0.0.1:6687"', "[cluster] multicast", "'10.0.0.1:6687'", "239.255.66.87"),
            ('[cluster]\nservers = ["core.example"]', "[cluster] servers", "'core.example'", "10.0.1.1"),
            ("[cluster]\ninterface = []", "[cluster] interface", "[]", None),
            ('[cluster]\ninterface = "a-name-that-is-too-long"', "[cluster] interface", "'a-name-that", "eth1"),
            ('[board]\nid = "../c1"', "[board] id", "'../c1'", None),
            ('[board]\ngroups = ["a", "a"]', "[board] groups", "['a', 'a']", "once"),
            ('[board]\ngroups = "a"', "[board] groups", "'a'", '["a", "b"]'),
            ('[board]\nslot = ""', "[board] slot", "''", None),
            ("[board]\nslot = 1.5", "[board] slot", "1.5", "quotes"),
            ('[agent]\nperiod = "1ms"', "[agent] period", "'1ms'", None),
            ('[agent]\nroot = ""', "[agent] root", "''", None),
        ],
    )
    def test_a_bad_value_is_named_with_file_and_key_and_a_way_out(
        self, agent: Path, change: str, key: str, value: str, hint: str | None
    ) -> None:
        with_drop_in(agent, change)
        with pytest.raises(UsageError) as caught:
            load_agent(agent)
        assert f"agent.toml.d/50-test.toml: {key}: " in str(caught.value)
        assert value in str(caught.value)
        assert hint is None or hint in (caught.value.hint or "")

    @pytest.mark.parametrize(
        ("change", "named", "meant"),
        [
            ("[limits]\ndownlaod = 1", "[limits] downlaod", "'download'"),
            ("[limit]\ndownload = 1", "[limit]", "'limits'"),
            ("[board]\ngroup = []", "[board] group", "'groups'"),
        ],
    )
    def test_an_unknown_key_is_refused_and_the_close_one_suggested(
        self, agent: Path, change: str, named: str, meant: str
    ) -> None:
        with_drop_in(agent, change)
        with pytest.raises(UsageError) as caught:
            load_agent(agent)
        assert named in str(caught.value)
        assert meant in (caught.value.hint or "")

    @pytest.mark.parametrize("key", ["name", "interface", "id", "chassis", "slot", "type", "groups"])
    def test_a_missing_key_is_named(self, agent: Path, key: str) -> None:
        lines = [line for line in AGENT.splitlines() if not line.startswith(f"{key} =")]
        agent.write_text("\n".join(lines))
        with pytest.raises(UsageError, match=rf"agent\.toml: \[\w+\] {key}: is missing"):
            load_agent(agent)

    def test_a_table_that_is_no_table_is_refused(self, agent: Path) -> None:
        agent.write_text("limits = 3\n" + AGENT)
        with pytest.raises(UsageError, match="limits: is not a table"):
            load_agent(agent)

    def test_no_multicast_and_no_servers_leave_no_way(self, agent: Path) -> None:
        with_drop_in(agent, '[cluster]\nmulticast = "none"\n')
        with pytest.raises(UsageError, match="no way to a server"):
            load_agent(agent)

    def test_api_and_blobs_cannot_share_a_port(self, server: Path) -> None:
        with_drop_in(server, '[server]\nblob_listen = "10.0.1.1:6688"\n')
        with pytest.raises(UsageError, match="blob_listen"):
            load_server(server)

    @pytest.mark.parametrize("admission", ["0", "-1", '"64"', "true", "1.5"])
    def test_admission_is_a_number_of_boards(self, server: Path, admission: str) -> None:
        with_drop_in(server, f"[limits]\nadmission = {admission}\n")
        with pytest.raises(UsageError, match="whole number from 1"):
            load_server(server)

    def test_etcd_has_endpoints_and_may_have_tls_and_a_user(self, server: Path) -> None:
        with_drop_in(server, '[state]\nengine = "etcd://10.0.1.1,etcd2.example:2380,[FD00::1]:2379"\n')
        settings = load_server(server)
        assert settings.engine == "etcd://10.0.1.1:2379,etcd2.example:2380,[fd00::1]:2379"
        assert settings.engine_access == EngineAccess()
        files = "".join(f'{key} = "etcd/{key}"\n' for key in ("ca", "certificate", "key", "password_file"))
        with_drop_in(server, f'[state]\nengine = "etcd://a"\nuser = "boardwright"\n{files}')
        folder = server.parent / "server.toml.d" / "etcd"
        assert load_server(server).engine_access == EngineAccess(
            ca=folder / "ca",
            certificate=folder / "certificate",
            key=folder / "key",
            user="boardwright",
            password_file=folder / "password_file",
        )

    @pytest.mark.parametrize(
        ("keys", "sentence"),
        [
            ('certificate = "x"', "certificate: has no key beside it"),
            ('key = "x"', "key: has no certificate beside it"),
            ('certificate = "x"\nkey = "y"', "certificate: is of no use without TLS"),
            ('user = "x"', "user: has no password_file beside it"),
            ('password_file = "x"', "password_file: has no user beside it"),
        ],
    )
    def test_what_belongs_together_for_etcd_is_there_together(self, server: Path, keys: str, sentence: str) -> None:
        with_drop_in(server, f'[state]\nengine = "etcd://10.0.1.1"\n{keys}\n')
        with pytest.raises(UsageError, match=sentence):
            load_server(server)

    def test_only_etcd_needs_them(self, server: Path) -> None:
        with_drop_in(server, '[state]\nengine = "sqlite"\nca = "ca.pem"\n')
        with pytest.raises(UsageError, match="ca: is for etcd, but the engine is 'sqlite'"):
            load_server(server)

    @pytest.mark.parametrize("engine", ["postgres", "sqlite:", "sqlite://host/x", "redis:6379"])
    def test_an_unknown_engine_is_refused(self, server: Path, engine: str) -> None:
        with_drop_in(server, f'[state]\nengine = "{engine}"\n')
        with pytest.raises(UsageError, match="is not an engine"):
            load_server(server)


def test_the_other_programs_file_is_said_to_be_that(agent: Path, server: Path) -> None:
    with_drop_in(agent, "[agent]\nperiod = '1h'\n")
    with pytest.raises(UsageError, match="is an agent's configuration"):
        load_server(agent)
    with pytest.raises(UsageError, match="is a server's configuration"):
        load_agent(server)
