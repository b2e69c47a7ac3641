"""`boardwright install-units`: systemd runs the server and the agent of this host.

Rules:

* A unit is written for every configuration that is there, after that was checked: what would not start is not
  installed.
* A unit that somebody has changed is refused, unless forced: changes belong into drop-ins, and a lost one is a
  surprise.
* Directories that neither systemd nor the server behind its walls can make are made first.
* Every unit is checked before the first is written. A unit appears whole or not at all.
* Where systemd runs on this root, the units are enabled and started; else it is said what to do.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from boardwright.cli.output import note, say
from boardwright.cli.programs import program
from boardwright.cli.units import agent_unit, etcd_unit, made_by_systemd, server_unit
from boardwright.config import load_agent, load_server
from boardwright.config.members import CONFIG as ETCD_CONFIG
from boardwright.config.members import DATA_DIR
from boardwright.errors import FailedError, RefusedError, UsageError
from boardwright.transfer.durable import write_durably

CONFIG_DIR = Path("/etc/boardwright")
ROOT = Path("/")
UNITS = Path("etc/systemd/system")
RUNNING = Path("/run/systemd/system")  # is there where systemd is the service manager (sd_booted(3))
SYSTEMCTL_LIMIT = 60.0  # seconds; with Type=notify a start waits until the program is ready
_SQLITE = "sqlite:"
ETCD = "boardwright-etcd.service"


class Unit(msgspec.Struct, frozen=True):
    """One file; `kept`: it is there already with the same text. `directories` the program cannot make by itself."""

    path: Path
    text: str
    kept: bool
    directories: tuple[Path, ...] = ()


def install_units(
    config_dir: Annotated[
        Path, typer.Option("--config-dir", metavar="DIR", help="Where server.toml and agent.toml lie.")
    ] = CONFIG_DIR,
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="Install into this root (an image).")] = ROOT,
    force: Annotated[bool, typer.Option("--force", help="Replace units that were changed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the units and change nothing.")] = False,
    enable: Annotated[bool, typer.Option("--enable/--no-enable", help="Enable and start the units.")] = True,
) -> None:
    """Let systemd run the server, the agent and the etcd member of this host."""
    units = plan_units(config_dir, root, _program)
    if dry_run:
        say("\n".join(f"# {unit.path}\n{unit.text}" for unit in units).rstrip())
        return
    write_units(units, force=force)
    for name in (unit.path.stem for unit in units):
        needed, package = ("etcd", "etcd-server") if name == Path(ETCD).stem else (name, "boardwright")
        if not _below(root, Path(_program(needed))).exists():
            note(f"{_program(needed)} is not in {root}: install {package} there at this path before the units start")
    for unit in units:
        say(f"{unit.path}{' (unchanged)' if unit.kept else ''}")
    names = [unit.path.name for unit in units]
    if root != ROOT or not RUNNING.is_dir() or not enable:
        note(f"to start them: systemctl daemon-reload && systemctl enable --now {' '.join(names)}")
        return
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", *names)
    note(f"enabled and started: {', '.join(names)}")


def read_data_dir(config: Path) -> Path:
    """Where etcd keeps its data, by its configuration; raises UsageError."""
    try:
        found = re.search(r'^data-dir: *"?([^"\n]+?)"? *$', config.read_text(), re.MULTILINE)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{config} cannot be read", hint="copy the board's folder that init made") from error
    if found is None or not found[1].startswith("/"):
        raise UsageError(f"{config} has no data-dir with an absolute path", hint=f'write data-dir: "{DATA_DIR}"')
    return Path(found[1])


def plan_units(config_dir: Path, root: Path, find: Callable[[str], str]) -> list[Unit]:
    """The units for the configurations in `config_dir`; raises UsageError if there is none, or one is wrong."""
    config_dir = config_dir.absolute()
    texts: dict[str, str] = {}
    directories: dict[str, tuple[Path, ...]] = {}
    below = _below(root, config_dir)
    if (below / "server.toml").is_file():
        settings = load_server(below / "server.toml")
        writes = [_inside(root, settings.data_dir)]
        if settings.engine.startswith(_SQLITE):
            writes.append(_inside(root, Path(settings.engine.removeprefix(_SQLITE)).parent))
        texts["boardwright-server.service"] = server_unit(
            find("boardwright-server"), config_dir / "server.toml", writes
        )
        own = (path for path in writes if not made_by_systemd(path))
        directories["boardwright-server.service"] = tuple(_below(root, path) for path in own)
    if (below / "agent.toml").is_file():
        load_agent(below / "agent.toml")
        texts["boardwright-agent.service"] = agent_unit(find("boardwright-agent"), config_dir / "agent.toml")
    if (below / ETCD_CONFIG).is_file():
        data_dir = read_data_dir(below / ETCD_CONFIG)
        texts[ETCD] = etcd_unit(find("etcd"), config_dir / ETCD_CONFIG, data_dir)
        directories[ETCD] = () if made_by_systemd(data_dir) else (_below(root, data_dir),)
    if not texts:
        raise UsageError(
            f"neither server.toml nor agent.toml is in {below}",
            hint="copy the board's folder that `boardwright init` made there, or name another with --config-dir",
        )
    return [_unit(root / UNITS / name, text, directories.get(name, ())) for name, text in texts.items()]


def write_units(units: list[Unit], *, force: bool) -> None:
    """Write what is not there yet; raises RefusedError, with nothing written, for a changed unit."""
    for unit in units:
        if not force and not unit.kept and unit.path.exists():
            raise RefusedError(
                f"{unit.path} is there with another text, nothing was changed",
                hint="move your changes into a drop-in (`systemctl edit`) and give --force",
            )
    for unit in units:
        for directory in unit.directories:
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise FailedError(
                    f"the directory {directory} of {unit.path.name} cannot be made: {error.strerror}",
                    hint="make it, or name another in server.toml; no unit was written",
                ) from error
    for unit in units:
        if not unit.kept:
            try:
                unit.path.parent.mkdir(parents=True, exist_ok=True)
                write_durably(unit.path, unit.text.encode())
            except OSError as error:
                raise FailedError(f"{unit.path} could not be written") from error


def _program(name: str) -> str:
    """etcd is the distribution's, and may be installed after the units."""
    return shutil.which(name) or "/usr/bin/etcd" if name == "etcd" else program(name)


def _unit(path: Path, text: str, directories: tuple[Path, ...]) -> Unit:
    try:
        kept = path.read_text() == text
    except (OSError, UnicodeDecodeError):
        kept = False
    return Unit(path, text, kept, directories)


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/") if root != ROOT else path


def _inside(root: Path, path: Path) -> Path:
    """A path as the programs of `root` will see it; relative ones in a configuration were resolved against `root`."""
    return ROOT / path.relative_to(root) if root != ROOT and path.is_relative_to(root) else path


def _systemctl(*words: str) -> None:
    try:
        subprocess.run(["systemctl", *words], check=True, capture_output=True, text=True, timeout=SYSTEMCTL_LIMIT)
    except subprocess.CalledProcessError as error:
        said = " ".join((error.stderr or error.stdout or "").split())
        raise FailedError(
            f"systemctl {' '.join(words)} failed: {said or f'exit code {error.returncode}'}",
            hint="the units are written; `journalctl -u boardwright-*` may say more",
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FailedError(f"systemctl {' '.join(words)} did not end well", hint="the units are written") from error
