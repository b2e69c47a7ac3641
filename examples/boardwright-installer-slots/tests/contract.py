"""What every installer must keep. Subclass ``ContractTest``, name your factory, and let pytest run it."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from boardwright.agent.installers.base import Factory, Installed, Place, Target, Version
from boardwright.model.software import SCHEMA, BlobRef, FileEntry, Manifest, digest_of, encode_manifest

GROUP = "platform"


class ContractTest:
    """`factory` makes the installer; versions have one file, ``image``."""

    factory: Factory

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Place("c1s3", GROUP, tmp_path / GROUP, {"PATH": "/usr/bin:/bin"}, threading.Event())

    def version(self, place: Place, name: str) -> Installed:
        """As the agent hands it over: complete and durable on the disk."""
        digest = digest_of(name.encode())
        blob = BlobRef(digest, len(name), bytes.fromhex(digest))
        image = FileEntry("image", 0o644, len(name), digest, blob=0)
        manifest = Manifest(SCHEMA, GROUP, name, files=(image,), blobs=(blob,))
        data = encode_manifest(manifest)
        target = Target(GROUP, name, "*", digest_of(data))

        def build(destination: Path) -> None:
            destination.mkdir(parents=True)
            (destination / "image").write_text(name)

        return place.versions.add(Version(target, manifest, data), build)

    def deployed(self, place: Place, name: str, running: Target | None = None) -> Installed:
        version, installer = self.version(place, name), type(self).factory(place)
        installer.stage(version)
        installer.activate(version, running)
        installer.confirm(version)
        return version

    def test_nothing_runs_on_a_blank_board(self, place: Place) -> None:
        assert type(self).factory(place).running() is None

    def test_what_was_activated_runs_also_for_the_next_agent(self, place: Place) -> None:
        first = self.deployed(place, "1")
        assert type(self).factory(place).running() == first
        second = self.deployed(place, "2", first.target)
        assert type(self).factory(place).running() == second

    def test_staging_does_not_touch_what_runs(self, place: Place) -> None:
        first = self.deployed(place, "1")
        type(self).factory(place).stage(self.version(place, "2"))
        assert type(self).factory(place).running() == first

    def test_every_step_may_be_done_twice(self, place: Place) -> None:
        first, second = self.deployed(place, "1"), self.version(place, "2")
        installer = type(self).factory(place)
        steps: list[Callable[[], None]] = [
            lambda: installer.stage(second),
            lambda: installer.activate(second, first.target),
            lambda: installer.confirm(second),
            lambda: installer.roll_back(second.target, first),
        ]
        for step in steps:
            step()
            step()
        assert type(self).factory(place).running() == first

    def test_a_rollback_brings_the_old_version_back(self, place: Place) -> None:
        first, second = self.deployed(place, "1"), self.version(place, "2")
        installer = type(self).factory(place)
        installer.stage(second)
        installer.activate(second, first.target)
        type(self).factory(place).roll_back(second.target, first)
        assert type(self).factory(place).running() == first

    def test_a_first_version_can_be_taken_back(self, place: Place) -> None:
        first = self.deployed(place, "1")
        type(self).factory(place).roll_back(first.target, None)
        assert type(self).factory(place).running() is None
