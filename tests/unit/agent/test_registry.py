"""Installers of other packages: found by entry point, and never able to take the agent down."""

import sys
import threading
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from boardwright.agent.installers.base import Installed, Installer, InstallError, Place, Target, VetoError
from boardwright.agent.installers.registry import BUILT_IN, GROUP, find_installers, make_installer
from boardwright.agent.installers.tree import TreeInstaller
from boardwright.errors import FailedError
from boardwright.model.software import SCHEMA, Manifest

TARGET = Target("routing", "1", "*", "0" * 64)
VERSION = Installed(TARGET, Manifest(SCHEMA, "routing", "1"), Path("/nowhere"))


class Clumsy:
    """Everything that a method can do wrong."""

    def __init__(self, place: Place) -> None: ...

    def stage(self, version: Installed) -> None:
        raise KeyError("slot")

    def activate(self, version: Installed, running: Target | None) -> None:
        raise VetoError("not now", log="busy")

    def confirm(self, version: Installed) -> None:
        sys.exit(3)

    def roll_back(self, target: Target, to: Installed | None) -> None:
        raise OSError(5, "Input/output error")

    def running(self) -> Installed | None:
        return "1"  # type: ignore[return-value]


def useless(place: Place) -> Installer:
    raise RuntimeError("no such device")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place("c1s3", "routing", tmp_path / "routing", {}, threading.Event())


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("somebodys_package")
    module.__dict__.update(Clumsy=Clumsy, useless=useless, number=7)
    monkeypatch.setitem(sys.modules, "somebodys_package", module)


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


class TestAnInstallerOfAnotherPackage:
    def test_is_there_beside_the_built_in_ones(self) -> None:
        assert set(find_installers([point("ab", "somebodys_package:Clumsy")])) == {"ab", "command", "tree"}

    def test_cannot_take_the_name_of_a_built_in_one(self, place: Place) -> None:
        found = find_installers([point("tree", "somebodys_package:Clumsy")])
        assert found == BUILT_IN
        assert isinstance(make_installer("tree", place, found), TreeInstaller)

    def test_that_two_packages_claim_is_nobodys(self, place: Place) -> None:
        found = find_installers([point("ab", "somebodys_package:Clumsy"), point("ab", "another:Thing")])
        with pytest.raises(FailedError, match=r"several packages bring the installer 'ab': another:Thing, somebodys"):
            make_installer("ab", place, found)

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ("no_such_package_here:X", "cannot be loaded: ModuleNotFoundError: No module named"),
            ("somebodys_package:Nothing", "cannot be loaded: AttributeError"),
            ("somebodys_package:number", "is no factory, but int"),
        ],
    )
    def test_that_is_broken_is_a_reason_where_it_is_asked_for(self, place: Place, value: str, said: str) -> None:
        found = find_installers([point("ab", value)])
        with pytest.raises(FailedError, match=f"routing cannot be installed: the installer 'ab' of .* {said}"):
            make_installer("ab", place, found)

    def test_that_cannot_be_made_says_why(self, place: Place) -> None:
        found = find_installers([point("ab", "somebodys_package:useless")])
        with pytest.raises(InstallError, match="installer 'ab' could not make itself ready: RuntimeError: no such dev"):
            make_installer("ab", place, found)

    def test_that_makes_mistakes_fails_with_a_sentence(self, place: Place) -> None:
        clumsy = make_installer("ab", place, find_installers([point("ab", "somebodys_package:Clumsy")]))
        with pytest.raises(InstallError, match="installer 'ab' could not stage: KeyError: 'slot'"):
            clumsy.stage(VERSION)
        with pytest.raises(VetoError, match="not now"):
            clumsy.activate(VERSION, None)
        with pytest.raises(InstallError, match="installer 'ab' could not confirm: SystemExit: 3"):
            clumsy.confirm(VERSION)
        with pytest.raises(InstallError, match=r"could not roll back: OSError: .*Input/output"):
            clumsy.roll_back(TARGET, None)
        with pytest.raises(InstallError, match="answers running\\(\\) with str, not Installed"):
            clumsy.running()


def test_what_is_installed_here_can_be_listed() -> None:
    assert set(BUILT_IN) <= set(find_installers())
