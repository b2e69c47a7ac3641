"""The installer ``command`` with real programs; a file stands for the flash that they write."""

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from boardwright.agent.installers import command
from boardwright.agent.installers.base import InstallError, Place, VetoError
from boardwright.agent.installers.command import CommandInstaller
from boardwright.errors import MalformedError
from boardwright.model.software import (
    CommandSpec,
    InstallSpec,
    Target,
    check_manifest,
    decode_manifest,
    encode_manifest,
)
from tests.unit.agent.group import Files, Group, version

ACTIVATE = '#!/bin/sh\nset -e\necho "$BOARDWRIGHT_STEP $BOARDWRIGHT_VERSION <$BOARDWRIGHT_PREVIOUS" >> ../../log\n'
WRITE = 'cp "$BOARDWRIGHT_TREE/motd" ../../flash\n'
ALL = CommandSpec(
    activate=("bin/put", "activate"),
    stage=("bin/say",),
    confirm=("bin/say",),
    roll_back=("bin/put", "back"),
    running=("cat", "../../flash"),
)
SPEC = InstallSpec(installer="command", command=ALL)


def files(name: str, put: str = ACTIVATE + WRITE) -> Files:
    return {"motd": name, "bin/put": put, "bin/say": ACTIVATE}


def spec(**programs: tuple[str, ...]) -> InstallSpec:
    return InstallSpec(installer="command", command=CommandSpec(**({"activate": ("bin/put",)} | programs)))


@pytest.fixture
def group(tmp_path: Path) -> Group:
    place = Place("c1s3", "routing", tmp_path / "routing", {"PATH": "/usr/bin:/bin"}, threading.Event())
    return Group(place, CommandInstaller)


def flash(group: Group) -> str:
    path = group.place.directory / "flash"
    return path.read_text() if path.exists() else ""


def log_of(group: Group) -> list[str]:
    return (group.place.directory / "log").read_text().splitlines()


def deployed(group: Group, name: str, install: InstallSpec = SPEC, running: Target | None = None) -> Target:
    target = group.stage(name, files(name), install)
    group.activate(target, running)
    group.confirm(target)
    return target


class TestTheProgramsOfAVersion:
    def test_are_run_step_by_step_and_told_what_they_do(self, group: Group) -> None:
        first = deployed(group, "1")
        second = deployed(group, "2", running=first)
        assert log_of(group) == [
            *("stage 1 <", "activate 1 <", "confirm 1 <"),
            *("stage 2 <1", "activate 2 <1", "confirm 2 <"),
        ]
        assert flash(group) == "2"
        assert group.running() == second

    def test_put_the_old_version_back(self, group: Group) -> None:
        first = deployed(group, "1")
        second = group.stage("2", files("2"), SPEC)
        group.activate(second, first)
        group.roll_back(second, first)
        assert log_of(group)[-1] == "roll-back 1 <2"
        assert (flash(group), group.running()) == ("1", first)

    def test_put_it_back_by_activating_it_if_there_is_no_other_way(self, group: Group) -> None:
        first = deployed(group, "1", spec())
        second = group.stage("2", files("2"), spec())
        group.activate(second, first)
        group.roll_back(second, first)
        assert (flash(group), group.running()) == ("1", first)

    def test_remove_a_first_version_that_fails(self, group: Group) -> None:
        target = group.stage("1", files("1"), SPEC)
        group.activate(target, None)
        group.roll_back(target, None)
        assert log_of(group)[-1] == "remove 1 <"
        assert group.running() is None

    def test_may_be_the_boards_own(self, group: Group, tmp_path: Path) -> None:
        tool = tmp_path / "flash-tool"
        tool.write_text(f'#!/bin/sh\ncp "$BOARDWRIGHT_TREE/$1" {tmp_path}/routing/flash\n')
        tool.chmod(0o755)
        target = group.stage("1", {"image.bin": "1"}, spec(activate=(str(tool), "image.bin")))
        group.activate(target, None)
        assert (flash(group), group.running()) == ("1", target)

    def test_that_say_no_while_staging_veto(self, group: Group) -> None:
        with pytest.raises(VetoError, match=r"bin/put of 1 ended with exit code 3") as veto:
            group.stage("1", files("1", "#!/bin/sh\necho does not fit\nexit 3\n"), spec(stage=("bin/put",)))
        assert veto.value.log == "does not fit\n"

    def test_that_fail_to_activate_leave_nobody_sure_until_it_is_rolled_back(self, group: Group) -> None:
        first = deployed(group, "1", spec())
        second = group.stage("2", files("2", "#!/bin/sh\nprintf half > ../../flash\nexit 1\n"), spec())
        with pytest.raises(InstallError, match=r"bin/put of 2 ended with exit code 1"):
            group.activate(second, first)
        assert group.again().running() is None
        group.roll_back(second, first)
        assert (flash(group), group.running()) == ("1", first)

    def test_that_fail_to_confirm_are_named(self, group: Group) -> None:
        target = group.stage("1", files("1"), spec(confirm=("false",)))
        group.activate(target, None)
        with pytest.raises(InstallError, match=r"false of 1 ended with exit code 1"):
            group.confirm(target)

    def test_that_never_end_are_ended(self, group: Group) -> None:
        install = msgspec.structs.replace(spec(activate=("sleep", "1000")), hook_timeout=0.3)
        target = group.stage("1", files("1"), install)
        with pytest.raises(InstallError, match=r"sleep of 1 took longer than 0.3 s"):
            group.activate(target, None)

    def test_come_with_hooks_that_may_veto(self, group: Group) -> None:
        install = msgspec.structs.replace(spec(), before=("bin/no",))
        target = group.stage("1", files("1") | {"bin/no": "#!/bin/sh\nexit 1\n"}, install)
        with pytest.raises(VetoError, match="hook bin/no vetoed 1"):
            group.activate(target, None)
        assert flash(group) == ""


class TestWhatRuns:
    def test_is_what_the_board_says(self, group: Group) -> None:
        first = deployed(group, "1")
        deployed(group, "2", running=first)
        (group.place.directory / "flash").write_text("some words\n1\n")
        assert group.running() == first

    def test_is_nothing_if_the_board_names_a_version_that_nobody_knows(self, group: Group) -> None:
        deployed(group, "1")
        for said in ("factory", "", "../1", "*"):
            (group.place.directory / "flash").write_text(said)
            assert (said, group.running()) == (said, None)

    def test_is_remembered_if_there_is_nobody_to_ask(self, group: Group) -> None:
        target = deployed(group, "1", spec())
        assert group.again().running() == target

    @pytest.mark.parametrize("ask", [("false",), ("sleep", "1000"), ("bin/none",)])
    def test_is_remembered_if_the_one_to_ask_fails_or_hangs(
        self, group: Group, ask: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(command, "ASK_LIMIT", 0.3)
        target = deployed(group, "1", spec(running=ask))
        assert group.running() == target


class PowerCutError(BaseException):
    """Passes by every handler of errors, as a power cut does."""


class TestAPowerCut:
    """After every step of the installer: the next agent does the step again and ends it, or rolls back."""

    STEPS = ("write_durably", "_run", "use", "_unmark", "after")

    @pytest.fixture(params=[(step, late) for step in STEPS for late in (False, True)])
    def cut(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
        """The power goes before or after one step."""
        name, late = request.param
        owner = {"write_durably": command, "use": command.Installed, "after": command.Programs}.get(name)
        owner = owner or CommandInstaller
        owner = type(Place("", "", Path(), {}, threading.Event()).versions) if name == "use" else owner
        inner = getattr(owner, name)

        def dying(*args: object, **kwargs: object) -> None:
            if late:
                inner(*args, **kwargs)
            raise PowerCutError

        with monkeypatch.context() as patch:
            self.arm = lambda: patch.setattr(owner, name, dying)
            yield patch

    def test_in_an_activation_ends_with_the_new_version_when_it_is_done_again(
        self, group: Group, cut: pytest.MonkeyPatch
    ) -> None:
        first = deployed(group, "1", spec())
        second = group.stage("2", files("2"), spec())
        self._cut_off(cut, lambda: group.activate(second, first))
        after = group.again()
        assert after.running() in (first, second, None)
        after.activate(second, first)
        assert (flash(after), after.running()) == ("2", second)

    def test_in_an_activation_ends_with_the_old_version_when_it_is_given_up(
        self, group: Group, cut: pytest.MonkeyPatch
    ) -> None:
        first = deployed(group, "1", spec())
        second = group.stage("2", files("2"), spec())
        self._cut_off(cut, lambda: group.activate(second, first))
        after = group.again()
        after.roll_back(second, first)
        assert (flash(after), after.running()) == ("1", first)

    def test_in_a_rollback_ends_with_the_old_version(self, group: Group, cut: pytest.MonkeyPatch) -> None:
        first = deployed(group, "1", spec())
        second = group.stage("2", files("2"), spec())
        group.activate(second, first)
        self._cut_off(cut, lambda: group.roll_back(second, first))
        after = group.again()
        after.roll_back(second, first)
        assert (flash(after), after.running()) == ("1", first)

    def _cut_off(self, cut: pytest.MonkeyPatch, step: "object") -> None:
        self.arm()
        with pytest.raises(PowerCutError):
            step()  # type: ignore[operator]
        cut.undo()


class TestAManifest:
    def test_keeps_the_programs(self) -> None:
        manifest = version("1", SPEC).manifest
        assert decode_manifest(encode_manifest(manifest)) == manifest

    @pytest.mark.parametrize("install", [InstallSpec(installer="command"), spec(activate=())])
    def test_that_names_no_program_to_activate_is_refused(self, install: InstallSpec) -> None:
        with pytest.raises(MalformedError, match="no program that activates"):
            check_manifest(version("1", install).manifest)

    @pytest.mark.parametrize("program", ["../evil", "a//b", "/../x", "/"])
    def test_whose_programs_lead_out_of_the_version_is_refused(self, program: str) -> None:
        with pytest.raises(MalformedError, match="path"):
            check_manifest(version("1", spec(stage=(program,))).manifest)
