"""The versions of one software group on a board's disk, whatever installer puts them into use.

Layout below ROOT/<group>/::

    current -> versions/8.4.4-3f2a...     which version is in use; replaced by rename: never a moment without one
    versions/<version>-<manifest[:12]>/   the files
    manifests/<version>-<manifest[:12]>   the manifest's bytes, written last: a version without it is not complete

Rules:

* Only ``collect`` and ``discard`` remove versions, never the one that the link points to.
* A version directory is moved aside before it is removed, so that a crash leaves no half version under its name.
* Programs may write into a version's directory. What a rollback returns to is taken as it was left; a version that is
  deployed again is compared with its manifest first (``intact``), and built anew if it differs.
"""

import contextlib
import os
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from boardwright.errors import FailedError, MalformedError
from boardwright.model.software import Manifest, Target, decode_manifest, digest_of
from boardwright.transfer.durable import sync_directory, write_durably
from boardwright.transfer.tree import BUILDING, remove_tree, reusable

CURRENT = "current"
_REMOVED = ".removed-"


class DiskError(FailedError):
    """The disk did not take a step (it is full, it fails): the version is not to blame, and later it may."""


class Version(msgspec.Struct, frozen=True):
    """A version on its way: the plan's name for it, its manifest, and the bytes that its digest is of."""

    target: Target
    manifest: Manifest
    data: bytes


class Installed(msgspec.Struct, frozen=True):
    """A version on the disk and where its files are."""

    target: Target
    manifest: Manifest
    path: Path


class Versions:
    """The versions below `directory`, which is the group's."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._versions = directory / "versions"
        self._manifests = directory / "manifests"
        self._link = directory / CURRENT

    def add(self, version: Version, build: Callable[[Path], None]) -> Installed:
        """Make the version complete and durable; `build` fills a directory. One that is complete is left as it is."""
        found = self.find(version.target)
        if found is not None:
            return found
        for directory in (self._versions, self._manifests):
            directory.mkdir(parents=True, exist_ok=True)
        name = directory_name(version.target)
        build(self._versions / name)
        sync_directory(self._versions)
        write_durably(self._manifests / name, version.data)
        return Installed(version.target, version.manifest, self._versions / name)

    def find(self, target: Target) -> Installed | None:
        """The version with its manifest, if both are there and the manifest is the one that `target` names."""
        installed = self._read(directory_name(target))
        return installed if installed is not None and installed.target.manifest == target.manifest else None

    def named(self, version: str) -> Installed | None:
        """A version by the name that people know; the one in use first."""
        current = self.current()
        if current is not None and current.target.version == version:
            return current
        listed = sorted(path.name for path in self._manifests.iterdir()) if self._manifests.is_dir() else []
        found = (self._read(name) for name in listed if name.startswith(f"{version}-"))
        return next((one for one in found if one is not None and one.target.version == version), None)

    def current(self) -> Installed | None:
        """What the link points to."""
        name = self._in_use()
        return self._read(name) if name is not None else None

    def use(self, installed: Installed | None) -> None:
        """Point the link to the version, or remove it; durable. Raises DiskError."""
        try:
            if installed is None:
                self._link.unlink(missing_ok=True)
            else:
                temporary = self._directory / f".{CURRENT}.new"
                temporary.unlink(missing_ok=True)
                temporary.symlink_to(installed.path.relative_to(self._directory))
                temporary.replace(self._link)
            if self._directory.is_dir():
                sync_directory(self._directory)
        except OSError as error:
            where = installed.path.name if installed else "nothing"
            raise DiskError(f"cannot point {self._link} to {where}: {os.strerror(error.errno or 0)}") from error

    def intact(self, target: Target) -> Installed | None:
        """The version as it was published; one that programs have altered is removed, unless it is in use."""
        installed = self.find(target)
        if installed is not None and self._in_use() != directory_name(target) and self.altered(installed):
            self.discard(target)
            return None
        return installed

    def altered(self, installed: Installed) -> bool:
        """Whether a file of the version is not what its manifest says (reads them all)."""
        wanted = {entry.sha256 for entry in installed.manifest.files if entry.blob >= 0}
        if reusable(installed.manifest, installed.manifest, installed.path) != wanted:
            return True
        return any(not _as_said(installed.path / entry.path, entry.link) for entry in installed.manifest.files)

    def collect(self, kept: Collection[Target]) -> None:
        """Remove every version but these and the one in use, and what crashes have left. Raises OSError."""
        names = {directory_name(target) for target in kept}
        in_use = self._in_use()
        if in_use is not None:
            names.add(in_use)
        for directory in (self._manifests, self._versions):
            if directory.is_dir():
                for entry in directory.iterdir():
                    if entry.name not in names:
                        self._remove(entry.name)

    def discard(self, target: Target) -> None:
        """Remove the version unless it is in use. Raises OSError."""
        if self._in_use() != directory_name(target):
            self._remove(directory_name(target))
            remove_tree(self._versions / f"{BUILDING}{directory_name(target)}")  # begun, and cut off

    def _in_use(self) -> str | None:
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


def _as_said(path: Path, link: str | None) -> bool:
    with contextlib.suppress(OSError):
        return (str(path.readlink()) == link) if link is not None else path.is_file() and not path.is_symlink()
    return False


def directory_name(target: Target) -> str:
    """Of the version's files, below ``versions``; the boot stage reads it back (``boot.release``)."""
    return f"{target.version}-{target.manifest[:12]}"
