"""One cycle of a real agent against real UDP and HTTP servers: from request to confirm."""

from pathlib import Path

import msgspec
import pytest

from boardwright.agent.ledger import Ledger
from boardwright.errors import FailedError, UnreachableError
from boardwright.model.inventory import Board
from boardwright.model.report import BoardReport, DeploymentState, GroupReport
from boardwright.model.software import PIECE_SIZE, CommandSpec, HealthSpec, InstallSpec, digest_of
from boardwright.transfer.durable import write_durably
from boardwright.transfer.store import BlobStore
from tests.integration.agent.lab import BOARD, LabServer, Software, plan, run_boards_once, run_once, servers, sign

BIG = bytes(range(256)) * 4096 * 12  # 12 MiB: two ranges, twelve pieces
HEALTHY = b"#!/bin/sh\nexit 0\n"
SICK = b"#!/bin/sh\necho cannot find its table\nexit 1\n"
HEALTH = HealthSpec(command=("bin/probe",))


def version(name: str, probe: bytes = HEALTHY, **more: object) -> Software:
    files = {"image": BIG, "bin/probe": probe, "motd": name.encode()}
    return Software(name, files, health=HEALTH, **more)  # type: ignore[arg-type]


def current(tmp_path: Path, group: str = "platform") -> str:
    return (tmp_path / "root" / group / "current" / "motd").read_text()


def last(*made: LabServer) -> BoardReport:
    return max((report for server in made for report in server.reports), key=lambda report: report.sequence)


def group(report: BoardReport, name: str = "platform") -> GroupReport:
    return report.groups[name]


def test_a_blank_board_provisions_itself_from_the_nearest_server(tmp_path: Path) -> None:
    """M1-M5: request, offers from two servers, choice by chassis, download, deployment."""
    with servers(LabServer("c1s1", "1", "1"), LabServer("c2s1", "2", "1")) as (near, far):
        plan(1, version("3.1"), on=(near, far))
        run_once(tmp_path, near, far)
        assert current(tmp_path) == "3.1"
        assert (tmp_path / "root" / "platform" / "current" / "image").read_bytes() == BIG
        assert near.requests, "M1: the request went to every server"
        assert far.requests
        assert not far.served, "M5: every byte came from the same chassis"
        report = group(last(near, far))
        assert report.state is DeploymentState.CONFIRMED
        assert report.server is not None
        assert report.server.id == "c1s1"


def test_what_a_killed_agent_kept_for_its_neighbours_goes_at_the_next_start(tmp_path: Path) -> None:
    with servers(LabServer("c1s1", "1", "1")) as (near,):
        plan(1, version("3.1"), on=(near,))
        run_once(tmp_path, near)
        kept = digest_of(b"kept")
        BlobStore(tmp_path / "state" / "store").put(kept, [b"kept"])
        run_once(tmp_path, near)
        assert not BlobStore(tmp_path / "state" / "store").has(kept)


def test_the_server_of_the_boards_own_slot_comes_first(tmp_path: Path) -> None:
    """M5: same board by slot id, even among servers of the same chassis."""
    with servers(LabServer("c1s1", "1", "1"), LabServer("c1s3", "1", "3")) as (other, own):
        plan(1, version("3.1"), on=(other, own))
        run_once(tmp_path, other, own)
        assert not other.served
        assert current(tmp_path) == "3.1"


def test_a_server_that_dies_in_mid_download_is_left_and_nothing_is_fetched_twice(tmp_path: Path) -> None:
    """M3: the rest comes from the next offer, in the middle of the file."""
    with servers(LabServer("c1s1", "1", "1"), LabServer("c2s1", "2", "1")) as (near, far):
        plan(1, version("3.1"), on=(near, far))
        near.die_after = 2  # the manifest and one range
        run_once(tmp_path, near, far)
        assert current(tmp_path) == "3.1"
        report = group(last(near, far))
        assert report.failovers >= 1
        assert sum(report.bytes.values()) == report.total


def test_a_server_that_hangs_when_asked_for_the_manifest_is_not_asked_for_anything_else(tmp_path: Path) -> None:
    """Every question to a server that hangs costs two seconds."""
    with servers(LabServer("c1s1", "1", "1"), LabServer("c2s1", "2", "1")) as (near, far):
        software = version("3.1")
        plan(1, software, on=(near, far))
        near.hang_after = 0
        run_once(tmp_path, near, far)
        assert current(tmp_path) == "3.1"
        assert near.served == [software.target.manifest]
        assert group(last(near, far)).failovers == 1


def test_a_server_that_hangs_when_asked_for_the_plan_is_not_asked_for_anything_else(tmp_path: Path) -> None:
    with servers(LabServer("c1s1", "1", "1"), LabServer("c2s1", "2", "1")) as (near, far):
        plan(2, version("3.1"), on=(near,))  # the newest, so it is asked first
        plan(1, version("3.1"), on=(far,))
        near.hangs_at_plan = True
        run_once(tmp_path, near, far)
        assert current(tmp_path) == "3.1"
        assert near.served == []


def test_a_stop_between_tree_and_manifest_costs_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """M3: until the version counts as staged, its bytes stay in the store."""
    cuts = iter([True])

    def cut(path: Path, data: bytes) -> None:
        if next(cuts, False):
            raise OSError(5, "cut off", str(path))
        write_durably(path, data)

    monkeypatch.setattr("boardwright.agent.versions.write_durably", cut)
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        plan(1, version("3.1"), on=(server,))
        run_once(tmp_path, server)
        assert next(cuts, None) is None
        assert current(tmp_path) == "3.1"
        assert len(server.served) == len(set(server.served)) + 1, "the image is two ranges, everything else is one"
        assert not list((tmp_path / "state" / "store").rglob("????????????????*")), "nothing is left in the store"


def test_what_runs_already_is_left_alone(tmp_path: Path) -> None:
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        plan(1, version("3.1"), on=(server,))
        run_once(tmp_path, server)
        served = list(server.served)
        run_once(tmp_path, server)
        assert server.served == served


def test_the_next_version_fetches_only_what_is_new(tmp_path: Path) -> None:
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        plan(1, version("3.1"), on=(server,))
        run_once(tmp_path, server)
        server.served.clear()
        plan(2, version("3.2"), on=(server,))
        run_once(tmp_path, server)
        assert current(tmp_path) == "3.2"
        assert group(last(server)).total < PIECE_SIZE
        assert (tmp_path / "root" / "platform" / "current" / "image").read_bytes() == BIG


def test_a_sick_version_is_rolled_back_with_its_last_words_and_never_tried_again(tmp_path: Path) -> None:
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        plan(1, version("3.1"), on=(server,))
        run_once(tmp_path, server)
        plan(2, version("3.2", SICK), on=(server,))
        with pytest.raises(FailedError, match=r"rolled back to 3.1: health check bin/probe ended with exit code 1"):
            run_once(tmp_path, server)
        assert current(tmp_path) == "3.1"
        report = group(last(server))
        assert (report.state, report.version, report.wanted) == (DeploymentState.FAILED, "3.1", "3.2")
        assert report.log.endswith("cannot find its table\n")
        server.served.clear()
        with pytest.raises(FailedError, match=r"rolled back to 3\.1"):
            run_once(tmp_path, server)
        assert server.served == []


def test_a_first_version_that_is_sick_leaves_nothing_running(tmp_path: Path) -> None:
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        plan(1, version("3.1", SICK), on=(server,))
        with pytest.raises(FailedError, match=r"removed 3.1, nothing runs"):
            run_once(tmp_path, server)
        assert not (tmp_path / "root" / "platform" / "current").is_symlink()
        assert group(last(server)).version is None
        plan(2, version("3.2"), on=(server,))
        run_once(tmp_path, server)
        assert current(tmp_path) == "3.2"


def test_a_hook_that_vetoes_leaves_the_running_version_alone(tmp_path: Path) -> None:
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        plan(1, version("3.1"), on=(server,))
        run_once(tmp_path, server)
        plan(2, version("3.2", SICK, install=InstallSpec(before=("bin/probe",))), on=(server,))
        with pytest.raises(FailedError, match=r"hook bin/probe vetoed 3.2"):
            run_once(tmp_path, server)
        assert current(tmp_path) == "3.1"
        versions = tmp_path / "root" / "platform" / "versions"
        if len(list(versions.iterdir())) > 1:  # the agent ended before it had dropped what was vetoed
            plan(3, version("3.1"), on=(server,))
            run_once(tmp_path, server)
        assert len(list(versions.iterdir())) == 1


def test_an_unknown_installer_is_a_clear_reason(tmp_path: Path) -> None:
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        plan(1, version("3.1", install=InstallSpec(installer="rauc")), on=(server,))
        with pytest.raises(FailedError, match="asks for the installer 'rauc', this agent has command, tree"):
            run_once(tmp_path, server)


def flashed(name: str, probe: bytes = HEALTHY) -> Software:
    """A version that its own program writes into a file, which stands for a flash."""
    files = {
        "motd": name.encode(),
        "bin/probe": probe,
        "bin/flash": b'#!/bin/sh\ncp "$BOARDWRIGHT_TREE/motd" ../../flash\n',
    }
    programs = CommandSpec(activate=("bin/flash",), running=("cat", "../../flash"))
    install = InstallSpec(installer="command", command=programs)
    return Software(name, files, install=install, health=HealthSpec(command=("bin/probe",)))


def test_the_users_own_programs_put_a_version_in_place_and_the_old_one_back(tmp_path: Path) -> None:
    flash = tmp_path / "root" / "platform" / "flash"
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        plan(1, flashed("3.1"), on=(server,))
        run_once(tmp_path, server)
        assert flash.read_text() == "3.1"
        plan(2, flashed("3.2", b"#!/bin/sh\nexit 1\n"), on=(server,))
        with pytest.raises(FailedError, match=r"rolled back to 3.1: health check bin/probe"):
            run_once(tmp_path, server)
        assert (flash.read_text(), current(tmp_path)) == ("3.1", "3.1")


def test_a_card_that_was_swapped_is_provisioned_again(tmp_path: Path) -> None:
    flash = tmp_path / "root" / "platform" / "flash"
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        plan(1, flashed("3.1"), on=(server,))
        run_once(tmp_path, server)
        flash.write_text("factory")
        served = list(server.served)
        run_once(tmp_path, server)
        assert flash.read_text() == "3.1"
        assert set(server.served[len(served) :]) == {flashed("3.1").target.manifest}, "the files were still there"


def test_a_group_may_change_its_installer_and_go_back(tmp_path: Path) -> None:
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        plan(1, version("3.1"), on=(server,))
        run_once(tmp_path, server)
        plan(2, flashed("3.2"), on=(server,))
        run_once(tmp_path, server)
        assert group(last(server)).version == "3.2"
        plan(3, version("3.1"), on=(server,))
        run_once(tmp_path, server)
        assert (group(last(server)).version, current(tmp_path)) == ("3.1", "3.1")


def test_a_version_whose_files_were_altered_on_the_board_is_built_anew_when_it_is_deployed_again(
    tmp_path: Path,
) -> None:
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        plan(1, version("3.1"), on=(server,))
        run_once(tmp_path, server)
        file = (tmp_path / "root" / "platform" / "current").resolve() / "motd"
        plan(2, version("3.2"), on=(server,))
        run_once(tmp_path, server)
        file.write_text("bad")
        plan(3, version("3.1"), on=(server,))
        run_once(tmp_path, server)
        assert (current(tmp_path), file.read_text()) == ("3.1", "3.1")


def test_groups_are_deployed_in_the_order_of_their_requirements(tmp_path: Path) -> None:
    board = Board(BOARD.id, BOARD.location, BOARD.type, ("routing", "platform"))
    order = f"#!/bin/sh\necho $BOARDWRIGHT_GROUP >> {tmp_path}/order\n".encode()
    install = InstallSpec(after=("bin/go",))
    platform = Software("3.1", {"bin/go": order, "motd": b"p"}, install=install)
    routing = Software("8.4", {"bin/go": order}, group="routing", install=install, requires={"platform": ">= 3"})
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        plan(1, routing, platform, on=(server,))
        run_once(tmp_path, server, board=board)
    assert (tmp_path / "order").read_text().split() == ["platform", "routing"]


def test_a_group_whose_requirement_is_unmet_says_so(tmp_path: Path) -> None:
    board = Board(BOARD.id, BOARD.location, BOARD.type, ("routing",))
    routing = Software("8.4", {"motd": b"r"}, group="routing", requires={"platform": ">= 3"})
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        plan(1, routing, on=(server,))
        with pytest.raises(FailedError, match="requires platform >= 3, but nothing of it runs"):
            run_once(tmp_path, server, board=board)


def test_without_the_ledger_the_running_version_is_adopted(tmp_path: Path) -> None:
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        plan(1, version("3.1"), on=(server,))
        run_once(tmp_path, server)
        Ledger(tmp_path / "state").path.unlink()
        server.served.clear()
        run_once(tmp_path, server)
        assert server.served == []
        assert group(last(server)).version == "3.1"


def test_nothing_of_a_download_stays_in_the_store(tmp_path: Path) -> None:
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        plan(1, version("3.1"), on=(server,))
        run_once(tmp_path, server)
        left = [path for path in (tmp_path / "state" / "store").rglob("*") if path.is_file() and len(path.name) == 64]
        assert left == []
        assert list((tmp_path / "state" / "manifests").iterdir()) == []


def test_a_manifest_of_another_version_than_the_plan_says_is_refused(tmp_path: Path) -> None:
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        software = version("3.1")
        plan(1, software, on=(server,))
        lie = msgspec.structs.replace(software.target, version="9.9")
        sign(1, lie, on=(server,))
        with pytest.raises(FailedError, match=r"the plan calls it platform 9.9, its manifest platform 3.1"):
            run_once(tmp_path, server)


def test_without_any_server_it_ends_after_10_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boardwright.agent.agent.ONCE_PATIENCE", 0.5)
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        server.silent = True
        with pytest.raises(UnreachableError, match="no server answered"):
            run_once(tmp_path, server)


def test_one_process_may_stand_for_several_boards(tmp_path: Path) -> None:
    boards = {
        tmp_path / name: Board(name, BOARD.location, BOARD.type, BOARD.groups) for name in ("fpga0", "fpga1", "bmc")
    }
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        plan(1, version("3.1"), on=(server,))
        run_boards_once(boards, server)
        for path in boards:
            assert current(path) == "3.1"
        assert {report.board.id for report in server.reports} == {"fpga0", "fpga1", "bmc"}
