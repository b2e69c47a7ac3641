"""tools/bootstrap on machines that lack something: played with fake interpreters in an otherwise bare PATH."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = ("sh", "cat", "cksum", "dirname", "rm", "tail", "mkdir", "cp")

# Answers what bootstrap asks of an interpreter: its version, whether it has venv, and to make one.
PYTHON = """#!/bin/sh
here=$(dirname "$0")
case "$*" in
    *"print(\\"%d.%d\\""*) echo {version}; exit {unfit} ;;
    *"is %d.%d"*) echo "is {version}" ;;
    *"import ensurepip"*) [ -e "{flag}" ] ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip "*) echo "pip $*" >>"{log}"; exit {pip} ;;
esac
"""


class Machine:
    """A folder with bootstrap and pyproject.toml, and a PATH with nothing but what the test puts there."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.project = folder / "bin", folder / "project"
        self.flag, self.pip_log = folder / "has-venv", folder / "pip.log"
        self.bin.mkdir()
        (self.project / "tools").mkdir(parents=True)
        shutil.copy(ROOT / "tools" / "bootstrap", self.project / "tools")
        shutil.copy(ROOT / "pyproject.toml", self.project)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)
        self.program("id", "#!/bin/sh\necho 1000\n")

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def python(self, name: str, version: str, *, venv: bool = True, pip: int = 0) -> None:
        minor = int(version.partition(".")[2])
        unfit = int(not 11 <= minor <= 13)
        text = PYTHON.format(version=version, unfit=unfit, flag=self.flag, log=self.pip_log, pip=pip)
        self.program(name, text)
        if venv:
            self.flag.touch()

    def bootstrap(self, level: str = "runtime") -> subprocess.CompletedProcess[str]:
        command = ["sh", "tools/bootstrap", level]
        environment = {"PATH": str(self.bin)}
        return subprocess.run(
            command, cwd=self.project, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    def pip_calls(self) -> list[str]:
        return self.pip_log.read_text().splitlines() if self.pip_log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_python_that_is_too_old_gets_one_sentence(machine: Machine) -> None:
    machine.python("python3", "3.9")
    result = machine.bootstrap()
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "Python 3.11 to 3.13 is needed and python3 is 3.9: install the package " in result.stderr


def test_no_python_at_all_gets_one_sentence(machine: Machine) -> None:
    result = machine.bootstrap()
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "python3 is missing" in result.stderr


def test_a_python_without_venv_gets_the_name_of_the_package(machine: Machine) -> None:
    machine.python("python3", "3.11", venv=False)
    result = machine.bootstrap()
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "install the package python3.11-venv" in result.stderr


def test_root_on_debian_has_the_package_installed(machine: Machine) -> None:
    machine.python("python3", "3.11", venv=False)
    machine.program("id", "#!/bin/sh\necho 0\n")
    machine.program("apt-get", f'#!/bin/sh\ncase "$*" in *python3.11-venv*) : >"{machine.flag}" ;; esac\n')
    result = machine.bootstrap()
    assert result.returncode == 0, result.stderr
    assert "installing python3.11-venv" in result.stderr
    assert len(machine.pip_calls()) == 1


def test_the_newest_fitting_python_is_taken(machine: Machine) -> None:
    machine.python("python3", "3.14")
    machine.python("python3.12", "3.12")
    result = machine.bootstrap()
    assert result.returncode == 0, result.stderr
    assert "Python 3.12" in result.stderr


def test_the_second_time_costs_nothing_until_pyproject_changes(machine: Machine) -> None:
    machine.python("python3", "3.13")
    machine.bootstrap()
    assert machine.bootstrap().stderr == ""
    assert len(machine.pip_calls()) == 1
    with (machine.project / "pyproject.toml").open("a") as file:
        file.write("# another dependency\n")
    machine.bootstrap()
    assert len(machine.pip_calls()) == 2


def test_the_demo_needs_no_development_tools_and_takes_them_if_they_are_there(machine: Machine) -> None:
    machine.python("python3", "3.13")
    machine.bootstrap("runtime")
    assert "[dev]" not in machine.pip_calls()[0]
    machine.bootstrap("dev")
    assert "[dev]" in machine.pip_calls()[1]
    machine.bootstrap("runtime")
    assert len(machine.pip_calls()) == 2


def test_a_folder_that_was_moved_gets_a_new_environment(machine: Machine) -> None:
    machine.python("python3", "3.13")
    machine.bootstrap()
    (machine.project / ".venv" / "old").touch()
    moved = machine.project.rename(machine.project.with_name("elsewhere"))
    machine.project = moved
    assert machine.bootstrap().returncode == 0
    assert not (moved / ".venv" / "old").exists()
    assert len(machine.pip_calls()) == 2


def test_an_error_of_pip_is_shown_and_not_stamped(machine: Machine) -> None:
    machine.python("python3", "3.13", pip=1)
    result = machine.bootstrap()
    assert result.returncode == 1
    assert "pip could not install" in result.stderr
    assert machine.bootstrap().returncode == 1
    assert len(machine.pip_calls()) == 2


def test_ci_run_is_executable() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
