"""The release's number stands in two files."""

import subprocess
import sys
import tomllib
from pathlib import Path

import boardwright

ROOT = Path(__file__).parents[3]


def test_package_and_project_say_the_same_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert boardwright.__version__ == project["version"]


def test_commands_start_without_what_only_servers_and_simulations_need() -> None:
    heavy = "granian", "litestar", "prometheus_client", "structlog", "sqlite3", "boardwright.server", "boardwright.sim"
    code = f"import sys, boardwright.cli.program; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
