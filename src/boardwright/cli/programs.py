"""`boardwright server` and `boardwright agent`: become the program of that name.

The programs have entry points of their own, because an agent on a small card must not carry the command line.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from boardwright.errors import FailedError

ConfigOption = Annotated[Path, typer.Option("--config", metavar="FILE", help="The program's configuration.")]


def server(config: ConfigOption) -> None:
    """Run the deployment server of a control board."""
    _become("boardwright-server", ["--config", str(config)])


def agent(
    config: Annotated[
        list[Path],
        typer.Option("--config", metavar="FILE", help="A board's agent.toml. Repeat to stand for several boards."),
    ],
    once: Annotated[bool, typer.Option("--once", help="One cycle from request to confirm.")] = False,
) -> None:
    """Run the agent of a board."""
    _become(
        "boardwright-agent",
        [*(word for path in config for word in ("--config", str(path))), *(["--once"] if once else [])],
    )


def program(name: str) -> str:
    """The path of a program of Boardwright: beside the interpreter, else on PATH; raises FailedError."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise FailedError(
            f"the program {name} is neither beside {sys.executable} nor on PATH",
            hint="install the package boardwright again, its programs are missing",
        )
    return found


def _become(name: str, arguments: list[str]) -> NoReturn:
    path = program(name)
    sys.stdout.flush()
    try:
        os.execv(path, [name, *arguments])
    except OSError as error:
        raise FailedError(f"{path} could not be started") from error
