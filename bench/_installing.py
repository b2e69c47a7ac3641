"""What benchmarks compare with is installed where it can be: programs by apt-get as root, modules by pip into .venv."""

import importlib
import os
import shutil
import subprocess
import sys

LIMIT = 300.0  # seconds; a slow mirror


def program(name: str, package: str) -> bool:
    """Whether the program can be run, if need be after its installation."""
    if shutil.which(name) is None and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        _run(["apt-get", "install", "-y", "-q", package], environment)
        if shutil.which(name) is None:  # a machine that has no lists of packages yet
            _run(["apt-get", "update", "-q"], environment)
            _run(["apt-get", "install", "-y", "-q", package], environment)
    return shutil.which(name) is not None


def module(name: str, package: str) -> bool:
    """Whether the module can be imported, if need be after its installation."""
    if not _imports(name):
        _run([sys.executable, "-m", "pip", "install", "-q", "--no-input", package], dict(os.environ))
    return _imports(name)


def _imports(name: str) -> bool:
    importlib.invalidate_caches()
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _run(words: list[str], environment: dict[str, str]) -> None:
    try:
        subprocess.run(words, check=False, capture_output=True, env=environment, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return  # whoever asked sees that it is not there
