"""The programs that a version brings or names: its hooks, the units to restart, an installer's own steps.

Rules (docs/hooks.md tells them to users):

* Before-hooks run while the old version is in place; one that does not end with 0 is a veto and nothing was changed.
  So is a unit to restart on a board without systemd: the old program would go on running under the new version's name.
* After-hooks run when the new version is in place, then its units are restarted; a failure is an InstallError.
* Programs run in the version's directory and see BOARDWRIGHT_BOARD, _GROUP, _VERSION, _TREE (the version's directory),
  _PREVIOUS (the version before, or empty) and _STEP.
"""

import shutil
from collections.abc import Sequence

from boardwright.agent.commands import CommandResult, environment, located, run_command
from boardwright.agent.installers.base import InstallError, Place, VetoError
from boardwright.agent.versions import Installed
from boardwright.errors import MalformedError
from boardwright.model.software import check_path


class Programs:
    """Runs programs of versions at `place`."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def before(self, installed: Installed, previous: str) -> None:
        """The hooks before the take-over. Raises VetoError."""
        version, install = installed.target.version, installed.manifest.install
        if install.restart and self._systemctl() is None:
            raise VetoError(
                f"{version} restarts {', '.join(install.restart)}, and this board has no systemd (no systemctl in PATH)"
            )
        for hook in install.before:
            result = self._hook(hook, "before", installed, previous)
            if not result.ok:
                raise VetoError(f"hook {hook} vetoed {version}: it {result.problem}", log=result.tail)

    def after(self, installed: Installed, previous: str) -> None:
        """The hooks after the take-over, then the units. Raises InstallError."""
        install = installed.manifest.install
        for hook in install.after:
            result = self._hook(hook, "after", installed, previous)
            if not result.ok:
                raise InstallError(f"hook {hook} of {installed.target.version} {result.problem}", log=result.tail)
        systemctl = self._systemctl() or "systemctl"
        for unit in install.restart:
            result = self._run([systemctl, "restart", "--", unit], "after", installed, previous)
            if not result.ok:
                last = result.tail.strip().rpartition("\n")[2]
                said = f": {last}" if last else ""
                raise InstallError(f"restart of {unit} {result.problem}{said}", log=result.tail)

    def run(
        self, argv: Sequence[str], step: str, installed: Installed, previous: str, *, timeout: float
    ) -> CommandResult:
        """A program of the version (a path in it), of the board (an absolute path) or in PATH (a bare word)."""
        try:
            first = located(argv[0], installed.path)
        except MalformedError:
            return CommandResult("is not a path in the version", "")
        return self._run([first, *argv[1:]], step, installed, previous, timeout)

    def _systemctl(self) -> str | None:
        return shutil.which("systemctl", path=environment(self._place.environment, {})["PATH"])

    def _hook(self, hook: str, step: str, installed: Installed, previous: str) -> CommandResult:
        try:
            check_path(hook)
        except MalformedError:
            return CommandResult("is not a path in the version", "")
        return self._run([str(installed.path / hook)], step, installed, previous)

    def _run(
        self, argv: list[str], step: str, installed: Installed, previous: str, timeout: float = 0.0
    ) -> CommandResult:
        own = program_variables(self._place, installed, previous) | {"BOARDWRIGHT_STEP": step}
        return run_command(
            argv,
            cwd=installed.path,
            env=environment(self._place.environment, own),
            timeout=timeout or installed.manifest.install.hook_timeout,
            stop=self._place.stop,
        )


def program_variables(place: Place, installed: Installed, previous: str) -> dict[str, str]:
    """What hooks, health checks and an installer's programs are told by their environment."""
    return {
        "BOARDWRIGHT_BOARD": place.board,
        "BOARDWRIGHT_GROUP": place.group,
        "BOARDWRIGHT_VERSION": installed.target.version,
        "BOARDWRIGHT_TREE": str(installed.path),
        "BOARDWRIGHT_PREVIOUS": previous,
    }
