"""One software group on a board's disk with an installer on it, used as the agent uses them."""

from collections.abc import Callable
from pathlib import Path

from boardwright.agent.installers.base import Factory, Installed, InstallError, Place, Version
from boardwright.model.software import SCHEMA, InstallSpec, Manifest, Target, digest_of, encode_manifest

Files = dict[str, str]


def version(name: str, install: InstallSpec | None = None) -> Version:
    manifest = Manifest(schema=SCHEMA, group="routing", version=name, install=install or InstallSpec())
    data = encode_manifest(manifest)
    return Version(Target("routing", name, "*", digest_of(data)), manifest, data)


def builder(files: Files) -> Callable[[Path], None]:
    def build(destination: Path) -> None:
        for name, text in files.items():
            path = destination / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        destination.mkdir(exist_ok=True)

    return build


class Group:
    """Versions by the plan's names for them."""

    def __init__(self, place: Place, make: Factory) -> None:
        self.place, self.versions = place, place.versions
        self.installer = make(place)
        self._make = make

    def again(self) -> "Group":
        """As the next agent finds it."""
        return Group(self.place, self._make)

    def stage(self, name: str, files: Files | None = None, install: InstallSpec | None = None) -> Target:
        staged = version(name, install)
        self.versions.add(staged, builder({"motd": name} if files is None else files))
        found = self.versions.find(staged.target)
        if found is not None:
            self.installer.stage(found)
        return staged.target

    def activate(self, target: Target, running: Target | None) -> None:
        self.installer.activate(self.need(target), running)

    def confirm(self, target: Target) -> None:
        self.installer.confirm(self.need(target))

    def roll_back(self, target: Target, to: Target | None) -> None:
        self.installer.roll_back(target, self.need(to) if to else None)

    def running(self) -> Target | None:
        found = self.installer.running()
        return found.target if found else None

    def need(self, target: Target) -> Installed:
        installed = self.versions.find(target)
        if installed is None:
            raise InstallError(f"{target.version} is not complete")
        return installed
