"""`boardwright init`: an inventory becomes one folder per board that just works."""

import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from boardwright.cli import init as module
from boardwright.cli.init import init
from boardwright.config import load_agent, load_inventory, load_operator, load_server
from boardwright.errors import FailedError, RefusedError, UsageError
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.trust.credentials import load_authority, load_credentials
from boardwright.trust.enroller import load_enroller
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Role
from boardwright.trust.issuing import NOWHERE, new_key

HEAD = '[cluster]\nname = "core1"\ninterface = "eth1"\nengine = "sqlite:state.db"\n'
FIRST = """
[[board]]
id = "c1s1"
chassis = "1"
slot = "1"
type = "rp"
address = "10.0.1.1"
server = true
groups = ["platform"]
pair = "rp-c1"
[[board]]
id = "c1s3"
chassis = "1"
slot = "3"
type = "lc-100g"
address = "10.0.1.3"
groups = ["platform", "routing"]
root = "run/c1s3"
"""
SECOND = """
[[board]]
id = "c2s1"
chassis = "2"
slot = "1"
type = "rp"
address = "10.0.2.1"
server = true
groups = ["platform"]
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    file = tmp_path / "cluster.toml"
    file.write_text(HEAD + FIRST)
    return file


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def running_itself(board: Board) -> Board:
    """The board with the groups that are Boardwright itself."""
    own = ("boardwright", "boardwright-agent") if board.server else ("boardwright-agent",)
    return replace(board, groups=(*board.groups, *own))


class TestANewFolder:
    def test_every_board_gets_a_folder_with_what_its_programs_need(self, tmp_path: Path, inventory: Path) -> None:
        result = init(tmp_path / "deep" / "out", inventory)
        assert result.created == ("c1s1", "c1s3")
        proof = ("certificate.pem", "key.pem", "trust/authority.pem", "trust/root.json")
        made = set(listing(result.directory))
        issued = {name for name in made if name.startswith("operator/issued/")}
        assert sorted(name.split("/")[2].split(".")[0] for name in issued) == ["admin", "c1s1", "c1s1", "c1s3"]
        assert made - issued == {
            "c1s1/agent.toml",
            "c1s1/cluster.toml",
            "c1s1/server.toml",
            "c1s1/enroller.pem",
            "c1s1/enroller-key.pem",
            "c1s1/online.pem",
            "c1s1/trust/targets.json",
            "c1s3/agent.toml",
            "operator/operator.toml",
            "operator/keys/authority.pem",
            "operator/keys/root.pem",
            "operator/keys/targets.pem",
            "operator/trust/targets.json",
            *(f"{who}/{file}" for who in ("c1s1", "c1s3", "operator") for file in proof),
        }

    def test_everybody_can_prove_who_it_is_and_where_it_sits(self, tmp_path: Path, inventory: Path) -> None:
        out = init(tmp_path / "out", inventory).directory
        for who, role, location in (
            ("c1s1", Role.SERVER, Location("1", "1")),
            ("c1s3", Role.BOARD, Location("1", "3")),
            ("operator", Role.ADMIN, NOWHERE),
        ):
            found = load_credentials(out / who / "certificate.pem", out / who / "key.pem", out / who / "trust", "core1")
            assert (found.identity.role, found.identity.location) == (role, location)
            found.authority.verify(found.certificate).check(found.sign(b"data"), b"data")

    def test_a_control_board_gets_a_second_key_that_lets_line_boards_in(self, tmp_path: Path, inventory: Path) -> None:
        out = init(tmp_path / "out", inventory).directory
        authority = load_authority(out / "c1s3" / "trust", "core1")
        enroller = load_enroller(out / "c1s1", authority, "core1", "c1s1")
        assert enroller is not None
        own = enroller.issue("c1s9", Role.BOARD, Location("1", "9"), new_key().public_key())
        assert authority.verify(own, enroller.certificate).identity.id == "c1s9"
        other = enroller.issue("c1s9", Role.SERVER, Location("1", "9"), new_key().public_key())
        with pytest.raises(UntrustedError):
            authority.verify(other, enroller.certificate)

    def test_keys_are_for_their_owners_only_and_the_authority_s_stays_with_the_operator(
        self, tmp_path: Path, inventory: Path
    ) -> None:
        out = init(tmp_path / "out", inventory).directory
        keys = [path for path in out.rglob("*.pem") if b"PRIVATE KEY" in path.read_bytes()]
        assert {str(path.relative_to(out)) for path in keys} == {
            "c1s1/key.pem",
            "c1s1/enroller-key.pem",
            "c1s1/online.pem",
            "c1s3/key.pem",
            "operator/key.pem",
            "operator/keys/authority.pem",
            "operator/keys/root.pem",
            "operator/keys/targets.pem",
        }
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in keys)
        assert len({path.read_bytes() for path in keys}) == len(keys)

    def test_the_programs_take_what_was_written(self, tmp_path: Path, inventory: Path) -> None:
        out = init(tmp_path / "out", inventory).directory
        entries = {entry.board.id: entry for entry in load_inventory(inventory).boards}
        for id, entry in entries.items():
            agent = load_agent(out / id / "agent.toml")
            assert agent.board == running_itself(entry.board)
            assert agent.cluster.interfaces == ("eth1",)
            assert agent.relay_listen == (entry.address, 6690)
        assert load_agent(out / "c1s3" / "agent.toml").root == tmp_path / "run/c1s3"
        server = load_server(out / "c1s1" / "server.toml")
        assert server.listen == ("10.0.1.1", 6688)
        assert server.blob_listen == ("10.0.1.1", 6689)
        assert server.engine == f"sqlite:{tmp_path}/state.db"
        assert server.data_dir == Path("/var/lib/boardwright/server")
        assert server.release == Path("/opt/boardwright/boardwright")

    def test_a_server_keeps_a_copy_of_the_inventory_that_says_the_same_elsewhere(
        self, tmp_path: Path, inventory: Path
    ) -> None:
        drop_ins = tmp_path / "cluster.toml.d"
        drop_ins.mkdir()
        (drop_ins / "name.toml").write_text('[cluster]\nname = "core2"\n')
        out = init(tmp_path / "out", inventory).directory
        copy_path = load_server(out / "c1s1" / "server.toml").inventory
        assert copy_path is not None
        copy, original = load_inventory(copy_path), load_inventory(inventory)
        assert [entry.board for entry in copy.boards] == [running_itself(entry.board) for entry in original.boards]
        assert [replace(entry, board=None) for entry in copy.boards] == [
            replace(entry, board=None) for entry in original.boards
        ]
        assert (copy.name, copy.engine) == ("core2", original.engine)

    def test_the_operator_s_folder_names_every_server_and_is_private(self, tmp_path: Path, inventory: Path) -> None:
        inventory.write_text(HEAD + FIRST + SECOND)
        result = init(tmp_path / "out", inventory)
        operator = load_operator(result.operator)
        assert operator.cluster == "core1"
        assert operator.servers == ("https://10.0.1.1:6688", "https://10.0.2.1:6688")
        assert stat.S_IMODE(result.operator.stat().st_mode) == 0o700

    def test_without_multicast_boards_know_all_servers_and_servers_each_other(
        self, tmp_path: Path, inventory: Path
    ) -> None:
        inventory.write_text(HEAD + 'multicast = "none"\n' + FIRST + SECOND)
        out = init(tmp_path / "out", inventory).directory
        agent = load_agent(out / "c1s3" / "agent.toml")
        assert agent.cluster.multicast is None
        assert agent.cluster.unicast == (("10.0.1.1", 6687), ("10.0.2.1", 6687))
        assert load_server(out / "c1s1" / "server.toml").peers == (("10.0.2.1", 6687),)

    def test_odd_but_legal_text_survives_the_way_through_the_files(self, tmp_path: Path, inventory: Path) -> None:
        inventory.write_text(HEAD + FIRST.replace('slot = "3"', "slot = 'a \"b\" \\ ü'").replace("run/c1s3", 'r ü\\"'))
        out = init(tmp_path / "out", inventory).directory
        agent = load_agent(out / "c1s3" / "agent.toml")
        assert agent.board == running_itself(load_inventory(inventory).boards[1].board)

    def test_an_existing_folder_is_refused_and_left_alone(self, tmp_path: Path, inventory: Path) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / "mine").write_text("precious")
        with pytest.raises(RefusedError, match="exists already") as caught:
            init(out, inventory)
        assert "--add" in (caught.value.hint or "")
        assert listing(out) == {"mine": b"precious"}

    def test_a_bad_inventory_leaves_nothing_behind(self, tmp_path: Path, inventory: Path) -> None:
        inventory.write_text(HEAD)
        with pytest.raises(UsageError):
            init(tmp_path / "new" / "out", inventory)
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("at", [0, 1, 2])
    def test_an_error_at_any_step_leaves_nothing_half_done(
        self, tmp_path: Path, inventory: Path, monkeypatch: pytest.MonkeyPatch, at: int
    ) -> None:
        interrupt(monkeypatch, at)
        with pytest.raises(FailedError) as caught:
            init(tmp_path / "out", inventory)
        assert isinstance(caught.value.__cause__, OSError)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["cluster.toml"]


class TestAddingBoards:
    def test_only_missing_boards_are_made_and_the_list_of_servers_grows(self, tmp_path: Path, inventory: Path) -> None:
        out = init(tmp_path / "out", inventory).directory
        (out / "c1s1" / "agent.toml").write_text("# changed by hand")
        inventory.write_text(HEAD + FIRST + SECOND)
        result = init(out, inventory, add=True)
        assert result.created == ("c2s1",)
        assert result.kept == ("c1s1", "c1s3")
        assert (out / "c1s1" / "agent.toml").read_text() == "# changed by hand"
        assert load_agent(out / "c2s1" / "agent.toml").board.id == "c2s1"
        assert len(load_operator(result.operator).servers) == 2
        assert sorted(path.name for path in out.iterdir()) == ["c1s1", "c1s3", "c2s1", "operator"]

    def test_a_folder_that_init_did_not_make_is_no_place_to_add(self, tmp_path: Path, inventory: Path) -> None:
        with pytest.raises(UsageError, match="not a folder that init made"):
            init(tmp_path / "out", inventory, add=True)

    def test_boards_of_another_cluster_are_refused(self, tmp_path: Path, inventory: Path) -> None:
        out = init(tmp_path / "out", inventory).directory
        inventory.write_text((HEAD + FIRST + SECOND).replace("core1", "core2"))
        with pytest.raises(RefusedError, match=r"'core1'.*'core2'"):
            init(out, inventory, add=True)

    @pytest.mark.parametrize("at", [0, 1])
    def test_an_error_at_any_step_takes_back_what_was_added(
        self, tmp_path: Path, inventory: Path, monkeypatch: pytest.MonkeyPatch, at: int
    ) -> None:
        out = init(tmp_path / "out", inventory).directory
        before = listing(out)
        inventory.write_text(HEAD + FIRST + SECOND)
        interrupt(monkeypatch, at)
        with pytest.raises(FailedError):
            init(out, inventory, add=True)
        assert listing(out) == before
        assert sorted(path.name for path in out.iterdir()) == ["c1s1", "c1s3", "operator"]

    def test_an_error_while_moving_takes_back_what_was_moved(
        self, tmp_path: Path, inventory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = init(tmp_path / "out", inventory).directory
        before = listing(out)
        inventory.write_text(HEAD + FIRST + SECOND)

        def full(_self: Path, _target: Path) -> Path:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(FailedError):
            init(out, inventory, add=True)
        assert listing(out) == before


def interrupt(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Let the writing of folder number `at` (boards first, the operator's last) fail as on a full disk."""
    steps = iter(range(1000))

    def failing(real: object) -> object:
        def step(*arguments: object) -> None:
            if next(steps) == at:
                raise OSError(28, "No space left on device")
            assert callable(real)
            real(*arguments)

        return step

    for name in ("_write_board", "_write_operator"):
        monkeypatch.setattr(module, name, failing(getattr(module, name)))


class TestDamage:
    def test_directories_above_a_folder_that_could_not_be_made_are_taken_away(
        self, tmp_path: Path, inventory: Path
    ) -> None:
        with pytest.raises(FailedError, match="could not be written"):
            init(tmp_path / "a" / "b" / ("x" * 300), inventory)
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize(
        ("board", "file", "how"),
        [
            ("c1s3", "agent.toml", "gone"),
            ("c1s1", "server.toml", "gone"),
            ("c1s3", "", "a file"),
            ("c1s3", "", "a link"),
        ],
    )
    def test_a_damaged_folder_is_named_and_nothing_is_added(
        self, tmp_path: Path, inventory: Path, board: str, file: str, how: str
    ) -> None:
        out = init(tmp_path / "out", inventory).directory
        if file:
            (out / board / file).unlink()
        else:
            (out / board).rename(tmp_path / "elsewhere")
            (out / board).symlink_to("nowhere") if how == "a link" else (out / board).touch()
        inventory.write_text(HEAD + FIRST + SECOND)
        before = sorted(out.rglob("*"))
        with pytest.raises(RefusedError, match=f"{board} is damaged") as caught:
            init(out, inventory, add=True)
        assert "--add makes it anew" in (caught.value.hint or "")
        assert sorted(out.rglob("*")) == before

    @pytest.mark.parametrize("content", ["", "cluster = 3", "[[["])
    def test_a_damaged_operator_s_folder_is_named(self, tmp_path: Path, inventory: Path, content: str) -> None:
        out = init(tmp_path / "out", inventory).directory
        (out / "operator" / "operator.toml").write_text(content)
        with pytest.raises(UsageError, match=r"operator\.toml"):
            init(out, inventory, add=True)

    def test_a_folder_in_which_nothing_can_be_made_stays_as_it_is(
        self, tmp_path: Path, inventory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = init(tmp_path / "out", inventory).directory
        inventory.write_text(HEAD + FIRST + SECOND)
        before = listing(out)

        def readonly(*_: object, **__: object) -> str:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(module.tempfile, "mkdtemp", readonly)
        with pytest.raises(FailedError, match="could not be written"):
            init(out, inventory, add=True)
        assert listing(out) == before
