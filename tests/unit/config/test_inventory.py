"""cluster.toml: the operator's list of boards."""

import re
from pathlib import Path

import pytest

from boardwright.config import load_agent, load_inventory, load_operator, load_server
from boardwright.config.written import agent_toml, cluster_toml, server_toml
from boardwright.errors import UsageError
from boardwright.model.location import Location

HEAD = '[cluster]\nname = "core1"\ninterface = "eth1"\n'


def board(id: str, chassis: str, slot: str, **keys: object) -> str:
    words = {"type": "'lc'", **{key: str(value) for key, value in keys.items()}}
    lines = [f"[[board]]\nid = '{id}'\nchassis = '{chassis}'\nslot = '{slot}'"]
    return "\n".join([*lines, *(f"{key} = {value}" for key, value in words.items()), ""])


ONE = board("c1s1", "1", "1", address="'10.0.1.1'", server="true")


def write(tmp_path: Path, *parts: str) -> Path:
    file = tmp_path / "cluster.toml"
    file.write_text("\n".join(parts))
    return file


def refused(tmp_path: Path, *parts: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load_inventory(write(tmp_path, *parts))
    assert str(tmp_path / "cluster.toml") in str(caught.value)
    return caught.value


class TestWhatIsRead:
    def test_boards_keep_their_order_and_facts(self, tmp_path: Path) -> None:
        line = board("c1s2", "1", "2", groups="['platform', 'routing']", pair="'p'", interface="['eth1', 'eth2']")
        inventory = load_inventory(write(tmp_path, HEAD, ONE, line))
        assert [entry.board.id for entry in inventory.boards] == ["c1s1", "c1s2"]
        assert inventory.boards[1].board.groups == ("platform", "routing")
        assert inventory.boards[1].interfaces == ("eth1", "eth2")
        assert inventory.boards[0].interfaces == ("eth1",)
        assert [entry.board.id for entry in inventory.servers] == ["c1s1"]
        assert inventory.inventory.boards["c1s2"].location == Location("1", "2")

    def test_a_board_without_an_interface_is_reached_by_its_address(self, tmp_path: Path) -> None:
        inventory = load_inventory(write(tmp_path, '[cluster]\nname = "x"\n', ONE))
        assert inventory.boards[0].interfaces == ("10.0.1.1",)

    def test_the_engine_s_path_resolves_against_the_file(self, tmp_path: Path) -> None:
        inventory = load_inventory(write(tmp_path, HEAD, 'engine = "sqlite:state.db"', ONE))
        assert inventory.engine == f"sqlite:{tmp_path}/state.db"

    @pytest.mark.parametrize(("said", "relays"), [("", True), ("relay = true", True), ("relay = false", False)])
    def test_whether_boards_relay_goes_into_each_board_s_file_and_the_copy(
        self, tmp_path: Path, said: str, relays: bool
    ) -> None:
        inventory = load_inventory(write(tmp_path, HEAD, said, ONE, board("c1s2", "1", "2")))
        assert inventory.relay is relays
        for entry in inventory.boards:
            file = tmp_path / f"{entry.board.id}.toml"
            file.write_text(agent_toml(inventory, entry))
            assert load_agent(file).relay_enabled is relays
        (tmp_path / "copy.toml").write_text(cluster_toml(inventory))
        assert load_inventory(tmp_path / "copy.toml").relay is relays

    def test_the_same_slot_of_another_chassis_is_another_place(self, tmp_path: Path) -> None:
        assert len(load_inventory(write(tmp_path, HEAD, ONE, board("c2s1", "2", "1"))).boards) == 2


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("second", "what"),
        [
            (board("c1s1", "1", "2"), "id"),
            (board("c1s2", "1", "1"), "location"),
            (board("c1s2", "1", "2", address="'10.0.1.1'"), "address"),
        ],
    )
    def test_two_boards_cannot_have_one_id_place_or_address(self, tmp_path: Path, second: str, what: str) -> None:
        error = refused(tmp_path, HEAD, ONE, second)
        assert f" {what}" in str(error)
        assert "board" in str(error)
        assert "c1s1" in str(error)

    def test_a_misspelt_key_or_table_is_named_where_the_right_one_is_missing(self, tmp_path: Path) -> None:
        misspelt = ONE.replace("chassis =", "chasis =")
        assert refused(tmp_path, HEAD, misspelt).hint == "there is 'chasis', did you mean 'chassis'?"
        table = HEAD.replace("[cluster]", "[clster]")
        assert refused(tmp_path, table, ONE).hint == "there is [clster], did you mean [cluster]?"
        assert refused(tmp_path, HEAD, ONE.replace("type = 'lc'", "")).hint == "add type = ..."

    def test_ids_of_one_letter_clash_as_well(self, tmp_path: Path) -> None:
        one = board("a", "1", "1", address="'10.0.1.1'", server="true")
        assert " id" in str(refused(tmp_path, HEAD, one, board("a", "1", "2")))

    def test_boards_of_one_host_need_folders_of_their_own(self, tmp_path: Path) -> None:
        one = board("a", "1", "1", address="'127.1.1.1'", server="true", root="'a'", state_dir="'sa'")
        two = board("b", "1", "2", address="'127.1.2.1'", root="'b'")
        assert "state_dir" not in str(refused(tmp_path, HEAD, one, two.replace("'b'\n", "'a'\n")))
        load_inventory(write(tmp_path, HEAD, one, two))
        three = board("c", "1", "3", address="'127.1.3.1'", root="'c'")
        assert "state_dir: the default is also that of board b" in str(refused(tmp_path, HEAD, one, two, three))

    def test_a_pair_has_two_boards(self, tmp_path: Path) -> None:
        trio = [board(f"b{slot}", "1", str(slot), pair="'p'") for slot in (2, 3, 4)]
        assert "'p' has b2, b3, b4" in str(refused(tmp_path, HEAD, ONE, *trio))

    def test_sqlite_is_refused_for_more_than_one_server(self, tmp_path: Path) -> None:
        two = board("c1s2", "1", "2", address="'10.0.1.2'", server="true")
        error = refused(tmp_path, HEAD, 'engine = "sqlite"', ONE, two)
        assert "2 boards have server = true" in str(error)
        assert "sqlite:/path/state.db" in (error.hint or "")

    def test_sqlite_with_a_path_is_taken_for_servers_of_one_host(self, tmp_path: Path) -> None:
        two = board("c1s2", "1", "2", address="'10.0.1.2'", server="true")
        assert len(load_inventory(write(tmp_path, HEAD, 'engine = "sqlite:/x.db"', ONE, two)).servers) == 2

    def test_etcd_is_for_any_number_of_servers(self, tmp_path: Path) -> None:
        two = board("c1s2", "1", "2", address="'10.0.1.2'", server="true")
        inventory = load_inventory(write(tmp_path, HEAD, 'engine = "etcd://10.0.1.1,10.0.1.2:2379"', ONE, two))
        assert inventory.engine == "etcd://10.0.1.1:2379,10.0.1.2:2379"
        for entry in inventory.servers:
            (tmp_path / "server.toml").write_text(server_toml(inventory, entry))
            assert load_server(tmp_path / "server.toml").engine == inventory.engine

    @pytest.mark.parametrize(
        ("engine", "sentence"), [("etcd://10.0.1.1:0", "no HOST:PORT"), ("memory", "forgets everything")]
    )
    def test_engines_that_cannot_carry_a_cluster_are_refused(self, tmp_path: Path, engine: str, sentence: str) -> None:
        assert sentence in str(refused(tmp_path, HEAD, f'engine = "{engine}"', ONE))

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            (board("b", "1", "2", slto="'3'"), "[[board]] b slto"),
            (board("b", "1", "2", server="'yes'"), "[[board]] b server: 'yes'"),
            (board("b", "1", "2", server="true"), "[[board]] b address: is missing"),
            (board("b", "1", "2", address="'10.0.1'"), "[[board]] b address: '10.0.1'"),
            (board("b", "1", "2", address="'239.1.1.1'"), "[[board]] b address: '239.1.1.1'"),
            (board("b", "1", "2", type="''"), "[[board]] b type"),
            (board("b", "x" * 65, "2"), "[[board]] b chassis"),
            (board("operator", "1", "2"), "[[board]] operator id"),
            (board("", "1", "2"), "id: '' is empty"),
            ("[[board]]\nchassis = '1'", "[[board]] number 2 id: is missing"),
            ("[[bord]]\nid = 'x'", "[bord]"),
        ],
    )
    def test_a_bad_board_is_named_with_key_and_value(self, tmp_path: Path, text: str, named: str) -> None:
        assert named in str(refused(tmp_path, HEAD, ONE, text))

    def test_a_cluster_without_boards_or_servers_is_refused(self, tmp_path: Path) -> None:
        assert "[[board]]" in str(refused(tmp_path, HEAD))
        assert "server = true" in str(refused(tmp_path, HEAD, board("c1s2", "1", "2")))

    def test_board_as_a_table_is_refused(self, tmp_path: Path) -> None:
        assert "[[board]]" in str(refused(tmp_path, HEAD, "[board]\nid = 'x'"))

    def test_ports_differ(self, tmp_path: Path) -> None:
        assert "different ports" in str(refused(tmp_path, HEAD, "blob_port = 6688", ONE))


class TestTheOperatorsFile:
    def test_it_names_the_cluster_and_its_servers(self, tmp_path: Path) -> None:
        (tmp_path / "operator.toml").write_text('cluster = "core1"\nservers = ["https://10.0.1.1:6688/"]\n')
        assert load_operator(tmp_path).servers == ("https://10.0.1.1:6688",)

    @pytest.mark.parametrize("servers", ['["10.0.1.1"]', "[]", '["ftp://x"]', '["https://x/y"]', "3"])
    def test_a_server_is_a_url(self, tmp_path: Path, servers: str) -> None:
        (tmp_path / "operator.toml").write_text(f'cluster = "core1"\nservers = {servers}\n')
        with pytest.raises(UsageError, match=r"operator\.toml: servers: "):
            load_operator(tmp_path)


@pytest.mark.parametrize(
    ("folders", "sentence"),
    [
        ({"root": "/x", "state_dir": "/x"}, "state_dir"),
        ({"root": "/x", "data_dir": "/x/data"}, "data_dir: '/x/data' lies in root"),
        ({"root": "/x/agent/root", "state_dir": "/x/agent"}, "root: '/x/agent/root' lies in state_dir"),
        ({"state_dir": "/x", "data_dir": "/x"}, "is the same as"),
    ],
)
def test_folders_of_a_board_do_not_lie_in_each_other(tmp_path: Path, folders: dict[str, str], sentence: str) -> None:
    lines = "\n".join(f'{key} = "{path}"' for key, path in folders.items())
    path = tmp_path / "cluster.toml"
    path.write_text(
        '[cluster]\nname = "core1"\ninterface = "eth1"\n'
        '[[board]]\nid = "c1s1"\nchassis = "1"\nslot = "1"\ntype = "rp"\n'
        f'address = "10.0.1.1"\nserver = true\n{lines}\n'
    )
    with pytest.raises(UsageError, match=re.escape(sentence)):
        load_inventory(path)
