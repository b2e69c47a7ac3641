"""The installer ``tree``: a directory per version and one atomic link that says which of them runs.

Layout below ROOT/<group>/::

    current -> versions/8.4.4-3f2a...     replaced by rename: there is no moment without a version
    versions/<version>-<manifest[:12]>/   the files
    manifests/<version>-<manifest[:12]>   the manifest's bytes, written last: a version without it is not complete

Rules:

* Before-hooks run while the old version is in place; a non-zero exit is a veto and nothing was changed.
* Then the link is switched, after-hooks of the new version run, and its units are restarted if systemd is there.
* Rolling back switches the link, then runs the after-hooks and restarts the units of the version that comes back.
* Only ``collect`` and ``discard`` remove versions, never the one that the link points to.
* A version directory is moved aside before it is removed, so that a crash leaves no half version under its name.
* Hooks are programs of the version (paths relative to it, run in it) and see BOARDWRIGHT_BOARD, _GROUP, _VERSION, _TREE
  (the version's directory), _PREVIOUS (the version before, or empty) and _STEP (before, after).
"""

import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from boardwright.agent.commands import CommandResult, environment, run_command
from boardwright.agent.installers.base import DiskError, Installed, InstallError, Place, Version, VetoError
from boardwright.errors import MalformedError
from boardwright.model.software import (
    InstallSpec,
    Target,
    check_path,
    decode_manifest,
    digest_of,
)
from boardwright.transfer.durable import sync_directory, write_durably
from boardwright.transfer.tree import BUILDING, remove_tree

CURRENT = "current"
_REMOVED = ".removed-"


class TreeInstaller:
    """Versions as directories below `place.directory`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._versions = place.directory / "versions"
        self._manifests = place.directory / "manifests"
        self._link = place.directory / CURRENT

    def stage(self, version: Version, build: Callable[[Path], None]) -> None:
        """Build the version's directory; a version that is complete already is left as it is."""
        if self.find(version.target) is not None:
            return
        for directory in (self._versions, self._manifests):
            directory.mkdir(parents=True, exist_ok=True)
        name = _name(version.target)
        build(self._versions / name)
        sync_directory(self._versions)
        write_durably(self._manifests / name, version.data)

    def activate(self, target: Target, running: Target | None) -> None:
        """Hooks before, the link, hooks after, units."""
        installed = self._need(target)
        install = installed.manifest.install
        previous = running.version if running else ""
        for hook in install.before:
            result = self._run_hook(hook, "before", installed, previous, install)
            if not result.ok:
                raise VetoError(f"hook {hook} vetoed {target.version}: it {result.problem}", log=result.tail)
        self._switch(installed.path)
        self._after(installed, previous)

    def confirm(self, running: Target) -> None:
        """Nothing to do: the link outlasts a restart already."""

    def collect(self, kept: Collection[Target]) -> None:
        """Remove every version but these and what the link points to, and what crashes have left."""
        names = {_name(target) for target in kept}
        in_place = self._in_place()
        if in_place is not None:
            names.add(in_place)
        for directory in (self._manifests, self._versions):
            if directory.is_dir():
                for entry in directory.iterdir():
                    if entry.name not in names:
                        self._remove(entry.name)

    def roll_back(self, target: Target, to: Target | None) -> None:
        """The link back, hooks after, units; without a version to go back to, the link goes."""
        if to is None:
            self._link.unlink(missing_ok=True)
            sync_directory(self._place.directory)
            return
        installed = self._need(to)
        self._switch(installed.path)
        self._after(installed, target.version)

    def discard(self, target: Target) -> None:
        """Remove the version unless the link points to it."""
        if self._in_place() != _name(target):
            self._remove(_name(target))
            remove_tree(self._versions / f"{BUILDING}{_name(target)}")  # begun, and cut off

    def find(self, target: Target) -> Installed | None:
        """The version with its manifest, if both are there and the manifest is the one that `target` names."""
        installed = self._read(_name(target))
        return installed if installed is not None and installed.target.manifest == target.manifest else None

    def running(self) -> Installed | None:
        """What the link points to."""
        name = self._in_place()
        return self._read(name) if name is not None else None

    def _in_place(self) -> str | None:
        try:
            return self._link.readlink().name
        except OSError:
            return None

    def _read(self, name: str) -> Installed | None:
        try:
            data = (self._manifests / name).read_bytes()
            manifest = decode_manifest(data)
        except (OSError, MalformedError):
            return None
        path = self._versions / name
        if not path.is_dir():
            return None
        return Installed(Target(manifest.group, manifest.version, manifest.variant, digest_of(data)), manifest, path)

    def _need(self, target: Target) -> Installed:
        installed = self.find(target)
        if installed is None:
            raise InstallError(f"{target.group} {target.version} is not complete in {self._versions}")
        return installed

    def _switch(self, path: Path) -> None:
        temporary = self._place.directory / f".{CURRENT}.new"
        try:
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(path.relative_to(self._place.directory))
            temporary.replace(self._link)
            sync_directory(self._place.directory)
        except OSError as error:
            raise DiskError(f"cannot point {self._link} to {path.name}: {os.strerror(error.errno or 0)}") from error

    def _after(self, installed: Installed, previous: str) -> None:
        install = installed.manifest.install
        for hook in install.after:
            result = self._run_hook(hook, "after", installed, previous, install)
            if not result.ok:
                raise InstallError(f"hook {hook} of {installed.target.version} {result.problem}", log=result.tail)
        if not install.restart:
            return
        systemctl = shutil.which("systemctl", path=self._place.environment.get("PATH", os.defpath))
        if systemctl is None:
            return  # a board without systemd: its hooks restart what is to be restarted
        for unit in install.restart:
            result = self._run([systemctl, "restart", unit], "after", installed, previous, install)
            if not result.ok:
                raise InstallError(f"restart of {unit} {result.problem}", log=result.tail)

    def _run_hook(
        self, hook: str, step: str, installed: Installed, previous: str, install: InstallSpec
    ) -> CommandResult:
        try:
            check_path(hook)
        except MalformedError:
            return CommandResult("is not a path in the version", "")
        return self._run([str(installed.path / hook)], step, installed, previous, install)

    def _run(
        self, argv: list[str], step: str, installed: Installed, previous: str, install: InstallSpec
    ) -> CommandResult:
        own = program_variables(self._place, installed, previous) | {"BOARDWRIGHT_STEP": step}
        return run_command(
            argv,
            cwd=installed.path,
            env=environment(self._place.environment, own),
            timeout=install.hook_timeout,
            stop=self._place.stop,
        )

    def _remove(self, name: str) -> None:
        """Each step durable before the next: a power cut leaves no half version under a name that counts."""
        path = self._versions / name
        aside = path if name.startswith(_REMOVED) else self._versions / f"{_REMOVED}{name}"
        if (self._manifests / name).exists():
            (self._manifests / name).unlink()
            sync_directory(self._manifests)
        remove_tree(aside)
        if path.is_dir():
            path.rename(aside)
            sync_directory(self._versions)
            remove_tree(aside)
        else:
            path.unlink(missing_ok=True)


def program_variables(place: Place, installed: Installed, previous: str) -> dict[str, str]:
    """What hooks and health checks are told by their environment."""
    return {
        "BOARDWRIGHT_BOARD": place.board,
        "BOARDWRIGHT_GROUP": place.group,
        "BOARDWRIGHT_VERSION": installed.target.version,
        "BOARDWRIGHT_TREE": str(installed.path),
        "BOARDWRIGHT_PREVIOUS": previous,
    }


def _name(target: Target) -> str:
    return f"{target.version}-{target.manifest[:12]}"
