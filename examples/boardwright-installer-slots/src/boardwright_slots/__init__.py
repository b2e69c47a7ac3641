"""The installer ``slots``: an image goes into the idle one of two slots; one small file says which slot is active.

Rules:

* ``stage`` writes the idle slot, never the active one, and can be cut off anywhere: it is written again.
* ``activate`` and ``roll_back`` replace the file `active` by rename, after the slot's bytes are durable.
* A rollback does not write: the old version is still in its slot.
"""

import os
import shutil
from pathlib import Path

from boardwright.agent.installers.base import Installed, InstallError, Place, Target, VetoError
from boardwright.agent.installers.programs import Programs

SLOTS = ("slot-a", "slot-b")


class SlotsInstaller:
    """Two slots below `place.directory`; `active` and the notes beside the slots hold manifests' digests."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._directory = place.directory
        self._programs = Programs(place)

    def stage(self, version: Installed) -> None:
        """Write the image into the idle slot, then note whose it is."""
        if len(version.manifest.files) != 1:
            raise VetoError(f"{version.target.version} is {len(version.manifest.files)} files, a slot takes one image")
        if self._slot_of(version.target) is not None:
            return
        active = self._read("active")
        slot = next(name for name in SLOTS if name != active)
        self._write(f"{slot}.holds", "")  # while it is written it holds nothing
        with (
            (version.path / version.manifest.files[0].path).open("rb") as image,
            (self._directory / slot).open("wb") as to,
        ):
            shutil.copyfileobj(image, to, 1024 * 1024)
            to.flush()
            os.fsync(to.fileno())
        self._write(f"{slot}.holds", version.target.manifest)

    def activate(self, version: Installed, running: Target | None) -> None:
        """Hooks before, the active slot, hooks after."""
        previous = running.version if running else ""
        self._programs.before(version, previous)
        self.stage(version)
        self._switch(version)
        self._programs.after(version, previous)

    def confirm(self, version: Installed) -> None:
        """Nothing to do: a boot loader's "good" mark would be set here."""

    def roll_back(self, target: Target, to: Installed | None) -> None:
        """Back to the slot of `to`, whose bytes were never touched."""
        if to is None:
            self._write("active", "")
            self._place.versions.use(None)
            return
        if self._slot_of(to.target) is None:
            self.stage(to)
        self._switch(to)
        self._programs.after(to, target.version)

    def running(self) -> Installed | None:
        """Whose image the active slot holds."""
        active = self._read("active")
        current = self._place.versions.current()
        if current is not None and active and self._read(f"{active}.holds") == current.target.manifest:
            return current
        return None

    def _switch(self, version: Installed) -> None:
        slot = self._slot_of(version.target)
        if slot is None:
            raise InstallError(f"no slot holds {version.target.version}")
        self._write("active", slot)
        self._place.versions.use(version)

    def _slot_of(self, target: Target) -> str | None:
        return next((name for name in SLOTS if self._read(f"{name}.holds") == target.manifest), None)

    def _read(self, name: str) -> str:
        try:
            return (self._directory / name).read_text()
        except FileNotFoundError:
            return ""

    def _write(self, name: str, text: str) -> None:
        """Durably: the bytes, then the name."""
        self._directory.mkdir(parents=True, exist_ok=True)
        temporary = self._directory / f".{name}.new"
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._directory / name)
        _sync(self._directory)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
