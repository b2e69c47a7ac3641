"""The tree installer on real directories with real hooks."""

import threading
from pathlib import Path

import pytest

from boardwright.agent.installers.base import InstallError, Place, VetoError
from boardwright.agent.installers.registry import make_installer
from boardwright.agent.installers.tree import TreeInstaller
from boardwright.errors import FailedError
from boardwright.model.software import InstallSpec, Target
from tests.unit.agent.group import Files, Group, version


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place("c1s3", "routing", tmp_path / "routing", {"PATH": "/usr/bin:/bin"}, threading.Event())


@pytest.fixture
def tree(place: Place) -> Group:
    return Group(place, TreeInstaller)


def stage(tree: Group, name: str, files: Files | None = None, install: InstallSpec | None = None) -> Target:
    return tree.stage(name, files, install)


def runs(place: Place) -> str:
    return (place.directory / "current" / "motd").read_text()


class TestAVersion:
    def test_lies_beside_the_running_one_until_it_is_activated(self, tree: Group, place: Place) -> None:
        tree.activate(stage(tree, "1"), None)
        second = stage(tree, "2")
        assert runs(place) == "1"
        tree.activate(second, None)
        assert runs(place) == "2"

    def test_has_a_directory_named_by_version_and_manifest(self, tree: Group, place: Place) -> None:
        target = stage(tree, "1")
        tree.activate(target, None)
        assert (place.directory / "current").readlink() == Path("versions") / f"1-{target.manifest[:12]}"

    def test_is_known_by_the_link_whatever_the_ledger_says(self, tree: Group) -> None:
        assert tree.running() is None
        target = stage(tree, "1")
        tree.activate(target, None)
        assert tree.running() == target

    def test_without_its_manifest_is_not_complete(self, tree: Group, place: Place) -> None:
        target = stage(tree, "1")
        for path in (place.directory / "manifests").iterdir():
            path.unlink()
        assert tree.versions.find(target) is None
        with pytest.raises(InstallError, match="not complete"):
            tree.activate(target, None)

    def test_is_not_built_twice(self, tree: Group) -> None:
        stage(tree, "1")

        def never(destination: Path) -> None:
            pytest.fail(f"built {destination} again")

        tree.versions.add(version("1"), never)

    def test_whose_building_fails_leaves_nothing_that_counts(self, tree: Group) -> None:
        def half(destination: Path) -> None:
            destination.mkdir()
            raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space"):
            tree.versions.add(version("1"), half)
        assert tree.versions.find(version("1").target) is None

    def test_may_be_activated_twice(self, tree: Group, place: Place) -> None:
        target = stage(tree, "1")
        tree.activate(target, None)
        tree.activate(target, None)
        assert runs(place) == "1"


class TestHooks:
    def test_before_the_take_over_may_veto_and_nothing_changes(self, tree: Group, place: Place) -> None:
        tree.activate(stage(tree, "1"), None)
        hook = "#!/bin/sh\necho not on a Sunday\nexit 3\n"
        second = stage(tree, "2", {"motd": "2", "bin/check": hook}, InstallSpec(before=("bin/check",)))
        with pytest.raises(VetoError, match=r"bin/check vetoed 2: it ended with exit code 3") as veto:
            tree.activate(second, None)
        assert veto.value.log == "not on a Sunday\n"
        assert runs(place) == "1"

    def test_after_it_may_fail_the_activation(self, tree: Group) -> None:
        hook = "#!/bin/sh\necho broken >&2\nexit 1\n"
        target = stage(tree, "1", {"bin/go": hook}, InstallSpec(after=("bin/go",)))
        with pytest.raises(InstallError, match="bin/go of 1 ended with exit code 1") as failed:
            tree.activate(target, None)
        assert failed.value.log == "broken\n"

    def test_see_the_documented_environment_and_nothing_of_the_agents(
        self, tree: Group, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", "/somewhere")
        hook = "#!/bin/sh\nenv > environment\npwd >> environment\n"
        first = stage(tree, "1")
        tree.activate(first, None)
        target = stage(tree, "2", {"bin/go": hook}, InstallSpec(before=("bin/go",)))
        tree.activate(target, first)
        path = place.directory / "versions" / f"2-{target.manifest[:12]}"
        seen = (path / "environment").read_text().splitlines()
        assert {
            "BOARDWRIGHT_BOARD=c1s3",
            "BOARDWRIGHT_GROUP=routing",
            "BOARDWRIGHT_VERSION=2",
            "BOARDWRIGHT_PREVIOUS=1",
            "BOARDWRIGHT_STEP=before",
            f"BOARDWRIGHT_TREE={path}",
            str(path),
        } <= set(seen)
        assert not [line for line in seen if line.startswith("PYTHONPATH")]

    def test_that_hang_are_ended_with_all_their_children(self, tree: Group) -> None:
        hook = "#!/bin/sh\nsleep 1000 &\nwait\n"
        install = InstallSpec(before=("bin/check",), hook_timeout=0.3)
        target = stage(tree, "1", {"bin/check": hook}, install)
        with pytest.raises(VetoError, match=r"took longer than 0.3 s"):
            tree.activate(target, None)

    def test_that_lead_out_of_the_version_are_refused_with_their_manifest(self, tree: Group) -> None:
        target = stage(tree, "1", None, InstallSpec(before=("../../evil",)))
        assert tree.versions.find(target) is None

    def test_that_are_missing_veto(self, tree: Group) -> None:
        target = stage(tree, "1", None, InstallSpec(before=("bin/none",)))
        with pytest.raises(VetoError, match="could not be started: No such file"):
            tree.activate(target, None)


class TestUnits:
    def test_are_restarted_where_systemd_is(self, tmp_path: Path) -> None:
        self._systemctl(tmp_path, "exit 0")
        tree = self._tree(tmp_path)
        tree.activate(stage(tree, "1", None, InstallSpec(restart=("frr.service",))), None)
        assert (tmp_path / "calls").read_text() == "restart -- frr.service\n"

    def test_that_do_not_restart_fail_the_activation(self, tmp_path: Path) -> None:
        self._systemctl(tmp_path, "exit 5")
        tree = self._tree(tmp_path)
        with pytest.raises(InstallError, match=r"restart of frr.service ended with exit code 5"):
            tree.activate(stage(tree, "1", None, InstallSpec(restart=("frr.service",))), None)

    def test_that_do_not_exist_are_named_in_the_words_of_systemd(self, tmp_path: Path) -> None:
        self._systemctl(tmp_path, "echo 'Failed to restart x.service: Unit x.service not found.' >&2; exit 5")
        tree = self._tree(tmp_path)
        with pytest.raises(InstallError, match=r"exit code 5: Failed to restart x.service: Unit x.service not found."):
            tree.activate(stage(tree, "1", None, InstallSpec(restart=("x.service",))), None)

    def test_that_hang_are_given_up_at_the_time_limit(self, tmp_path: Path) -> None:
        self._systemctl(tmp_path, "exec sleep 1000")
        tree = self._tree(tmp_path)
        install = InstallSpec(restart=("x.service",), hook_timeout=0.3)
        with pytest.raises(InstallError, match=r"restart of x.service took longer than 0.3 s"):
            tree.activate(stage(tree, "1", None, install), None)

    def test_on_a_board_without_systemd_veto_before_anything_is_changed(self, tmp_path: Path) -> None:
        place = Place("c1s3", "routing", tmp_path / "routing", {"PATH": str(tmp_path)}, threading.Event())
        tree = Group(place, TreeInstaller)
        with pytest.raises(VetoError, match=r"1 restarts frr.service, and this board has no systemd"):
            tree.activate(stage(tree, "1", None, InstallSpec(restart=("frr.service",))), None)
        assert tree.running() is None

    def _systemctl(self, tmp_path: Path, end: str) -> None:
        (tmp_path / "bin").mkdir()
        program = tmp_path / "bin" / "systemctl"
        program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n{end}\n')
        program.chmod(0o755)

    def _tree(self, tmp_path: Path) -> Group:
        environ = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
        return Group(Place("c1s3", "routing", tmp_path / "routing", environ, threading.Event()), TreeInstaller)


class TestRollingBack:
    def test_brings_the_old_version_back_and_runs_its_hooks(self, tree: Group, place: Place) -> None:
        hook = "#!/bin/sh\necho $BOARDWRIGHT_STEP $BOARDWRIGHT_PREVIOUS >> ../../log\n"
        first = stage(tree, "1", {"motd": "1", "bin/go": hook}, InstallSpec(after=("bin/go",)))
        tree.activate(first, None)
        second = stage(tree, "2")
        tree.activate(second, first)
        tree.roll_back(second, first)
        assert runs(place) == "1"
        assert (place.directory / "log").read_text() == "after\nafter 2\n"

    def test_of_a_first_version_leaves_nothing_running(self, tree: Group, place: Place) -> None:
        target = stage(tree, "1")
        tree.activate(target, None)
        tree.roll_back(target, None)
        tree.roll_back(target, None)
        assert tree.running() is None
        assert not (place.directory / "current").is_symlink()


class TestOldVersions:
    def test_beyond_the_way_back_are_collected(self, tree: Group, place: Place) -> None:
        targets = [stage(tree, name) for name in ("1", "2", "3")]
        for target in targets:
            tree.activate(target, None)
        tree.confirm(targets[2])
        tree.versions.collect(targets[1:])
        left = sorted(path.name for path in (place.directory / "versions").iterdir())
        assert left == [f"{target.version}-{target.manifest[:12]}" for target in targets[1:]]
        assert tree.versions.find(targets[0]) is None

    def test_what_a_crash_left_of_a_removal_goes_with_them(self, tree: Group, place: Place) -> None:
        target = stage(tree, "1")
        tree.activate(target, None)
        (place.directory / "versions" / ".removed-0-abc").mkdir()
        (place.directory / "versions" / ".building-9-abc" / "x").mkdir(parents=True)
        tree.versions.collect([target])
        assert [path.name for path in (place.directory / "versions").iterdir()] == [f"1-{target.manifest[:12]}"]

    def test_the_one_in_place_is_never_removed(self, tree: Group, place: Place) -> None:
        target = stage(tree, "1")
        tree.activate(target, None)
        tree.versions.discard(target)
        tree.versions.collect([])
        assert runs(place) == "1"

    def test_a_version_that_failed_is_discarded(self, tree: Group) -> None:
        target = stage(tree, "1")
        tree.versions.discard(target)
        tree.versions.discard(target)
        assert tree.versions.find(target) is None


def test_an_unknown_installer_is_named_with_those_that_there_are(place: Place) -> None:
    with pytest.raises(FailedError, match=r"asks for the installer 'rauc', this agent has command, tree"):
        make_installer("rauc", place)
