"""The installer ``command``: the user's own programs put a version where it belongs (a flash, an FPGA, a partition).

Rules (docs/hooks.md tells them to users):

* The programs stand in the manifest (``CommandSpec``); `activate` is the only one that must be there. Each may be run
  again after a power cut in the middle of it.
* `stage` that fails is a veto. From the start of `activate` until it ends well nothing is known to be in place: a mark
  on the disk says so, even if the ledger is lost.
* Rolling back runs `roll_back` of the version that comes back, or its `activate` if it has none; if nothing comes back,
  `roll_back` of the version that goes, with the step ``remove``.
* What is in place is what the program `running` prints (a version's name, the last line counts), if there is one, else
  what was remembered by the link ``current``. A board whose card was swapped so finds out that it lacks its software.
"""

from collections.abc import Sequence

from boardwright import log
from boardwright.agent.installers.base import DiskError, Installed, InstallError, Place, Target, VetoError
from boardwright.agent.installers.programs import Programs
from boardwright.errors import MalformedError
from boardwright.model.software import CommandSpec
from boardwright.transfer.durable import sync_directory, write_durably

UNSETTLED = ".unsettled"
STAGE_LIMIT = 1500.0  # seconds; the machine gives up building a version after 1800
ASK_LIMIT = 10.0  # seconds for `running`, which holds up the agent's start

_log = log.get("agent.command")


class CommandInstaller:
    """Versions that the programs of their manifests put into use."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._versions = place.versions
        self._programs = Programs(place)
        self._mark = place.directory / UNSETTLED

    def stage(self, version: Installed) -> None:
        """The program `stage`, if there is one."""
        spec = _spec(version)
        if spec.stage:
            limit = min(version.manifest.install.hook_timeout, STAGE_LIMIT)
            result = self._programs.run(spec.stage, "stage", version, self._previous(), timeout=limit)
            if not result.ok:
                raise VetoError(f"{spec.stage[0]} of {version.target.version} {result.problem}", log=result.tail)

    def activate(self, version: Installed, running: Target | None) -> None:
        """Hooks before, the program `activate`, the link, hooks after, units."""
        previous = running.version if running else ""
        self._programs.before(version, previous)
        self._settle(_spec(version).activate, "activate", version, previous)
        self._programs.after(version, previous)

    def confirm(self, version: Installed) -> None:
        """The program `confirm`, if there is one."""
        spec = _spec(version)
        if spec.confirm:
            self._run(spec.confirm, "confirm", version, "")

    def roll_back(self, target: Target, to: Installed | None) -> None:
        """The program `roll_back` (or `activate`) of `to`, the link, hooks after, units."""
        if to is not None:
            spec = _spec(to)
            self._settle(spec.roll_back or spec.activate, "roll-back", to, target.version)
            self._programs.after(to, target.version)
            return
        gone = self._versions.find(target)
        if gone is not None and _spec(gone).roll_back:
            self._run(_spec(gone).roll_back, "remove", gone, "")
        self._versions.use(None)
        self._unmark()

    def running(self) -> Installed | None:
        """What `running` says, else what is remembered; None while nobody knows."""
        current = self._versions.current()
        if current is None or self._mark.exists():
            return None
        spec = current.manifest.install.command
        if spec is None or not spec.running:
            return current
        result = self._programs.run(spec.running, "running", current, "", timeout=ASK_LIMIT)
        if not result.ok:
            _log.warning(
                "what runs could not be asked", group=self._place.group, program=spec.running[0], reason=result.problem
            )
            return current
        return self._versions.named(result.tail.strip().rpartition("\n")[2].strip())

    def _settle(self, argv: Sequence[str], step: str, version: Installed, previous: str) -> None:
        try:
            write_durably(self._mark, b"")
        except OSError as error:
            raise DiskError(f"{self._mark} cannot be written: {error.strerror}") from error
        self._run(argv, step, version, previous)
        self._versions.use(version)
        self._unmark()

    def _run(self, argv: Sequence[str], step: str, version: Installed, previous: str) -> None:
        limit = version.manifest.install.hook_timeout
        result = self._programs.run(argv, step, version, previous, timeout=limit)
        if not result.ok:
            raise InstallError(f"{argv[0]} of {version.target.version} {result.problem}", log=result.tail)

    def _unmark(self) -> None:
        if self._mark.exists():
            self._mark.unlink()
            sync_directory(self._place.directory)

    def _previous(self) -> str:
        current = self._versions.current()
        return current.target.version if current else ""


def _spec(version: Installed) -> CommandSpec:
    spec = version.manifest.install.command
    if spec is None or not spec.activate:
        raise MalformedError(f"the manifest of {version.target.version} names no program that activates it")
    return spec
